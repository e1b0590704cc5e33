"""The command line, from downloaded files to a caption, and every wrong call on the way."""
import csv, io, json, os, signal, subprocess, sys, time, zipfile
import pytest
import torch
from PIL import Image
from showattend.cli import main
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

@pytest.fixture
def call(tmp_path, monkeypatch, capfd):
    "Like `run`, inside this process: much quicker."
    def call(*words, env=None):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, 'argv', ['showattend', *map(str, words)])
        for name, value in (env or {}).items(): monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as end: main()
        code, text = end.value.code or 0, ''.join(capfd.readouterr())
        return (1, text + code) if isinstance(code, str) else (code, text)   # as Python prints it at its end
    return call

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

def test_resume_keeps_to_its_run(call, tmp_path):
    "A finished run resumes to itself; another configuration is refused by name."
    assert call("prepare", "scenes", "-o", "s.h5", "--count", 40, "--size", 64)[0] == 0
    def train(*more): return call("train", "s.h5", "-o", "run", *TINY, *more)
    assert train()[0] == 0
    before = (tmp_path/'run/model/model.safetensors').read_bytes()
    code, text = train('--resume')
    assert code == 0 and (tmp_path/'run/model/model.safetensors').read_bytes() == before, text
    for wrong, told in ((['--learning-rate', 0.5], 'learning_rate'), (['--min-count', 3], 'another vocabulary')):
        code, text = train(*wrong, '--resume')
        assert code == 1 and told in text and 'Traceback' not in text

def test_resume_without_a_checkpoint(call):
    call('prepare', 'scenes', '-o', 's.h5', '--count', 40, '--size', 64)
    code, text = call('train', 's.h5', '-o', 'new', *TINY, '--resume')
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
    'an unknown setting': (['train', 'x.h5', '-o', 'run', '--set', 'hiden_size=3'], 'Did you mean hidden_size'),
    'a setting of another type': (['train', 'x.h5', '-o', 'run', '--set', 'epochs=many'], "epochs takes a whole number, not 'many'"),
    'a setting without a value': (['train', 'x.h5', '-o', 'run', '--set', 'tied'], 'written key=value'),
    'a setting that the data decide': (['train', 'x.h5', '-o', 'run', '--set', 'vocab_size=9'], "no setting 'vocab_size'"),
    'a value that can not be meant': (['train', 'x.h5', '-o', 'run', '--set', 'schedule=onecycle'], 'schedule is one of'),
    'a beam that is no number': (['evaluate', 'scenes', 'x.h5', '--beam', 'five'], 'such as 1,3,5'),
}

@pytest.mark.parametrize('words, told', WRONG.values(), ids=WRONG)
def test_a_wrong_call_ends_in_a_sentence(call, words, told):
    code, text = call(*words)
    assert code == 1 and told in text and text.startswith('showattend: ') and 'Traceback' not in text

def test_a_zip_without_the_expected_names(call, data):
    with zipfile.ZipFile(data/'flickr8k/Flickr8k_Dataset.zip', 'w') as z: z.writestr('holiday/1.jpg', b'')
    code, text = call('prepare', 'flickr8k', '-o', 'x.h5', env={'SHOWATTEND_DATA': str(data)})
    assert code == 1 and '10 of the 10' in text and '1.jpg' in text and 'Traceback' not in text

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

def test_an_unknown_encoder_is_answered_with_near_names(call, data):
    call('prepare', 'flickr8k', '-o', 'p.h5', '--size', 64, env={'SHOWATTEND_DATA': str(data)})
    code, text = call('encode', 'p.h5', '-o', 'x.h5', '--encoder', 'resnet11')
    assert code == 1 and 'resnet101' in text and 'Traceback' not in text

def test_an_image_that_is_no_image(run, tmp_path):
    (tmp_path/'note.jpg').write_text('not a picture')
    code, text = run('caption', 'note.jpg')
    assert code == 1 and 'note.jpg is no image' in text and 'Traceback' not in text

def test_no_weights_and_no_network(call, data, tmp_path):
    "With a proxy that answers nothing, as on a machine without a network."
    call('prepare', 'flickr8k', '-o', 'p.h5', '--size', 64, env={'SHOWATTEND_DATA': str(data)})
    closed = {'SHOWATTEND_DATA': str(tmp_path), 'https_proxy': 'http://127.0.0.1:9', 'http_proxy': 'http://127.0.0.1:9',
              'TORCH_HOME': str(tmp_path/'empty')}
    code, text = call('encode', 'p.h5', '-o', 'x.h5', '--encoder', 'resnet18', env=closed)
    assert code == 1 and 'resnet18-imagenet.pth' in text and 'Traceback' not in text

def test_features_of_another_encoder_are_refused(call, data):
    env = {'SHOWATTEND_DATA': str(data)}
    call('prepare', 'flickr8k', '-o', 'p.h5', '--size', 64, env=env)
    call('encode', 'p.h5', '-o', 'f.h5', '--encoder', 'squeezenet1_1', env=env)
    code, text = call('evaluate', 'scenes', 'f.h5', env=env)
    assert code == 1 and 'squeezenet1_1' in text and 'scene_cnn' in text and 'Traceback' not in text

# ---- training, as a person meets it

def small_scenes(folder, train=6, val=3):
    "Photos of scenes with two captions each, in a table."
    (folder/'photos').mkdir(parents=True)
    with open(folder/'captions.csv', 'w', newline='') as file:
        table = csv.writer(file)
        table.writerow(['image', 'caption', 'split'])
        for k in range(train + val):
            scene, split = make_scene(5, k), 'train' if k < train else 'val'
            (folder/'photos'/f'{k}.jpg').write_bytes(jpeg(draw_scene(scene, 64)))
            for text in caption_scene(scene).captions[:2]: table.writerow([f'{k}.jpg', text, split])

@pytest.fixture
def small(call, tmp_path):
    "`train` on a packed file of a few scenes; its record."
    small_scenes(tmp_path/'mine')
    assert call('prepare', 'mine', '-o', 's.h5', '--size', 64)[0] == 0
    def train(*more, data='s.h5'):
        code, text = call('train', data, '-o', 'run', *TINY, '--device', 'cpu', *more)
        assert code == 0, text
        path = tmp_path/'run/run.json'
        return text, json.loads(path.read_text()) if path.exists() else None
    return train

def test_options_and_settings_reach_their_configurations(small):
    "The last setting wins over an option, whatever the order; what isn't given keeps its default."
    _, record = small('--set', 'hidden_size=24', '--dropout', 0.25, '--set', 'schedule=cosine', '--set', 'tied=yes',
                      '--seed', 3, '--set', 'attention=weights', '--set', 'accumulate=2')
    config, decoder = record['config'], record['decoder']
    assert decoder['hidden_size'] == 24 and decoder['dropout'] == 0.25 and decoder['tied'] is True
    assert decoder['attention'] == 'weights' and decoder['positions'] == 16              # 64 pixels: a 4×4 grid
    assert config['schedule'] == 'cosine' and config['seed'] == 3 and config['accumulate'] == 2 and config['epochs'] == 1
    assert config['warmup'] == 0.1 and decoder['layers'] == 1

def test_a_new_encoder_learns_as_quickly_as_the_decoder(small):
    assert small('--learning-rate', 0.02)[1]['config']['encoder_rate'] == 0.02
    assert small('--learning-rate', 0.02, '--set', 'encoder_rate=0.01')[1]['config']['encoder_rate'] == 0.01

def test_a_dry_run_says_what_a_run_would_cost_and_writes_nothing(small, tmp_path):
    before = sorted(tmp_path.rglob('*'))
    text, _ = small('--dry-run', '--epochs', 7, '--batch-size', 4)
    assert sorted(tmp_path.rglob('*')) == before
    for told in ('epochs=7', 'hidden_size=16', 'encoder    ', 'trained', 'activations', 'measured', '14: 7 epochs of 2', 'a step'):
        assert told in text, (told, text)
    assert str(sum(p.numel() for p in trained_parts(small))) == next(
        line for line in text.splitlines() if line.startswith('together')).split()[1].replace(',', '')

def trained_parts(small):
    "The parameters of the model that the same command trains."
    from showattend.captioner import Captioner
    small()
    captioner = Captioner.from_pretrained('run/model')
    return [*captioner.encoder.parameters(), *captioner.decoder.parameters()]

def test_a_run_shows_captions_and_leaves_curves(small, tmp_path):
    text, record = small('--epochs', 2, '--batch-size', 2)
    lines = text.splitlines()
    reference = caption_scene(make_scene(5, 6)).captions[0]
    assert sum(line.strip() == f'· {reference}' for line in lines) == 2                       # at both validations
    for told in ('ended   finished', 'epochs  2', 'best    epoch', 'saved   run/model', 'words/s'): assert told in text
    with open(tmp_path/'run/scores.csv', newline='') as file: scores = list(csv.DictReader(file))
    assert [float(row['CIDEr']) for row in scores] == [e['CIDEr'] for e in record['history']]
    with open(tmp_path/'run/steps.csv', newline='') as file: steps = list(csv.DictReader(file))
    assert [row['step'] for row in steps] == ['6'] and float(steps[0]['loss']) > 0

def test_curves_for_tensorboard(small, tmp_path):
    pytest.importorskip('tensorboard')
    small('--log', 'tensorboard')
    assert list((tmp_path/'run/tensorboard').glob('events.*'))

def test_a_missing_library_ends_before_the_first_step(small, call, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'wandb', None)
    code, text = call('train', 's.h5', '-o', 'run', *TINY, '--log', 'wandb')
    assert code == 1 and "pip install 'showattend[wandb]'" in text and not (tmp_path/'run').exists()
    code, text = call('train', 's.h5', '-o', 'run', *TINY, '--log', 'mlflow')
    assert code == 1 and 'tensorboard and wandb' in text

def glove(path, words, size=8):
    "A file of word vectors in GloVe's form."
    torch.manual_seed(0)
    vectors = {word: torch.randn(size) for word in words}
    path.write_text(''.join(f"{w} {' '.join(f'{x:.4f}' for x in v.tolist())}\n" for w, v in vectors.items()))
    return vectors

def test_word_vectors_from_their_file_to_the_saved_captioner(small, call, tmp_path):
    from showattend.captioner import Captioner
    vectors = glove(tmp_path/'glove.txt', 'a red blue in the on is'.split())
    def embedding(*more):
        small('--word-vectors', 'glove.txt', '--epochs', 2, *more)
        captioner = Captioner.from_pretrained(tmp_path/'run/model')
        known = [w for w in vectors if w in captioner.vocab.ids]
        assert len(known) >= 4
        rows = captioner.decoder.embedding.weight[[captioner.vocab.ids[w] for w in known]]
        return torch.stack([torch.cosine_similarity(a, vectors[w], 0) for a, w in zip(rows, known)]).detach()
    frozen, free = embedding('--freeze-vectors'), embedding('--learning-rate', 0.05)
    assert (frozen > 1 - 1e-6).all() and (free < 1 - 1e-4).any() and (free > .3).all()        # it began there and moved on
    assert call('caption', 'mine/photos/0.jpg', '--model', 'run/model')[0] == 0

def test_word_vectors_that_do_not_fit(small, call, tmp_path):
    glove(tmp_path/'glove.txt', ['a', 'the'], 5)
    code, text = call('train', 's.h5', '-o', 'run', *TINY, '--word-vectors', 'glove.txt')
    assert code == 1 and 'Add --embedding-size 5' in text
    code, text = call('train', 's.h5', '-o', 'run', *TINY, '--freeze-vectors')
    assert code == 1 and '--word-vectors FILE' in text

def test_features_of_an_earlier_stage_go_all_the_way(small, call, data, tmp_path):
    "The grid is finer, the features are smaller, and the captioner knows which stage it needs."
    env = {'SHOWATTEND_DATA': str(data)}
    def encode(*more): return call('encode', 's.h5', '-o', 'f.h5', '--encoder', 'squeezenet1_1', *more, env=env)
    code, text = encode('--stage', 'nowhere')
    assert code == 1 and 'nowhere' in text and 'features.' in text
    assert encode('--stage', 4)[0] == 0
    _, record = small(data='f.h5')
    assert record['data']['encoder']['stage'] == 'features.4' and record['decoder']['feature_size'] == 128
    assert call('caption', 'mine/photos/0.jpg', '--model', 'run/model', env=env)[0] == 0
    code, text = call('train', 'f.h5', '-o', 'run', *TINY, '--encoder', 'resnet18', env=env)
    assert code == 1 and 'made by squeezenet1_1' in text

def test_two_stages_in_one_command(small, data, monkeypatch):
    "First the decoder beside a frozen encoder, then the encoder's last stages too; a dry run measures both."
    monkeypatch.setenv('SHOWATTEND_DATA', str(data))
    two = ['--encoder', 'squeezenet1_1', '--set', 'fine_tune_from=features.12', '--set', 'fine_tune_epochs=1']
    text, _ = small(*two, '--dry-run')
    assert 'stage 1' in text and 'stage 2' in text
    _, record = small(*two)
    assert [e['stage'] for e in record['history']] == [1, 2]

def test_images_are_shown_a_little_differently(small, call, data):
    "The first step's loss differs; features can't be changed any more."
    plain, changed = (small(*more)[1]['history'][0]['loss'] for more in ([], ['--augment']))
    assert plain != changed and plain == small()[1]['history'][0]['loss']
    env = {'SHOWATTEND_DATA': str(data)}
    assert call('encode', 's.h5', '-o', 'f.h5', '--encoder', 'squeezenet1_1', env=env)[0] == 0
    code, text = call('train', 'f.h5', '-o', 'run2', *TINY, '--augment', env=env)
    assert code == 1 and 'Only images can be augmented' in text

def start(tmp_path, root, *words):
    "The command line in a process of its own."
    return subprocess.Popen([sys.executable, '-c', 'from showattend.cli import main; main()', *map(str, words)],
                            cwd=tmp_path, env={**os.environ, 'PYTHONPATH': str(root)}, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

def test_ctrl_c_saves_and_says_how_to_go_on(small, root, tmp_path):
    words = ['train', 's.h5', '-o', 'run', *TINY, '--set', 'epochs=40', '--device', 'cpu']
    process = start(tmp_path, root, *words)
    for line in process.stdout:
        if line.startswith('epoch 2'): break
    process.send_signal(signal.SIGINT)
    text, _ = process.communicate(timeout=60)
    assert process.returncode and '--resume goes on from there' in text and 'stopped in epoch' in text
    done = json.loads((tmp_path/'run/history.json').read_text())
    assert 2 <= len(done) < 40
    small('--set', 'epochs=40', '--resume')
    with open(tmp_path/'run/scores.csv', newline='') as file: rows = list(csv.DictReader(file))
    assert [int(row['epoch']) for row in rows] == list(range(1, 41))                           # none twice

def test_two_processes_are_started_by_torchrun(small, root, tmp_path):
    "As --help says, but for the name of the program; one of them speaks and writes."
    done = subprocess.run([sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', '2', '--no-python',
                           sys.executable, '-c', 'from showattend.cli import main; main()',
                           *map(str, ['train', 's.h5', '-o', 'run', *TINY, '--batch-size', 4, '--device', 'cpu'])],
                          cwd=tmp_path, env={**os.environ, 'PYTHONPATH': str(root), 'OMP_NUM_THREADS': '1'},
                          capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count('wrote run/model') == done.stdout.count('ended   finished') == 1
    record = json.loads((tmp_path/'run/run.json').read_text())
    assert record['history'][0]['step'] == 2 and (tmp_path/'run/model/config.json').exists()
