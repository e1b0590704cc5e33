"""Training from a feature file takes the memory of the model and its batches, whatever the size of the file."""
import importlib.util, json, subprocess, sys
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
    "Ten steps of a decoder with 512 numbers everywhere, and a validation; at COCO's size of a file of 31 GB."
    done = tool.run(*tool.SIZES[name], steps=10)
    assert done['file'] > (30e9 if name == 'coco' else 1e9) and done['read'] > 2e8
    assert done['resident'] < 2.5e9

@needs_proc
@pytest.mark.slow
def test_so_does_training_in_16_bits(tool):
    "The batches bring ever new sizes of products; what is kept for each size must not pile up."
    done = tool.run(*tool.SIZES['flickr8k'], steps=40, precision='bfloat16')
    assert done['resident'] < 2.2e9

def test_the_record_stays_below_two_and_a_half_gigabytes(root):
    record = json.loads((root/'data/results/speed/training_memory.json').read_text())
    assert {'flickr8k', 'coco', 'flickr8k bfloat16'} <= set(record)
    assert all(part['resident'] < 2.5e9 for part in record.values())
    assert record['flickr8k bfloat16']['steps'] >= 100

SIZES = """
import showattend.training, torch
from training_memory import resident
before, weight = resident(), torch.randn(64, 32).bfloat16()
for n in range(1500, 2100): torch.ones(n, 32).bfloat16() @ weight.T, torch.ones(64, n).bfloat16() @ torch.ones(n, 32).bfloat16()
print(resident()['resident'] - before['resident'])
"""

@needs_proc
def test_products_of_a_thousand_sizes_leave_little_behind(root):
    "Where there are 16-bit products; without a bound they keep half a gigabyte."
    done = subprocess.run([sys.executable, '-c', SIZES], capture_output=True, text=True, check=True, cwd=root/'tools')
    assert int(done.stdout) < 2e8

@needs_proc
def test_what_was_read_is_given_back(tool):
    "Thirty more steps read 250 MB more, and hold none of it."
    few, many = (tool.run(1_500, 64, 2_048, 50, steps=steps, hidden=16) for steps in (5, 35))
    assert many['read'] - few['read'] > 2e8
    assert many['file_pages'] - few['file_pages'] < 5e7
