"""From photos to a published captioner by its name, on the command line."""
import json
import pytest
import torch
from typer.testing import CliRunner
from showattend.cli import app
from showattend.scenes import draw_scene, make_scene

SMALL = ['--recipe', 'flickr8k-128', '--min-count', 1, '--set', 'epochs=1', '--set', 'hidden_size=16']

@pytest.fixture
def call(tmp_path, monkeypatch):
    "Runs a command beside a folder of eight photos with a table of captions; returns all it says."
    (tmp_path/'mine/photos').mkdir(parents=True)
    rows = [f'{k}.jpg,"A scene, number {k}",{"train" if k < 6 else "val"}' for k in range(8)]
    (tmp_path/'mine/captions.csv').write_text('\n'.join(['image,caption,split', *rows]))
    for k in range(8): draw_scene(make_scene(5, k), 64).save(tmp_path/f'mine/photos/{k}.jpg')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('SHOWATTEND_DATA', str(tmp_path/'data'))
    def call(*words, fails=False):
        done = CliRunner().invoke(app, [*map(str, words)])
        assert bool(done.exit_code) == fails, (done.output, done.exception)
        return str(done.exception) if fails else done.output
    return call

def weights(folder, name, **options):
    "Random weights where those of ImageNet are looked for."
    from torchvision.models import get_model
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(get_model(name, weights=None, **options).state_dict(), folder/f'{name}-imagenet.pth')

@pytest.mark.slow       # ResNet-101 has 42 million parameters
def test_a_published_captioner_is_trained_by_its_name(call, tmp_path):
    weights(tmp_path/'data/weights', 'resnet101', zero_init_residual=True)     # random ones would explode
    call('prepare', 'mine', '-o', 'photos.h5', '--size', 224)
    call('encode', 'photos.h5', '-o', 'features.h5', '--recipe', 'flickr8k-128')
    text = call('train', 'features.h5', '-o', 'run', *SMALL)
    assert 'wrote run/model' in text and 'Note' not in text
    record = json.loads((tmp_path/'run/run.json').read_text())
    assert record['recipe'] == 'flickr8k-128' and record['config']['learning_rate'] == 4e-4
    model = json.loads((tmp_path/'run/model/config.json').read_text())
    assert model['decoder']['attention'] == 'additive_relu' and model['decoder']['gate'] is False
    assert model['decoder']['hidden_size'] == 16 and model['decoder']['attention_size'] == 128

def test_other_features_are_named_and_other_images_refused(call, tmp_path):
    weights(tmp_path/'data/weights', 'squeezenet1_1')
    call('prepare', 'mine', '-o', 'photos.h5', '--size', 64)
    call('encode', 'photos.h5', '-o', 'features.h5', '--encoder', 'squeezenet1_1')
    text = call('train', 'features.h5', '-o', 'run', '--recipe', 'sgrvinod', '--tokenizer', 'words', *SMALL[2:], '--dry-run')
    assert 'sgrvinod reads resnet101 at 256 pixels, grid 14×14; these features come from squeezenet1_1' in text
    assert 'the second stage of sgrvinod trains the encoder' in text
    assert 'Prepare them with --size 224' in call('train', 'photos.h5', '-o', 'run', *SMALL, fails=True)
    assert 'leave out --encoder' in call('train', 'photos.h5', '-o', 'run', *SMALL, '--encoder', 'vgg19', fails=True)
    assert 'Did you mean sgrvinod' in call('train', 'photos.h5', '-o', 'run', '--recipe', 'sgrvinot', fails=True)
