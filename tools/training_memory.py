"""How much memory training takes beside a feature file.

`python tools/training_memory.py flickr8k|coco|FILE [--steps 20] [--precision bfloat16] [--out RECORD]`
writes a sparse HDF5 file (it takes no disk), or takes the FILE, trains a decoder on it, and prints as JSON the size
of the file and the peak of what belonged to the process, its pages of the file included. In bfloat16 twenty steps are
not enough: what is kept for sizes of products grows with the sizes that were met. Take 150."""
import argparse, json, shlex, subprocess, sys, tempfile, threading, time
from pathlib import Path
import h5py
import numpy as np
import torch

# training and validation images, features of an 8 × 8 grid, words
SIZES = dict(flickr8k=(7_000, 64, 1_280, 2_538), coco=(118_287, 64, 2_048, 9_490))

def resident() -> dict[str, int]:
    "Bytes in memory now, and the part of them that is pages of files."
    lines = Path('/proc/self/status').read_text().splitlines()
    found = {key: int(rest.split()[0]) * 1024 for key, _, rest in (line.partition(':') for line in lines)
             if key in ('VmRSS', 'RssFile')}
    return dict(resident=found['VmRSS'], file_pages=found['RssFile'])

def write_file(path: Path, images: int, positions: int, size: int, vocabulary: int, seed: int = 0):
    "Features that are all zero, as a file without blocks; five captions of 9 to 15 words an image."
    from showattend.captions import CaptionedImage
    from showattend.images import new_hdf5
    rng = np.random.default_rng(seed)
    words = np.array([f'word{k}' for k in range(vocabulary)])
    texts = [[' '.join(words[rng.integers(0, vocabulary, n)]) for n in rng.integers(9, 16, 5)] for _ in range(images)]
    records = [CaptionedImage(f'{k}.jpg', f'{k}.jpg', t, 'val' if k < min(5_000, images // 7) else 'train')
               for k, t in enumerate(texts)]
    with new_hdf5(path, records, encoder={}) as file:
        data = file.create_dataset('features', (images, positions, size), 'float16', track_times=False)
        data[-1, -1, -1] = 1                                              # so that the piece is laid out, and stays sparse

class Peak(threading.Thread):
    "Looks at the memory every 20 ms."
    def __init__(self): super().__init__(daemon=True); self.highest, self.done = {}, False
    def run(self):
        while not self.done:
            now = resident()
            self.highest = {key: max(value, self.highest.get(key, 0)) for key, value in now.items()}
            time.sleep(.02)

def measure(path: Path, steps: int, hidden: int = 512, precision: str = 'float32') -> dict:
    "Trains so many steps on a packed file and returns the highest memory."
    from showattend.batches import CaptionDataset
    from showattend.captions import build_vocabulary
    from showattend.decoder import AttentionDecoder, DecoderConfig
    from showattend.images import read_hdf5
    from showattend.training import CaptioningModel, TrainConfig, Watcher, fit, write_captions
    class Enough(Exception): pass
    class Stop(Watcher):
        def stepped(self, trainer, loss, words):
            if trainer.step == steps: raise Enough
    peak = Peak(); peak.start()
    rows, images, _ = read_hdf5(path)
    vocab = build_vocabulary(images, min_count=1)
    train, val = (CaptionDataset(rows, images, vocab, split) for split in ('train', 'val'))
    sizes = dict(embedding_size=hidden, hidden_size=hidden, attention_size=hidden)
    model = CaptioningModel(AttentionDecoder(DecoderConfig(len(vocab), rows.shape[-1], **sizes)))
    try: fit(model, train, val, TrainConfig(batch_size=32, precision=precision), watchers=[Stop()])
    except Enough: pass
    write_captions(model, val, TrainConfig(max_length=2, precision=precision), torch.device('cpu'))   # reads all of val
    peak.done = True
    peak.join()
    return dict(images=len(rows), steps=steps, precision=precision, file=Path(path).stat().st_size,
                read=(steps * 32 + len(val)) * rows[0].nbytes, **peak.highest)

def measure_apart(path: Path, *about) -> dict:
    "`measure` in a process of its own."
    command = [sys.executable, __file__, '--measure', path, *about]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True)
    if done.returncode: raise RuntimeError(done.stderr[-2000:])
    return json.loads(done.stdout)

def run(images: int, positions: int, size: int, vocabulary: int, steps: int = 20, hidden: int = 512,
        precision: str = 'float32') -> dict:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)/'features.h5'
        write_file(path, images, positions, size, vocabulary)
        return measure_apart(path, steps, hidden, precision)

def record(path: Path, name: str, found: dict):
    "Puts a measurement beside the others."
    from showattend.captions import write_text
    from showattend.reproduce import environment
    old = json.loads(path.read_text()) if path.exists() else {}
    note = '32 images and 160 captions a step, A = H = E = 512, then captions (two words) for the whole validation split'
    part = dict(command=shlex.join(['python', *sys.argv]), unit='bytes', note=note, **found, environment=environment())
    write_text(path, json.dumps({**old, name: part}, indent=1) + '\n')

if __name__ == '__main__':
    if sys.argv[1] == '--measure':
        path, steps, hidden, precision = sys.argv[2:]
        print(json.dumps(measure(Path(path), int(steps), int(hidden), precision))); sys.exit()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('what')
    parser.add_argument('--steps', type=int, default=20)
    parser.add_argument('--precision', default='float32', choices=('float32', 'bfloat16'))
    parser.add_argument('--out', type=Path)
    args = parser.parse_args()
    about = dict(steps=args.steps, hidden=512, precision=args.precision)
    found = run(*SIZES[args.what], **about) if args.what in SIZES else measure_apart(args.what, *about.values())
    print(json.dumps(found, indent=1))
    if args.out: record(args.out, args.what + (' bfloat16' if args.precision == 'bfloat16' else ''), found)
