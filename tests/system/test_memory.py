"""Training from a feature file takes the memory of the model and its batches, whatever the size of the file."""
import importlib.util, sys
from pathlib import Path
import pytest

@pytest.fixture
def tool(root):
    spec = importlib.util.spec_from_file_location('training_memory', root/'tools/training_memory.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

needs_proc = pytest.mark.skipif(not Path('/proc/self/status').exists(), reason='reads /proc')

@needs_proc
@pytest.mark.slow
@pytest.mark.parametrize('name', ['flickr8k', 'coco'])
def test_training_stays_below_two_and_a_half_gigabytes(tool, name):
    "20 steps of a decoder with 512 numbers everywhere, and a validation; at COCO's size of a file of 31 GB."
    done = tool.run(*tool.SIZES[name], steps=20)
    assert done['file'] > (30e9 if name == 'coco' else 1e9) and done['read'] > 2e8
    assert done['resident'] < 2.5e9

@needs_proc
def test_what_was_read_is_given_back(tool):
    "Thirty more steps read 250 MB more, and hold none of it."
    few, many = (tool.run(1_500, 64, 2_048, 50, steps=steps, hidden=16) for steps in (5, 35))
    assert many['read'] - few['read'] > 2e8
    assert many['file_pages'] - few['file_pages'] < 5e7
