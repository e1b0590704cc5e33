"""The recorded results: complete, and as good as the book says."""
import json
from pathlib import Path
import pytest

RESULTS = Path(__file__).resolve().parents[2]/'data/results'
RECORDS = sorted([*(RESULTS/'scenes').glob('[!v]*.json'), *(RESULTS/'flickr8k/soft').glob('*.json')])   # trainings, tests
ROWS = sorted((RESULTS/'flickr8k').glob('rows/*.json')) + sorted((RESULTS/'flickr8k').glob('search/*.json'))
MEASUREMENTS = sorted({*RESULTS.rglob('*.json')} - {*RECORDS, *ROWS, RESULTS/'flickr8k/trials.json'})
PLACE = {'commit', 'python', 'torch', 'cpu', 'cores', 'gpu', 'date'}

def load(name): return json.loads((RESULTS/name).read_text())

@pytest.mark.parametrize('path', RECORDS, ids=lambda p: str(p.relative_to(RESULTS)))
def test_a_record_says_how_it_was_made(path):
    record = json.loads(path.read_text())
    assert PLACE <= set(record['environment']) and record['environment']['commit']
    assert record['command'].startswith('showattend ')
    config = record.get('config') or record['model']['config']
    assert {'seed', 'epochs', 'learning_rate', 'batch_size', 'precision'} <= set(config)

@pytest.mark.parametrize('path', MEASUREMENTS, ids=lambda p: p.name)
def test_a_measurement_says_how_it_was_made(path):
    record = json.loads(path.read_text())
    whole = 'command' in record                 # or its parts were measured one by one
    for part in [record] if whole else [part for name, part in record.items() if name != 'environment']:
        assert PLACE <= set(part['environment']) and part['environment']['commit']
        assert part['command']

def trainings(record):
    "Of a row: its own training, those of its members, or none."
    return record.get('members', [record] if 'history' in record else [])

@pytest.mark.parametrize('path', ROWS, ids=lambda p: str(p.relative_to(RESULTS)))
def test_a_row_says_how_it_was_made_and_what_it_cost(path):
    from showattend.reproduce import TARGETS
    record = json.loads(path.read_text())
    name, seed = record['row']['name'], record['seed']
    assert path.stem == f'{name}-{seed}' and (path.parent.name == 'search') == (name not in TARGETS[record['row']['dataset']])
    assert record['command'].startswith(f"showattend reproduce flickr8k --row {name.split('+')[0]} --seed {seed}")
    for place in (record['environment'], record['judged']): assert PLACE <= set(place) and place['commit']
    assert record['stages'] and len(record['seconds']) == len(record['stages'])
    assert all(value is None or value > 0 for value in record['seconds'].values())
    assert bool(trainings(record)) != bool(record['row']['baseline'])
    photos = record['row']['images'] or any(TARGETS['flickr8k'][member].images for member, _ in record['row']['members'])
    for run in trainings(record):
        assert {'seed', 'epochs', 'learning_rate', 'batch_size', 'precision'} <= set(run['config']) and run['decoder']
        assert PLACE <= set(run['environment']) and run['environment']['commit'] and run['trained_parameters'] > 0
        assert run['config'].items() >= record['row']['training'].items() or 'members' in record
        assert len(run['history']) == run['config']['epochs']
        assert run['data']['size'] if photos else run['data']['encoder']
    assert not any(word in path.read_text() for word in ('/home/', '/root/', '/tmp/', '/work/', 'base64'))

@pytest.mark.parametrize('path', ROWS, ids=lambda p: str(p.relative_to(RESULTS)))
def test_a_row_was_chosen_on_val_and_tested_once(path):
    record = json.loads(path.read_text())
    assert ('scores' in record) == (path.parent.name == 'rows')
    if record['row']['baseline'] == 'human': return
    assert record['val']['tried'] and all({'BLEU-4', 'CIDEr'} <= set(t) for t in record['val']['tried'])
    if 'scores' not in record: return
    if not record['row']['baseline']: assert [s['beam_size'] for s in record['scores']] == list(record['row']['beams'])
    images = {s['images'] for s in record['scores']}
    assert images == {len(record['captions'])} == {len(record['cider'])} and (record['row']['view'] == 'dogs' or images == {1000})
    assert all(s['references'] == 5 and s['tokenizer'] == 'PTB' and s['METEOR'] > 0 for s in record['scores'])
    assert {'vocabulary', 'novel', 'different', 'length'} <= set(record['style']) and record['against_four']

def test_the_chapter_shows_every_row_and_fills_none_that_was_not_run():
    from showattend.reproduce import ROWS as rows, best_of, read_records, table_line
    records = read_records(RESULTS/'flickr8k/rows')
    assert set(records) <= set(rows)
    for name, row in rows.items():
        line = table_line(row, records.get(name, {}))
        assert line.startswith(name) and ('not run' in line) == (name not in records)
        if len(records.get(name, {})) == 1: assert f"{best_of(*records[name].values())['CIDEr']:.1f}" in line

def test_the_eye_read_the_captions_that_are_recorded():
    judged, run = load('flickr8k/judged.json'), load('flickr8k/soft/test.json')['captions']['5']
    assert len(judged['judged']) == 100 and 'AI assistant' in judged['about']
    assert all(run[j['id']] == j['caption'] and set(j['mistakes']) <= set(judged['kinds']) for j in judged['judged'])

def test_the_metrics_are_as_good_as_their_pages_say():
    tokenizer, speed = load('metrics/tokenizer.json'), load('metrics/speed.json')
    assert {k: v['captions'] for k, v in tokenizer['sets'].items()} == {'Flickr8k': 40000, 'COCO': 25014}
    assert all(1000 * v['differ'] < v['captions'] for v in tokenizer['sets'].values())
    assert len(tokenizer['differences']) == sum(v['differ'] for v in tokenizer['sets'].values())
    assert all(d['words'] == d['java'] + '.' and len(d['java']) == 1 for d in tokenizer['differences'])
    for scores in tokenizer['scores_one_caption_against_the_others'].values():
        assert all(abs(s['java'] - s['python']) < .05 for s in scores.values())
    assert speed['images'] == 5000 and speed['seconds']['evaluate_captions'] < 15
    published = load('metrics/correlation.json')
    assert all(abs(published['experts'][k] - v) < .1 for k, v in published['published'].items())

def test_the_fast_search_is_fast_and_finds_what_the_plain_one_finds():
    record = load('speed/search.json')
    assert record['identical_captions_14x14'] == record['compared_14x14'] == 200
    assert record['identical_captions_8x8'] == record['compared_8x8'] > 0
    assert record['ratio_by_processor_time']['plain_14x14 / fast_14x14'] >= 10
    assert record['ratio_by_processor_time']['plain_14x14 / fast_8x8'] >= 25

def test_trials_say_how_they_were_made_and_saw_validation_photos_only():
    for trial in load('flickr8k/trials.json')['trials']:
        assert PLACE <= set(trial['environment']) and trial['command'].startswith('showattend train ')
        assert len(trial['history']) == trial['config']['epochs']
        assert all(s['beam_size'] == 5 and s['images'] == 1000 for s in trial['val_beam_5'])

def test_flickr8k_reaches_its_bar_at_beam_5():
    best = next(s for s in load('flickr8k/soft/test.json')['scores'] if s['beam_size'] == 5)
    assert best['BLEU-4'] >= 19.5 and best['CIDEr'] >= 47

VARIANTS = {'soft', 'additive_relu', 'dot', 'dot_relu', 'multihead', 'hard', 'adaptive', 'weights', 'uniform', 'no_gate',
            'current', 'two_layers', 'penalty', 'linear', 'tied', 'variational'}

def test_every_variant_was_trained_with_the_same_budget():
    record = load('scenes/variants.json')
    runs = {(r['variant'], r['seed']): r for r in record['runs']}
    assert VARIANTS <= {name for name, _ in runs} <= set(record['seconds_a_batch']) and len(runs) == len(record['runs'])
    assert all((name, seed) in runs for name in ('soft', 'dot', 'hard', 'uniform') for seed in (0, 1, 2))
    for (name, seed), r in runs.items():
        same = {**r['config'], 'seed': 0, 'attention_penalty': float(name == 'penalty')}
        assert same == {**runs['soft', 0]['config'], 'attention_penalty': float(name == 'penalty')}, name
        assert PLACE <= set(r['environment']) and r['environment']['commit'] == runs['soft', 0]['environment']['commit']
        assert r['config']['seed'] == seed and len(r['history']) == r['config']['epochs']
        assert r['looks']['object']['looks'] > 500 and r['beam_size'] == 1
    assert record['splits']['test'] == dict(seed=2, scenes=1000)

def mean_of(name, number):
    values = [number(r) for r in load('scenes/variants.json')['runs'] if r['variant'] == name]
    return sum(values) / len(values)

def test_the_best_variant_points_at_the_things_it_names():
    best = max(mean_of(name, lambda r: r['looks']['object']['pointing']) for name in ('soft', 'dot', 'hard'))
    assert best >= .9
    assert mean_of('uniform', lambda r: r['looks']['object']['pointing']) < .25

def test_hard_attention_is_nearly_as_good_as_soft_and_nearly_one_hot():
    for score in ('BLEU-4', 'kind_and_color'):
        assert abs(mean_of('hard', lambda r: r['scores'][score]) - mean_of('soft', lambda r: r['scores'][score])) < 4
    assert mean_of('hard', lambda r: r['looks']['object']['largest']) == 1     # in use: one cell
    assert mean_of('hard', lambda r: r['chances']['object']['largest']) > .6   # what it would draw from

def test_packing_and_reading_are_as_fast_as_chapter_3_says():
    record = load('images/packing.json')
    assert record['flickr8k']['images'] == 8000 and record['flickr8k']['ratio'] >= 1.8
    assert record['large']['images'] == 500 and record['large']['ratio'] >= 3
    assert min(record['reading']['images_per_s']) >= 5000 and len(set(record['reading']['own_memory'])) == 1
    assert all(part['own_memory_added'] == 0 for part in record['sparse'])

def test_a_training_step_is_as_fast_as_chapter_17_says():
    cases = load('speed/decoder.json')['cases']
    fast = {name: {kind: case['forms'][kind] for kind in ('late gradients', 'bfloat16')} for name, case in cases.items()}
    assert fast['one caption']['late gradients']['ratio'] >= 5
    assert fast['five captions']['late gradients']['ratio'] >= 7 and fast['five captions']['bfloat16']['ratio'] >= 12
    assert fast['dot product']['late gradients']['ratio'] >= 20
    for case in cases.values():
        plain = case['forms']['plain']
        for name, form in case['forms'].items():
            if name == 'bfloat16': continue
            assert abs(form['loss'] - plain['loss']) < 1e-4 and form['gradients_off'] < 1e-4

def test_flickr8k_takes_minutes_from_the_archive_to_the_test():
    record = load('speed/flickr8k.json')
    assert record['minutes'] <= 20 and record['environment']['cores'] == 2
    best = record['scores'][-1]
    assert best['beam_size'] == 5 and best['BLEU-4'] >= 20 and best['images'] == 1000

def test_flickr8k_is_the_whole_official_test_split():
    scores = load('flickr8k/soft/test.json')['scores']
    assert [s['beam_size'] for s in scores] == [1, 3, 5]
    assert all(s['images'] == 1000 and s['references'] == 5 and s['tokenizer'] == 'PTB' for s in scores)

def test_scores_repeat_from_the_recorded_captions():
    "BLEU of the recorded test captions, where the references are at hand."
    from showattend.captions import data_folder, read_karpathy
    from showattend.scoring import evaluate_captions
    if not (data_folder()/'flickr8k').exists(): pytest.skip('needs flickr8k in SHOWATTEND_DATA')
    pytest.importorskip('pycocoevalcap')
    record = load('flickr8k/soft/test.json')
    references = {im.id: im.captions for im in read_karpathy(data_folder()/'flickr8k') if im.split == 'test'}
    scores = evaluate_captions(record['captions']['5'], references)
    if scores['tokenizer'] != 'PTB': pytest.skip('needs Java for the PTB tokenizer')
    for key in ('BLEU-1', 'BLEU-4', 'METEOR', 'ROUGE-L', 'CIDEr'):
        assert scores[key] == pytest.approx(record['scores'][-1][key], abs=1e-6)

def test_the_bundled_captioner_says_and_sees_what_is_there():
    "Measured afresh on scenes of a seed that no other run uses."
    import numpy as np
    from showattend import Captioner
    from showattend.batches import CaptionDataset
    from showattend.reproduce import decode_split, scene_scores
    from showattend.scenes import make_scenes
    captioner = Captioner.from_pretrained('scenes')
    images, records = make_scenes(300, seed=77, split='test')
    data = CaptionDataset(images, records, captioner.vocab, 'test')
    scores = scene_scores(captioner, data, decode_split(captioner, data, beam_size=3))
    assert scores['kind_and_color'] >= 95 and scores['pointing'] >= 85, scores

def test_explorers_stand_within_two_seconds():
    "Pages with explorers, opened from the built book; beside them one without, the machine's own measure."
    record = load('book/opening.json')
    pages = [p for p in record['pages'] if p['explorers']]
    assert len(pages) >= 9 and max(p['explorers'] for p in pages) >= 3 and record['repeats'] >= 5
    assert all(p['seconds'] <= 2 and p['bytes'] < 3_000_000 for p in pages)
