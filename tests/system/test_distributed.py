"""Two processes that torchrun starts give the run of one, write each caption once, and leave one set of files."""
import functools, json, os, subprocess, sys
import pytest

PROGRAM = '''
import json, sys
from pathlib import Path
import numpy as np, torch
from showattend import training
from showattend.batches import CaptionDataset
from showattend.captions import CaptionedImage, Vocabulary
from showattend.decoder import AttentionDecoder, DecoderConfig
from showattend.encoders import ImageEncoder
from showattend.parallel import find_world, leave
from showattend.training import CaptioningModel, TrainConfig, Trainer, Watcher, fit

how = json.loads(sys.argv[1])
folder, images, stop, resume = (how.pop(k, None) for k in ('folder', 'images', 'stop', 'resume'))
world, device = find_world()

rng, vocab = np.random.default_rng(0), Vocabulary('a red blue dog bird sleeping flying'.split())
texts = ['a red dog', 'a blue bird flying', 'a dog sleeping', 'a red bird', 'a red dog sleeping a blue bird flying']
def data(count, prefix, split):
    shape = (count, 3, 64, 64) if images else (count, 4, 6)
    rows = rng.integers(0, 256, shape, 'uint8') if images else rng.normal(size=shape).astype('float16')
    return CaptionDataset(rows, [CaptionedImage(f'{prefix}{k}', '', list(rng.choice(texts, rng.integers(1, 4))), split)
                                 for k in range(count)], vocab)
train, val = data(22, 't', 'train'), data(13, 'v', 'val')

written = []
def write(model, data, config, device, items=None, whole=training.write_captions):
    found = whole(model, data, config, device, items)
    written.extend(found)
    return found
training.write_captions = write

class Notes(Watcher):
    def begun(self, trainer): self.losses, self.orders = [], []
    def stepped(self, trainer, loss, words):
        self.losses.append(loss.item())
        if stop and trainer.step == stop and trainer.world.rank == trainer.world.size - 1: trainer.asked = True
    def validated(self, trainer, entry, captions): self.orders.append(list(captions))

torch.manual_seed(0)
encoder = ImageEncoder('scene_cnn', image_size=64) if images else None
D = encoder.feature_size if images else 6
model = CaptioningModel(AttentionDecoder(DecoderConfig(len(vocab), D, 8, 8, 8, dropout=0.)), encoder)
config = TrainConfig(**dict(epochs=3, batch_size=4) | how)
notes = Notes()
try: history = fit(model, train, val, config, folder, bool(resume), device, watchers=[notes], world=world)
except KeyboardInterrupt: history = 'stopped'
parts = world.gather(list(written))
weights = {k: v.double().sum().item() for k, v in model.state_dict().items()}
alike = world.gather(weights)
if world.rank == 0:
    print(json.dumps(dict(losses=notes.losses, orders=notes.orders, parts=parts, history=history,
                          alike=all(w == alike[0] for w in alike), weights=weights, size=world.size,
                          expected=[im.id for im in val.images])))
leave(world)
'''

@pytest.fixture(scope='module')
def train(tmp_path_factory, root):
    tmp_path = tmp_path_factory.mktemp('several')
    (tmp_path/'program.py').write_text(PROGRAM)
    @functools.cache                        # the same run is asked about twice
    def train(processes, **how):
        start = [sys.executable] if processes == 1 else [
            sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', str(processes)]
        done = subprocess.run([*start, tmp_path/'program.py', json.dumps(how)], capture_output=True, text=True, timeout=180,
                              cwd=tmp_path, env={**os.environ, 'PYTHONPATH': str(root), 'OMP_NUM_THREADS': '1'})
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1])
    return train

def test_two_processes_are_the_run_of_one(train):
    "22 images in batches of four: the last batch holds two. Sums in another order: equal to a relative 1e-4."
    one, two = train(1), train(2)
    assert two['size'] == 2 and two['alike'] and len(one['losses']) == 18
    assert two['losses'] == pytest.approx(one['losses'], rel=1e-4)
    assert two['losses'] != one['losses'] or two['weights'] == one['weights']
    assert two['weights'] == pytest.approx(one['weights'], rel=1e-3, abs=1e-3)
    for a, b in zip(one['history'], two['history'], strict=True): assert a['CIDEr'] == pytest.approx(b['CIDEr'], abs=1e-6)

def test_each_validation_image_is_captioned_once(train):
    two = train(2)
    assert [len(p) for p in two['parts']] == [3 * 7, 3 * 6]                      # three epochs, shared out
    for epoch in range(3):
        once = two['parts'][0][7 * epoch:7 * epoch + 7] + two['parts'][1][6 * epoch:6 * epoch + 6]
        assert sorted(once) == sorted(two['expected'])
    assert two['orders'] == 3 * [two['expected']]

def test_two_stages_with_accumulation_from_pictures(train):
    how = dict(images=True, epochs=2, fine_tune_from='3', fine_tune_epochs=1, accumulate=2)
    one, two = train(1, **how), train(2, **how)
    assert two['alike'] and [e['stage'] for e in two['history']] == [1, 1, 2]
    assert two['losses'][:6] == pytest.approx(one['losses'][:6], rel=1e-4)     # a frozen encoder: no batch statistics

def test_a_wish_to_stop_is_heard_by_all_and_the_run_goes_on(train, tmp_path):
    whole = train(2, epochs=4)
    stopped = train(2, epochs=4, folder=str(tmp_path/'run'), stop=3)
    assert stopped['history'] == 'stopped' and stopped['losses'] == whole['losses'][:10]   # asked every tenth step
    resumed = train(2, epochs=4, folder=str(tmp_path/'run'), resume=True)
    assert resumed['losses'] == whole['losses'][10:] and resumed['weights'] == whole['weights']
    assert {p.name for p in (tmp_path/'run').iterdir()} == {'best.pt', 'history.json', 'last.pt', 'previous.pt'}
