"""The recorded results: complete, and as good as the book says."""
import json
from pathlib import Path
import pytest

RESULTS = Path(__file__).resolve().parents[2]/'data/results'
RECORDS = sorted(RESULTS.rglob('*.json'))
PLACE = {'commit', 'python', 'torch', 'cpu', 'cores', 'gpu', 'date'}

def load(name): return json.loads((RESULTS/name).read_text())

@pytest.mark.parametrize('path', RECORDS, ids=lambda p: str(p.relative_to(RESULTS)))
def test_a_record_says_how_it_was_made(path):
    record = json.loads(path.read_text())
    assert PLACE <= set(record['environment']) and record['environment']['commit']
    assert record['command'].startswith('showattend ')
    config = record.get('config') or record['model']['config']
    assert {'seed', 'epochs', 'learning_rate', 'batch_size', 'precision'} <= set(config)

def test_flickr8k_is_the_whole_official_test_split():
    scores = load('flickr8k/soft/test.json')['scores']
    assert [s['beam_size'] for s in scores] == [1, 3, 5]
    assert all(s['images'] == 1000 and s['references'] == 5 and s['tokenizer'] == 'PTB' for s in scores)

def test_scores_repeat_from_the_recorded_captions():
    "BLEU of the recorded test captions, where the references are at hand."
    from showattend.captions import data_folder, read_karpathy
    from showattend.metrics import evaluate_captions
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
