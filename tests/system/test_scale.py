"""The text side at the size of COCO: as many captions, within a minute and 1.5 GB."""
import importlib.util
import pytest
from showattend.captions import data_folder

REAL = data_folder()/'coco/annotations/captions_val2017.json'

@pytest.mark.slow
@pytest.mark.skipif(not REAL.exists(), reason='needs coco/annotations/captions_val2017.json under SHOWATTEND_DATA')
@pytest.mark.parametrize('form', ['coco', 'karpathy'])
def test_as_many_captions_as_coco_has(root, form):
    spec = importlib.util.spec_from_file_location('text_scale', root/'tools/text_scale.py')
    text_scale = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(text_scale)
    done = text_scale.run(REAL, form)
    assert done['images'] == 113_287 and 566_000 < done['captions'] < 568_000 and not done['left_out']
    assert done['different'] > .95 * done['captions']
    assert done['cpu_seconds'] < 60 and done['peak_bytes'] < 1.5e9     # work, not waiting for busy neighbours
