"""A row of the ladder from the download to its record, on ten scenes; killed, resumed, repeated."""
import json, os, signal, subprocess, sys, time
from dataclasses import replace
from pathlib import Path
import pytest, torch
from typer.testing import CliRunner
from showattend import reproduce
from showattend.cli import app
from test_command_line import download

pytest.importorskip('pycocoevalcap')

@pytest.fixture
def data(tmp_path, monkeypatch):
    "A download of ten scenes under the official names, and random SqueezeNet weights."
    from torchvision.models import squeezenet1_1
    (tmp_path/'data/flickr8k').mkdir(parents=True); (tmp_path/'data/weights').mkdir()
    torch.manual_seed(0)
    torch.save(squeezenet1_1(weights=None).state_dict(), tmp_path/'data/weights/squeezenet1_1-imagenet.pth')
    download(tmp_path/'data/flickr8k')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('SHOWATTEND_DATA', str(tmp_path/'data'))
    return tmp_path

SMALL = [word for setting in ('encoder=squeezenet1_1', 'size=64', 'min_count=1', 'epochs=2', 'precision=float32', 'hidden_size=8',
                              'attention_size=8', 'embedding_size=8') for word in ('--set', setting)]

def small(name):
    "A row of this name that takes a second."
    tiny = dict(hidden_size=8, attention_size=8, embedding_size=8)
    row = reproduce.ROWS[name]
    return replace(row, encoder='squeezenet1_1', size=64, stage='', beams=(1, 2), penalties=(.5, 1.), words=dict(min_count=1),
                   decoder={**row.decoder, **tiny}, training={**row.training, 'epochs': 2, 'precision': 'float32'})

@pytest.fixture
def rows(monkeypatch):
    monkeypatch.setattr('showattend.scoring.has_java', lambda: False)      # it takes seconds to start
    for name in ('soft', 'flipped', 'ensemble', 'best-frozen', 'dogs'): monkeypatch.setitem(reproduce.ROWS, name, small(name))
    monkeypatch.setitem(reproduce.ROWS, 'ensemble', replace(small('ensemble'), members=(('soft', 1), ('soft', 2))))
    for name in ('frequent', 'neighbour', 'consensus', 'human'):
        monkeypatch.setitem(reproduce.ROWS, name, replace(reproduce.ROWS[name], encoder='squeezenet1_1', size=64))

def call(*words):
    result = CliRunner().invoke(app, ['reproduce', 'flickr8k', *map(str, words)])
    if result.exception and not isinstance(result.exception, SystemExit): raise result.exception
    return result.output

def record(name, seed=1, kind='rows', out='data/results/flickr8k'): return json.loads(Path(out, kind, f'{name}-{seed}.json').read_text())

def test_rows_are_listed():
    text = call()
    assert all(name in text for name in reproduce.ROWS)

def test_a_dry_run_does_nothing(data):
    text = call('--row', 'soft', '--seed', 1, '--dry-run')
    assert [line.split(':')[0] for line in text.splitlines()] == [
        'to do  prepare', 'to do  encode', 'to do  train', 'to do  choose', 'to do  test']
    assert sorted(p.name for p in data.iterdir()) == ['data']

def test_a_row_from_the_download_to_its_record(data, rows):
    text = call('--row', 'soft', '--seed', 1)
    assert 'wrote data/results/flickr8k/rows/soft-1.json' in text
    found = record('soft')
    assert found['command'] == 'showattend reproduce flickr8k --row soft --seed 1' and found['seed'] == 1
    assert [s['beam_size'] for s in found['scores']] == [1, 2] and len(found['captions']) == 1
    assert all(seconds > 0 for seconds in found['seconds'].values()) and str(data) not in json.dumps(found)
    assert set(found['environment']) >= {'commit', 'torch', 'cpu'} and len(found['history']) == 2
    text = call('--row', 'soft', '--seed', 1)
    assert 'repeats its record to the last bit' in text and 'showattend train' not in text
    text = call('--row', 'soft', '--seed', 1, '--work', 'elsewhere')
    assert 'repeats its record to the last bit' in text and 'showattend train' in text
    text = call('--row', 'soft', '--seed', 1, '--dry-run')
    assert {line.split()[0] for line in text.splitlines()} == {'there'}

def test_another_seed_is_another_record_and_both_an_ensemble(data, rows):
    call('--row', 'ensemble', '--seed', 1)
    assert record('ensemble')['members'][0]['config']['seed'] == 1
    assert not Path('data/results/flickr8k/rows/soft-1.json').exists()     # its members are trained, not tested
    assert {p.name for p in Path('runs/flickr8k/rows').iterdir()} == {'soft-1', 'soft-2', 'ensemble-1'}

def test_a_row_asks_its_neighbours_about_the_captions_of_another_one(data, rows, monkeypatch):
    row = replace(small('soft'), name='asks', members=(('soft', None),), neighbours=(2, 3), beams=(3,))
    monkeypatch.setitem(reproduce.ROWS, 'asks', row)
    call('--row', 'asks', '--seed', 1)
    found, chosen = record('asks')['val'], record('asks')['val']['chosen'][0]
    assert {p.name for p in Path('runs/flickr8k/rows').iterdir()} == {'soft-1', 'asks-1'}
    ways = [(t['length_penalty'], t.get('neighbours'), t.get('weight')) for t in found['tried']]
    assert len(set(ways)) == len(ways) == 2 * (1 + 2 * len(row.weights)) and (.5, None, None) in ways
    assert max(found['tried'], key=reproduce.merit).items() >= chosen.items() and chosen.items() <= record('asks')['scores'][0].items()
    call('--row', 'soft', '--seed', 1)
    assert record('soft')['history'] == record('asks')['history']      # it is the captioner of that row and seed

def test_training_goes_on_from_a_captioner_with_its_encoder(data, rows, monkeypatch):
    "The second row starts from the first one's captioner, on photos, and lets the encoder learn."
    row = replace(small('soft'), name='tuned', images=True, start='soft', decoder={}, words={},
                  training=dict(epochs=1, learning_rate=1e-5, encoder_rate=1e-3, fine_tune_from='features.12'))
    monkeypatch.setitem(reproduce.ROWS, 'tuned', row)
    text = call('--row', 'tuned', '--seed', 1)
    assert text.count('showattend train') == 2 and '--start-from runs/flickr8k/rows/soft-1/model' in text
    from showattend import Captioner
    first, second = (Captioner.from_pretrained(f'runs/flickr8k/rows/{name}/model') for name in ('soft-1', 'tuned-1'))
    assert first.vocab == second.vocab
    same = {k: torch.equal(v, second.encoder.state_dict()[k]) for k, v in first.encoder.state_dict().items()}
    assert not all(same.values()) and same['trunk.0.weight'] and not same['trunk.12.expand3x3.weight']
    near = [(a - b).abs().max() for a, b in zip(first.decoder.parameters(), second.decoder.parameters())]
    assert max(near) < 1e-3                       # it did not begin anew
    assert record('tuned', 1)['start']['config']['seed'] == 1

def test_a_row_that_has_changed_does_not_take_an_old_training(data, rows, monkeypatch):
    call('--row', 'soft', '--seed', 1)
    monkeypatch.setitem(reproduce.ROWS, 'soft', replace(reproduce.ROWS['soft'], decoder=dict(hidden_size=9)))
    Path('runs/flickr8k/rows/soft-1/test.json').unlink()
    with pytest.raises(reproduce.InputError, match='another hidden_size'): call('--row', 'soft', '--seed', 1)

def test_a_trial_never_sees_the_test_photos(data, rows):
    call('--row', 'soft', '--seed', 3, '--set', 'dropout=0.1')
    found = record('soft+dropout=0.1', 3, 'search')
    assert 'scores' not in found and found['val']['tried'] and found['decoder']['dropout'] == .1
    assert not Path('runs/flickr8k/rows/soft+dropout=0.1-3/test.json').exists()
    assert found['command'].endswith('--row soft --seed 3 --set dropout=0.1')

def test_mirrored_photos_are_learnt_from_and_not_tested(data, rows):
    call('--row', 'flipped', '--seed', 1)
    found = record('flipped')
    assert found['scores'][0]['images'] == 1 and found['train']['images'] == 8
    from showattend.images import read_hdf5
    photos, images, _ = read_hdf5('runs/flickr8k/flickr8k-64-flipped.h5')
    assert len(images) == 18 and (photos[17] == photos[7][..., ::-1]).all()

@pytest.mark.parametrize('name', ['frequent', 'neighbour', 'consensus', 'human'])
def test_baselines_need_no_training(data, rows, name):
    call('--row', name)
    found = record(name)
    assert found['scores'][0]['images'] == 1 and found['scores'][0]['references'] == 5 - (name == 'human')

KILLED = '''
import sys
from dataclasses import replace
sys.path[:0] = {path!r}
import test_rows
from showattend import reproduce, scoring
scoring.has_java = lambda: False
from showattend.cli import main
reproduce.ROWS['soft'] = replace(test_rows.small('soft'), training=dict(epochs=3, precision='float32', keep_every=1))
sys.argv = ['showattend', 'reproduce', 'flickr8k', '--row', 'soft', '--seed', '1', '--work', sys.argv[1], '--out', sys.argv[1]]
main()
'''

@pytest.mark.slow
def test_a_row_that_is_killed_again_and_again_ends_with_the_same_record(data):
    root = Path(__file__).resolve().parents[2]
    script = KILLED.format(path=[str(root/'tests/system'), str(root/'tests')])
    def start(work): return subprocess.Popen([sys.executable, '-c', script, work], env={**os.environ, 'PYTHONPATH': str(root)},
                                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    whole = start('whole')
    text, _ = whole.communicate()
    assert whole.returncode == 0, text
    stages = ['flickr8k-64.h5', 'squeezenet1_1-64.h5', 'rows/soft-1/epoch-001.pt', 'rows/soft-1/val.json']
    for leaves in stages:                          # killed as soon as each of these is there
        process = start('killed')
        while process.poll() is None and not Path('killed', leaves).exists(): time.sleep(.01)
        process.send_signal(signal.SIGKILL); process.communicate()
        assert Path('killed', leaves).exists()
    last = start('killed')
    text, _ = last.communicate()
    assert last.returncode == 0 and 'prepare' not in text, text
    one, other = (record('soft', out=folder) for folder in ('whole', 'killed'))
    assert reproduce.differing(one, other) == []
