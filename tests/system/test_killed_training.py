"""A training run that is killed at any moment, and resumed, ends with the same weights, bit for bit."""
import os, subprocess, sys
import pytest

SCRIPT = '''
import os, random, shutil, signal, sys, time
from pathlib import Path
import numpy as np, torch
from showattend import checkpoints
from showattend.batches import CaptionDataset
from showattend.captions import CaptionedImage, Vocabulary
from showattend.decoder import AttentionDecoder, DecoderConfig
from showattend.training import CaptioningModel, TrainConfig, fit
folder, kills = Path(sys.argv[1]), int(sys.argv[2])
torch.set_num_threads(1)
partial = folder/'run/last.pt.partial'

def train():
    rng, vocab = np.random.default_rng(0), Vocabulary('a red blue dog bird sleeping flying'.split())
    texts = ['a red dog', 'a blue bird flying', 'a dog sleeping', 'a red bird']
    images = [CaptionedImage(str(k), '', list(rng.choice(texts, 2))) for k in range(40)]
    data = CaptionDataset(rng.normal(size=(40, 4, 6)).astype('float16'), images, vocab)
    torch.manual_seed(0)
    model = CaptioningModel(AttentionDecoder(DecoderConfig(len(vocab), 6, 16, 16, 16)))
    config = TrainConfig(epochs=3, batch_size=4, sampling='linear', captions=1, keep_every=1)
    history = fit(model, data, data, config, folder/'run', (folder/'run/last.pt').exists(), save_steps=4)
    for entry in history: del entry['seconds'], entry['words_per_s']
    torch.save(dict(weights=model.state_dict(), history=history), folder/'result')

def child(slow):                     # forked: torch is imported once for all runs
    pid = os.fork()
    if pid: return pid
    code = 1
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        if slow:                     # writing takes long enough to be met in the middle of it
            def write(content, path):
                torch.save(content, path)
                whole = path.read_bytes()
                with open(path, 'wb') as file:
                    for k in range(0, len(whole), len(whole) // 4 + 1):
                        file.write(whole[k:k + len(whole) // 4 + 1]); file.flush(); time.sleep(.004)
            checkpoints.write_whole = write
        train()
        code = 0
    finally: os._exit(code)

def result():
    found = torch.load(folder/'result')
    (folder/'result').unlink()
    return found

def same(one, other):
    return one['history'] == other['history'] and all(
        torch.equal(one['weights'][k], v) for k, v in other['weights'].items())

assert os.waitpid(child(False), 0)[1] == 0
expected, rng = result(), random.Random(0)
shutil.rmtree(folder/'run')
started = time.perf_counter(); assert os.waitpid(child(True), 0)[1] == 0
duration = time.perf_counter() - started
assert same(result(), expected)
shutil.rmtree(folder/'run')

def wait(pid, writing):
    "Until some moment, or until a checkpoint is being written and a moment more."
    time.sleep(rng.random() * duration * .4)
    end = time.perf_counter() + duration
    while writing and not partial.exists() and time.perf_counter() < end: time.sleep(.0005)
    time.sleep(rng.random() * .012)

killed = finished = resumed = halfway = 0
while killed < kills:
    resumed += (folder/'run/last.pt').exists()
    pid = child(True)
    wait(pid, killed % 2)
    os.kill(pid, signal.SIGKILL)
    if os.WIFSIGNALED(os.waitpid(pid, 0)[1]):
        killed += 1
        halfway += partial.exists()
    else:
        assert same(result(), expected), f'another result after {killed} kills'
        shutil.rmtree(folder/'run')
        finished += 1
assert os.waitpid(child(False), 0)[1] == 0
assert same(result(), expected), f'another result after {killed} kills'
assert sorted(p.name for p in (folder/'run').iterdir() if p.suffix == '.pt') == [
    'best.pt', 'epoch-001.pt', 'epoch-002.pt', 'epoch-003.pt', 'last.pt', 'previous.pt']
print(killed, finished, resumed, halfway)
'''

@pytest.mark.skipif(not hasattr(os, 'fork'), reason='needs fork')
def test_twenty_kills_change_no_bit(tmp_path, root):
    done = subprocess.run([sys.executable, '-c', SCRIPT, tmp_path, '20'], capture_output=True, text=True, timeout=180,
                          env={**os.environ, 'PYTHONPATH': str(root), 'OMP_NUM_THREADS': '1'})
    assert done.returncode == 0, done.stderr[-2000:]
    killed, finished, resumed, halfway = map(int, done.stdout.split())
    assert killed == 20 and resumed >= 10 and halfway >= 5      # many in the middle of a checkpoint's writing
