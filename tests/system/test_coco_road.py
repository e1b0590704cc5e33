"""COCO's road from the download to a record, on a dozen scenes under COCO's names: planned, walked, killed, walked again."""
import json, os, signal, subprocess, sys, time
from dataclasses import replace
from pathlib import Path
import pytest, torch
from typer.testing import CliRunner
from showattend import coco, reproduce
from showattend.cli import app
from test_coco import tiny_coco
from test_published import publish

pytest.importorskip('pycocoevalcap')
ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT/'data/results/coco'

@pytest.fixture
def data(tmp_path, monkeypatch):
    "A download of two dozen scenes, and random SqueezeNet weights."
    from torchvision.models import squeezenet1_1
    (tmp_path/'data/coco').mkdir(parents=True); (tmp_path/'data/weights').mkdir()
    torch.manual_seed(0)
    torch.save(squeezenet1_1(weights=None).state_dict(), tmp_path/'data/weights/squeezenet1_1-imagenet.pth')
    tiny_coco(tmp_path/'data/coco', count=24)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('SHOWATTEND_DATA', str(tmp_path/'data'))
    monkeypatch.setitem(coco.ROWS, 'sample', small())
    return tmp_path

def small(epochs=2):
    "The rehearsal, in a second."
    tiny = dict(hidden_size=8, attention_size=8, embedding_size=8)
    return replace(coco.ROWS['sample'], encoder='squeezenet1_1', size=64, beams=(1, 2), penalties=(.5, 1.), decoder=tiny,
                   words=dict(min_count=1), training=dict(epochs=epochs, precision='float32', keep_every=1))

def call(*words):
    result = CliRunner().invoke(app, ['reproduce', 'coco', *map(str, words)])
    if result.exception and not isinstance(result.exception, SystemExit): raise result.exception
    return result.output

def record(name, folder='data/results/coco'): return json.loads(Path(folder, 'rows', f'{name}.json').read_text())

def test_coco_is_a_second_target_of_the_command():
    assert all(name in call() for name in coco.ROWS)

def test_a_dry_run_lists_downloads_disk_stages_and_hours_and_does_nothing(data):
    text = call('--row', 'soft', '--dry-run', '--data', 'nowhere')
    for part in ('train2014.zip', '13.5 GB', 'missing', 'http://images.cocodataset.org', 'disk: ', 'are free', 'one thread of', 'GPU'):
        assert part in text, part
    text = call('--row', 'sample', '--dry-run')
    assert [line.split()[2].rstrip(':') for line in text.splitlines() if line.startswith('  to do')] == [
        'download', 'prepare', 'encode', 'train', 'choose', 'test']
    assert 'no COCO result' in text and sorted(p.name for p in data.iterdir()) == ['data']

def test_the_rehearsal_from_the_download_to_its_record(data):
    text = call('--row', 'sample', '--seed', 1)
    assert 'wrote data/results/coco/rows/sample-1.json' in text
    found = record('sample-1')
    assert found['command'] == 'showattend reproduce coco --row sample --seed 1'
    assert [s['beam_size'] for s in found['scores']] == [1, 2] and len(found['captions']) == 4
    assert len(found['history']) == 2 and not found['row']['whole'] and str(data) not in json.dumps(found)
    assert 'repeats its record to the last bit' in call('--row', 'sample', '--seed', 1)

def test_a_few_photos_are_refused_by_every_row_of_the_table(data):
    from showattend.captions import InputError
    for name, row in coco.ROWS.items():
        if not row.whole: continue
        with pytest.raises(InputError, match='24 photos.*--row sample'): call('--row', name)
    assert not list(data.rglob('*.h5')) and not (data/'data/results').exists()

def test_a_published_checkpoint_is_scored_by_one_command(data):
    path, wordmap = publish(data/'BEST_tiny.pth.tar', 'tutorial')
    path, wordmap = ['--checkpoint', path.name], ['--word-map', wordmap.name]
    text = call('--row', 'sample', *path, *wordmap)
    assert 'wrote data/results/coco/rows/sample-BEST_tiny-1.json' in text
    found = record('sample-BEST_tiny-1')
    assert found['command'].endswith('--row sample --checkpoint BEST_tiny.pth.tar --word-map WORDMAP_tiny.json')
    assert found['scores'] and found['data']['layout'] == 'a-PyTorch-Tutorial-to-Image-Captioning' and len(found['captions']) == 4
    with pytest.raises(reproduce.InputError, match='24 photos'): call(*path, *wordmap)
    for wrong in (path, [*path, *wordmap, '--row', 'soft'], ['--checkpoint', 'none.pth', *wordmap]):
        with pytest.raises(reproduce.InputError, match='--word-map|There is no'): call(*wrong)

KILLED = '''
import sys
sys.path[:0] = {path!r}
from pathlib import Path
import importlib.util
spec = importlib.util.spec_from_file_location('system_coco', {file!r})
system = importlib.util.module_from_spec(spec); spec.loader.exec_module(system)
from showattend import coco
from showattend.cli import main
coco.ROWS['sample'] = system.small(3)
sys.argv = ['showattend', 'reproduce', 'coco', '--row', 'sample', '--work', sys.argv[1], '--out', sys.argv[1]]
main()
'''

def test_a_kill_between_two_stages_loses_nothing(data):
    script = KILLED.format(path=[str(ROOT/'tests/system'), str(ROOT/'tests')], file=__file__)
    def start(work): return subprocess.Popen([sys.executable, '-c', script, work], env={**os.environ, 'PYTHONPATH': str(ROOT)},
                                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    whole = start('whole')
    text, _ = whole.communicate()
    assert whole.returncode == 0, text
    for leaves in ('sample-64.h5', 'rows/sample-1/run.json'):           # killed as soon as each of these is there
        process = start('killed')
        while process.poll() is None and not Path('killed', leaves).exists(): time.sleep(.01)
        process.send_signal(signal.SIGKILL); process.communicate()
        assert Path('killed', leaves).exists()
    last = start('killed')
    text, _ = last.communicate()
    assert last.returncode == 0 and 'prepare' not in text and 'train ' not in text, text
    assert reproduce.differing(record('sample-1', 'whole'), record('sample-1', 'killed')) == []
