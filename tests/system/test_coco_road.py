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

# ---- the records, and the chapter that prints them

PLACE = {'commit', 'python', 'torch', 'cpu', 'cores', 'threads', 'gpu', 'date'}
def load(name): return json.loads((RESULTS/name).read_text())

def test_every_record_of_coco_says_how_it_was_made():
    found = sorted(RESULTS.rglob('*.json'))
    assert {p.name for p in found} >= {'cost.json', 'transfer.json', 'sample-1.json'}
    for path in found:
        record = json.loads(path.read_text())
        assert PLACE <= set(record['environment']) and record['environment']['commit'], path
        assert record['command'].startswith(('showattend reproduce coco ', 'python tools/coco_')), path

def test_a_row_of_the_table_has_all_of_cocos_photos():
    "What was made with fewer is a rehearsal, by its name."
    for path in sorted((RESULTS/'rows').glob('*.json')):
        record = json.loads(path.read_text())
        config, settings = record['config'], record['row']['training']
        assert set(settings.items()) <= set(config.items()) and config['seed'] == record['seed']
        assert len(record['history']) == config['epochs'] and record['val']['chosen'] and record['decoder']
        if not record['row']['whole']: assert path.name.startswith('sample'); continue
        assert all(s['images'] == 5_000 for s in record['scores']) and len(record['captions']) == 5_000

def test_costs_are_those_of_the_true_size():
    cost = load('cost.json')
    assert cost['splits'] == coco.SPLITS and cost['words'] == 9_490 and cost['device'] == 'cpu'
    assert set(cost['train']) == {name for name, row in coco.ROWS.items() if row.whole}
    for name, found in cost['train'].items():
        row = coco.ROWS[name]
        assert found['images'] == 113_287 and found['captions'] == 566_435 and found['words'] == 9_490
        assert found['file_bytes'] > 15e9 and 0 < found['memory']['resident'] < 12e9
        steps = [(s['epochs'], s['batch']) for s in found['stages']]
        training, _ = coco.configs_of(row)
        assert steps[0] == (training.epochs, training.batch_size)
        hours = coco.hours_of(row, cost)
        assert list(hours) == ['prepare', 'encode', 'train', 'choose', 'test']
        assert all(h > 0 for h in hours.values())

def test_the_exam_of_the_transfer_was_seen_by_nobody():
    found = load('transfer.json')
    assert found['photos'] == 269 and set(found['systems']) == {'flickr8k', 'alone', 'went on'}
    for run in found['runs'].values():
        assert run['photos'] + run['held_out'] == 356 and run['best'] == max(h['CIDEr'] for h in run['history'])
    for s in found['systems'].values():
        assert s['images'] == 269 and len(s['captions']) == 269 and s['tokenizer'] == 'PTB'
        for name, (low, high) in s['intervals'].items(): assert low < high, name
        assert s['intervals']['BLEU-4'][0] < s['BLEU-4'] < s['intervals']['BLEU-4'][1]
    assert found['settings'] == json.loads(json.dumps(coco.TRANSFER))

def test_transfer_scores_repeat_from_the_recorded_captions():
    from showattend.captions import data_folder
    from showattend.reproduce import scores_of
    if not (data_folder()/'coco').exists(): pytest.skip('needs coco in SHOWATTEND_DATA')
    exam = [im for im in coco.deal_out(coco.open_coco(data_folder()/'coco').captions.images) if im.split == 'test']
    for s in load('transfer.json')['systems'].values():
        scores = scores_of({im.id: s['captions'][im.id] for im in exam}, exam, java=False)
        if s['tokenizer'] == 'PTB':
            for key in ('BLEU-4', 'CIDEr'): assert abs(scores[key] - s[key]) < .1

def shown_by_the_chapter(results):
    "Everything that chapter 16's cells show, with the records of another folder."
    import ast, contextlib, io
    cells = json.loads((ROOT/'nbs/16_coco.ipynb').read_text())['cells']
    names, shown = {}, []
    for cell in cells:
        source = ''.join(cell['source'])
        head = source.split('\n', 1)[0]
        if cell['cell_type'] != 'code' or head.startswith(('#| test', '#| export', '#| default')): continue
        source = '\n'.join(line for line in source.splitlines() if not line.startswith(('!', '%')))
        source = source.replace('plt.show()', 'plt.close()')
        tree, text = ast.parse(source), io.StringIO()
        names.update(vars(coco)) if not names else None
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        with contextlib.redirect_stdout(text):
            exec(compile(tree, 'chapter', 'exec'), names)
            if 'RESULTS' in names: names['RESULTS'] = Path(results)
            value = eval(compile(ast.Expression(last.value), 'chapter', 'eval'), names) if last else None
        shown += [text.getvalue(), getattr(value, 'data', None) or repr(value)]
    return '\n'.join(shown)

@pytest.mark.filterwarnings('ignore')
def test_the_chapter_rebuilds_its_tables_from_the_records(tmp_path, monkeypatch):
    "Other records, other tables: a cell that no record fills stays empty, and one that a record fills is filled."
    import shutil, matplotlib
    matplotlib.use('Agg')
    monkeypatch.chdir(ROOT/'nbs')
    shutil.copytree(ROOT/'data/results', tmp_path/'results')
    usual = shown_by_the_chapter(tmp_path/'results')
    transfer = load('transfer.json'); transfer['systems']['flickr8k']['BLEU-4'] = 98.7654
    (tmp_path/'results/coco/transfer.json').write_text(json.dumps(transfer))
    cost = load('cost.json'); cost['encode']['vgg19 224 float32']['seconds_an_image'] *= 1000
    (tmp_path/'results/coco/cost.json').write_text(json.dumps(cost))
    made_up = dict(seed=4, scores=[{'beam_size': 3, 'BLEU-4': 77.77, 'images': 5_000}])
    (tmp_path/'results/coco/rows/soft-4.json').write_text(json.dumps(made_up))
    other = shown_by_the_chapter(tmp_path/'results')
    for part in ('98.8', '77.77', 'seed 4, beam 3'): assert part in other and part not in usual, part
    def line(text, start): return next(line for line in text.splitlines() if line.startswith(start))
    assert line(usual, '| soft | the paper').count('|  ') >= 7 and 'not run' in line(usual, '| soft | the paper')
    assert line(usual, '| soft | one thread') != line(other, '| soft | one thread')
