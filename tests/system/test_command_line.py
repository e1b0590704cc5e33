"""The command line, from downloaded files to a caption, and every wrong call on the way."""
import io, json, zipfile
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner
from showattend.captions import InputError
from showattend.cli import app
from showattend.scenes import draw_scene, caption_scene, make_scene

TINY = ['--epochs', 1, '--hidden-size', 16, '--attention-size', 8, '--embedding-size', 8, '--min-count', 1]

def jpeg(image):
    buffer = io.BytesIO()
    image.save(buffer, 'JPEG')
    return buffer.getvalue()

def download(folder, scenes=10):
    "A Flickr8k download in small: the official names and forms, with scenes for photos."
    images = []
    with zipfile.ZipFile(folder/'Flickr8k_Dataset.zip', 'w') as z:
        for k in range(scenes):
            scene, name = make_scene(5, k), f'{k}_photo.jpg'
            z.writestr(f'Flicker8k_Dataset/{name}', jpeg(draw_scene(scene, 64)))
            sentences = [dict(raw=c, tokens=c.split()) for c in caption_scene(scene).captions]
            images.append(dict(filename=name, split=['train', 'val', 'test'][max(0, k - scenes + 3)],
                               sentences=sentences))
    with zipfile.ZipFile(folder/'caption_datasets.zip', 'w') as z:
        z.writestr('dataset_flickr8k.json', json.dumps({'images': images}))

@pytest.fixture
def data(tmp_path):
    "A data folder with the download and with (random) SqueezeNet weights."
    from torchvision.models import squeezenet1_1
    folder = tmp_path/'data'
    (folder/'flickr8k').mkdir(parents=True); (folder/'weights').mkdir()
    torch.manual_seed(0)
    torch.save(squeezenet1_1(weights=None).state_dict(), folder/'weights/squeezenet1_1-imagenet.pth')
    download(folder/'flickr8k')
    return folder

def test_from_the_downloaded_zip_to_a_caption(run, data, tmp_path):
    env = {'SHOWATTEND_DATA': str(data)}
    def ok(*words):
        code, text = run(*words, env=env)
        assert code == 0, text
        return text
    assert 'wrote photos.h5' in ok('prepare', 'flickr8k', '-o', 'photos.h5', '--size', 64)
    assert 'wrote features.h5' in ok('encode', 'photos.h5', '-o', 'features.h5', '--encoder', 'squeezenet1_1')
    assert 'wrote run/model' in ok('train', 'features.h5', '-o', 'run', *TINY)
    assert 'BLEU-4' in ok('evaluate', 'run/model', 'features.h5', '-o', 'test.json', '--beam', '1,2')
    record = json.loads((tmp_path/'test.json').read_text())
    assert [s['beam_size'] for s in record['scores']] == [1, 2]
    assert set(record['captions']) == {'1', '2'} and record['environment']['torch'] == torch.__version__
    with zipfile.ZipFile(data/'flickr8k/Flickr8k_Dataset.zip') as z: z.extract('Flicker8k_Dataset/0_photo.jpg', tmp_path)
    text = ok('caption', 'Flicker8k_Dataset/0_photo.jpg', '--model', 'run/model', '--attention', 'out/look.png')
    assert text.splitlines()[0].strip() and Image.open(tmp_path/'out/look.png').width > 300

def test_resume_keeps_to_its_run(run, tmp_path):
    "A finished run resumes to itself; another configuration is refused by name."
    assert run("prepare", "scenes", "-o", "s.h5", "--count", 40, "--size", 64)[0] == 0
    def train(*more): return run("train", "s.h5", "-o", "run", *TINY, *more)
    assert train()[0] == 0
    before = (tmp_path/'run/model/model.safetensors').read_bytes()
    code, text = train('--resume')
    assert code == 0 and (tmp_path/'run/model/model.safetensors').read_bytes() == before, text
    for wrong, told in ((['--learning-rate', 0.5], 'learning_rate'), (['--min-count', 3], 'another vocabulary')):
        code, text = train(*wrong, '--resume')
        assert code == 1 and told in text and 'Traceback' not in text

def test_resume_without_a_checkpoint(run):
    run('prepare', 'scenes', '-o', 's.h5', '--count', 40, '--size', 64)
    code, text = run('train', 's.h5', '-o', 'new', *TINY, '--resume')
    assert code == 1 and '--resume' in text and 'Traceback' not in text

WRONG = {
    'a missing data folder': (['prepare', 'flickr8k', '-o', 'x.h5', '--data', 'nowhere'], 'There is no nowhere'),
    'an unknown data set': (['prepare', 'flickr9k', '-o', 'x.h5'], 'known: coco, flickr30k, flickr8k, scenes'),
    'a size of nothing': (['prepare', 'scenes', '-o', 'x.h5', '--size', '0'], "can't be 0 pixels"),
    'nothing to fetch': (['prepare', 'scenes', '-o', 'x.h5', '--download'], "Nothing is known to fetch"),
    'a card of nothing': (['data', 'nowhere.h5'], 'There is no file nowhere.h5'),
    'a missing packed file': (['encode', 'nowhere.h5', '-o', 'x.h5'], 'nowhere.h5'),
    'a captioner that is not there': (['caption', 'x.jpg', '--model', 'nothing'], 'bundled: scenes'),
    'an image that is not there': (['caption', 'x.jpg'], "x.jpg"),
    'a beam that is no number': (['evaluate', 'scenes', 'x.h5', '--beam', 'five'], 'such as 1,3,5'),
}

@pytest.mark.parametrize('words, told', WRONG.values(), ids=WRONG)
def test_a_wrong_call_ends_in_a_sentence(run, words, told):
    code, text = run(*words)
    assert code == 1 and told in text and text.startswith('showattend: ') and 'Traceback' not in text

def test_a_zip_without_the_expected_names(run, data):
    with zipfile.ZipFile(data/'flickr8k/Flickr8k_Dataset.zip', 'w') as z: z.writestr('holiday/1.jpg', b'')
    code, text = run('prepare', 'flickr8k', '-o', 'x.h5', env={'SHOWATTEND_DATA': str(data)})
    assert code == 1 and '10 of the 10' in text and '1.jpg' in text and 'Traceback' not in text

@pytest.fixture
def call(tmp_path, monkeypatch):
    "Like `run`, inside this process: much quicker."
    def call(*words, env=None):
        monkeypatch.chdir(tmp_path)
        for name, value in (env or {}).items(): monkeypatch.setenv(name, value)
        result = CliRunner().invoke(app, [str(word) for word in words])
        if isinstance(result.exception, InputError): return 1, result.output + f'showattend: {result.exception}'
        if result.exception and not isinstance(result.exception, SystemExit): raise result.exception
        return result.exit_code, result.output
    return call

def own_folder(folder, named=6, there=6):
    "Photos and a table of captions, as somebody's own data set may look."
    (folder/'photos').mkdir(parents=True)
    rows = [f'{k}.jpg,"A scene, number {k}",{"train" if k < 4 else "val"}' for k in range(named)]
    (folder/'captions.csv').write_text('\n'.join(['image,caption,split', *rows]))
    for k in range(there): (folder/'photos'/f'{k}.jpg').write_bytes(jpeg(draw_scene(make_scene(5, k), 64)))
    return folder

def test_an_own_folder_from_plan_to_card(call, tmp_path):
    own_folder(tmp_path/'mine', named=7)
    code, text = call('prepare', 'mine', '-o', 'mine.h5', '--size', 64, '--dry-run')
    assert code == 0 and '6 images (train 4, val 2)' in text and "1 of the 7 photos aren't there" in text
    assert not (tmp_path/'mine.h5').exists()
    code, text = call('prepare', 'mine', '-o', 'mine.h5', '--size', 64)
    assert code == 1 and '--allow-missing' in text and not (tmp_path/'mine.h5').exists()
    code, text = call('prepare', 'mine', '-o', 'mine.h5', '--size', 64, '--resize', 'pad', '--allow-missing')
    assert code == 0 and 'packed 6 images' in text and '6.jpg: its photo is missing' in text, text
    code, text = call('data', 'mine.h5', '-o', 'card.html')
    assert code == 0 and 'left out: 1, 6.jpg' in text and '<html' in (tmp_path/'card.html').read_text()

def test_the_halves_of_coco_may_be_a_folder_and_a_zip(call, tmp_path):
    coco = tmp_path/'data/coco'
    (coco/'val2014').mkdir(parents=True)
    (coco/'val2014/1.jpg').write_bytes(jpeg(draw_scene(make_scene(5, 1), 64)))
    with zipfile.ZipFile(coco/'train2014.zip', 'w') as z: z.writestr('train2014/0.jpg', jpeg(draw_scene(make_scene(5, 0), 64)))
    images = [dict(filename=f'{k}.jpg', filepath=part, split=split, sentences=[dict(raw='a scene', tokens=['a', 'scene'])])
              for k, (part, split) in enumerate([('train2014', 'train'), ('val2014', 'restval')])]
    with zipfile.ZipFile(coco/'caption_datasets.zip', 'w') as z:
        for name in ('coco', 'flickr8k'): z.writestr(f'dataset_{name}.json', json.dumps({'images': images}))
    code, text = call('prepare', 'coco', '-o', 'c.h5', '--size', 64, env={'SHOWATTEND_DATA': str(tmp_path/'data')})
    assert code == 0 and '2 images (train 2)' in text, text

def test_what_is_missing_of_a_known_data_set_is_named_with_its_address(call, tmp_path):
    (tmp_path/'data/coco/val2014').mkdir(parents=True)
    env = {'SHOWATTEND_DATA': str(tmp_path/'data')}
    for words in (['--dry-run'], []):
        code, text = call('prepare', 'coco', '-o', 'c.h5', *words, env=env)
        assert code == 1 and 'images.cocodataset.org/zips/train2014.zip' in text and '13.5 GB' in text and 'val2014.zip' not in text
    code, text = call('prepare', 'coco', '-o', 'c.h5', '--download', '--dry-run', env=env)
    assert code == 0 and 'train2014.zip' in text and len(list((tmp_path/'data/coco').iterdir())) == 1

def test_a_download_without_a_network_ends_in_a_sentence(call, tmp_path):
    closed = {'https_proxy': 'http://127.0.0.1:9', 'http_proxy': 'http://127.0.0.1:9', 'no_proxy': '', 'SHOWATTEND_DATA': str(tmp_path)}
    (tmp_path/'flickr8k').mkdir()
    code, text = call('prepare', 'flickr8k', '-o', 'f.h5', '--download', env=closed)
    assert code == 1 and 'caption_datasets.zip could not be fetched' in text and 'put it there as' in text and 'Traceback' not in text

def test_an_unknown_encoder_is_answered_with_near_names(run, data):
    run('prepare', 'flickr8k', '-o', 'p.h5', '--size', 64, env={'SHOWATTEND_DATA': str(data)})
    code, text = run('encode', 'p.h5', '-o', 'x.h5', '--encoder', 'resnet11')
    assert code == 1 and 'resnet101' in text and 'Traceback' not in text

def test_an_image_that_is_no_image(run, tmp_path):
    (tmp_path/'note.jpg').write_text('not a picture')
    code, text = run('caption', 'note.jpg')
    assert code == 1 and 'note.jpg is no image' in text and 'Traceback' not in text

def test_no_weights_and_no_network(run, data, tmp_path):
    "With a proxy that answers nothing, as on a machine without a network."
    run('prepare', 'flickr8k', '-o', 'p.h5', '--size', 64, env={'SHOWATTEND_DATA': str(data)})
    closed = {'SHOWATTEND_DATA': str(tmp_path), 'https_proxy': 'http://127.0.0.1:9', 'http_proxy': 'http://127.0.0.1:9',
              'TORCH_HOME': str(tmp_path/'empty')}
    code, text = run('encode', 'p.h5', '-o', 'x.h5', '--encoder', 'resnet18', env=closed)
    assert code == 1 and 'resnet18-imagenet.pth' in text and 'Traceback' not in text

def test_features_of_another_encoder_are_refused(run, data):
    env = {'SHOWATTEND_DATA': str(data)}
    run('prepare', 'flickr8k', '-o', 'p.h5', '--size', 64, env=env)
    run('encode', 'p.h5', '-o', 'f.h5', '--encoder', 'squeezenet1_1', env=env)
    code, text = run('evaluate', 'scenes', 'f.h5', env=env)
    assert code == 1 and 'squeezenet1_1' in text and 'scene_cnn' in text and 'Traceback' not in text
