"""What COCO costs at its true size: every stage is measured on generated data, each in a process of its own.

    python tools/coco_cost.py [--device cuda] [--rows soft tutorial …] [--out data/results/coco/cost.json]

As many images and captions as COCO has, in a file that takes no disk; photos of COCO's size and weight; networks
with random numbers. On a CPU one thread works, and its own time counts; on a GPU the clock's. Rows that are not
named keep what the record holds already."""
import argparse, io, json, os, statistics, subprocess, sys, tempfile, time, zipfile
from pathlib import Path
ROOT = Path(__file__).resolve().parents[1]
if '--measure' in sys.argv: os.environ['TQDM_DISABLE'] = '1'
import numpy as np
import torch
from training_memory import Peak

# Karpathy's splits with five captions each; 9,490 words with the four specials; COCO's zips, by 123,287 photos
SPLITS, CAPTIONS, WORDS, PHOTO = dict(train=113_287, val=5_000, test=5_000), 5, 9_486, 163_500

def texts(images: int, seed: int = 0) -> list[list[str]]:
    "Five captions an image, of 8 to 13 words, which is about as long as COCO's are."
    rng = np.random.default_rng(seed)
    words = np.array([f'word{k}' for k in range(WORDS)])
    ends = np.cumsum(rng.integers(8, 14, images * CAPTIONS))
    said = words[rng.integers(0, WORDS, ends[-1])].tolist()
    captions = [' '.join(said[a:b]) for a, b in zip([0, *ends.tolist()], ends.tolist())]
    return [captions[k:k + CAPTIONS] for k in range(0, len(captions), CAPTIONS)]

def lay_out(path: Path, name: str, shape: tuple, dtype: str, splits: dict = SPLITS):
    "A packed file of that many rows, all zero and without blocks on the disk."
    from showattend.captions import CaptionedImage
    from showattend.images import new_hdf5
    which = [split for split, n in splits.items() for _ in range(n)]
    records = [CaptionedImage(f'{k}.jpg', f'{k}.jpg', c, s) for k, (s, c) in enumerate(zip(which, texts(len(which))))]
    with new_hdf5(path, records) as file:
        data = file.create_dataset(name, (len(which), *shape), dtype, track_times=False)
        data[(-1,) * data.ndim] = 1             # so that the piece is laid out

class Clock:
    "Seconds since it was made or last asked: of this process on a CPU, of the clock on a GPU."
    def __init__(self, device: torch.device): self.device = device; self.start = self.now()
    def now(self) -> float:
        if self.device.type != 'cuda': return time.process_time()
        torch.cuda.synchronize(); return time.perf_counter()
    def tick(self) -> float:
        before, self.start = self.start, self.now()
        return self.start - before

def memory(peak: Peak, device: torch.device) -> dict:
    "The most that was held; on a GPU also of its own memory."
    found = dict(resident=peak.highest['resident'])
    return found | (dict(gpu=torch.cuda.max_memory_allocated()) if device.type == 'cuda' else {})

# ---- photos into one file

def photos(folder: Path, count: int) -> list:
    "Scenes enlarged to 640×480, with grain, as JPEGs about as heavy as COCO's, in a zip."
    from PIL import Image
    from showattend.captions import CaptionedImage
    from showattend.scenes import make_scenes
    pixels, rng = make_scenes(20)[0], np.random.default_rng(0)
    def jpeg(image, quality):
        image.save(content := io.BytesIO(), 'JPEG', quality=quality); return content.getvalue()
    images = []
    for p in pixels:
        large = np.asarray(Image.fromarray(p.transpose(1, 2, 0)).resize((640, 480), 3)).astype('int16')
        images.append(Image.fromarray((large + rng.integers(-14, 15, large.shape)).clip(0, 255).astype('uint8')))
    quality = min(range(60, 99), key=lambda q: abs(np.mean([len(jpeg(im, q)) for im in images[:4]]) - PHOTO))
    with zipfile.ZipFile(folder/'photos.zip', 'w') as z:
        for n in range(count): z.writestr(f'{n}.jpg', jpeg(images[n % 20], quality) if n < 20 else z.read(f'{n % 20}.jpg'))
    return [CaptionedImage(f'{n}.jpg', f'{n}.jpg', ['a thing'], 'train') for n in range(count)]

def measure_pack(size: int, count: int = 240, device: str = 'cpu') -> dict:
    from showattend.images import pack_images
    with tempfile.TemporaryDirectory() as tmp:
        records = photos(Path(tmp), count)
        weight = (Path(tmp)/'photos.zip').stat().st_size // count
        peak = Peak(); peak.start()
        start, clock = time.process_time(), time.perf_counter()
        pack_images(records, Path(tmp)/'photos.zip', Path(tmp)/'out.h5', size, workers=1)
        spent, passed = time.process_time() - start, time.perf_counter() - clock
        peak.done = True; peak.join()
        return dict(photos=count, pixels=[640, 480], bytes_a_photo=weight, seconds_an_image=spent / count,
                    clock_seconds_an_image=passed / count, memory=memory(peak, torch.device('cpu')))

# ---- images into features

def measure_encode(encoder: dict, precision: str, device: str, batch: int = 16, batches: int = 2) -> dict:
    from showattend.encoders import ImageEncoder
    from showattend.images import encode_batch
    device = torch.device(device)
    peak = Peak(); peak.start()
    model = ImageEncoder(**encoder, weights=None).eval().to(device)
    batch, batches = (64, 20) if device.type == 'cuda' else (batch, batches)
    images = np.random.default_rng(0).integers(0, 256, (batch, 3, *[model.image_size] * 2)).astype('uint8')
    features, clock, seconds = encode_batch(model, images, precision), Clock(device), []     # the first one warms up
    for _ in range(batches): encode_batch(model, images, precision); seconds.append(clock.tick() / batch)
    peak.done = True; peak.join()
    return dict(images=batch * batches, batch=batch, seconds_an_image=statistics.median(seconds),
                bytes_an_image=features[0].nbytes, shape=list(features.shape[1:]), memory=memory(peak, device))

# ---- training and captioning

def measure_train(row: str, device: str, steps: int = 3) -> dict:
    "A few steps of each stage, and captions for a few images; the text is read as a training would read it."
    from showattend.batches import CaptionDataset
    from showattend.captions import build_vocabulary
    from showattend.coco import ROWS, configs_of, encoder_of_row, shape_of
    from showattend.decoder import AttentionDecoder
    from showattend.encoders import ImageEncoder
    from showattend.images import read_hdf5
    from showattend.planning import stages_of
    from showattend.training import CaptioningModel
    row, device = ROWS[row], torch.device(device)
    peak, clock = Peak(), Clock(torch.device('cpu')); peak.start()
    with tempfile.TemporaryDirectory() as tmp:
        shape = (3, *[encoder_of_row(row)['image_size']] * 2) if row.images else shape_of(row)
        subprocess.run([sys.executable, __file__, '--lay-out', json.dumps([
            f'{tmp}/file.h5', 'images' if row.images else 'features', shape, 'uint8' if row.images else 'float16'])], check=True)
        clock.tick()
        rows, records, _ = read_hdf5(f'{tmp}/file.h5')
        vocab = build_vocabulary(records, min_count=5)
        train, val = (CaptionDataset(rows, records, vocab, split) for split in ('train', 'val'))
        found = dict(loading_seconds=clock.tick(), words=len(vocab), images=len(train), captions=int(train.encoded.first[-1]),
                     file_bytes=Path(f'{tmp}/file.h5').stat().st_size)
        torch.manual_seed(0)
        training, config = configs_of(row, words=len(vocab))
        encoder = ImageEncoder(**encoder_of_row(row), weights=None) if row.images else None
        model = CaptioningModel(AttentionDecoder(config), encoder)
        found['stages'] = [measure_steps(model, train, val, stage, device, steps) for stage in stages_of(training)]
        found['captioning'] = measure_captions(model, val, device, row.images)
        peak.done = True; peak.join()
        return found | dict(memory=memory(peak, device))

def measure_steps(model, train, val, config, device: torch.device, steps: int) -> dict:
    "So many steps of one stage after a first that warms up."
    from showattend.planning import Enough, Probe, memory_of
    from showattend.training import fit
    class Timed(Probe):
        def begun(self, trainer): super().begun(trainer); self.clock, self.spent = Clock(device), []
        def stepped(self, trainer, loss, words): loss.item(); self.spent.append(self.clock.tick()); super().stepped(trainer, loss, words)
    if config.fine_tune_from: steps = min(steps, 2)
    probe = Timed(model, steps if device.type == 'cpu' else 40)
    try: fit(model, train, val, config, device=device, watchers=[probe])
    except Enough: pass
    return dict(epochs=config.epochs, precision=config.precision, batch=config.batch_size, steps_an_epoch=probe.trainer.steps // config.epochs,
                seconds_a_step=statistics.median(probe.spent[1:]), clock_seconds_a_step=statistics.median(probe.seconds[1:]),
                trained=sum(p.numel() for p in model.parameters() if p.requires_grad), memory=memory_of(probe))

@torch.inference_mode()
def measure_captions(model, data, device: torch.device, images: bool, words: int = 11, count: int = 30) -> dict:
    "Seconds an image by beam size, of captions that end after eleven words, from features."
    from showattend.captions import END
    from showattend.search import beam_search
    if images: return {}                # the decoder is that of the frozen row, and the encoder's pass stands under `encode`
    model.eval().to(device)
    model.decoder.output.bias[END] = -1e4
    features, clock, found = data.inputs(np.arange(count)).float().to(device), Clock(device), {}
    beam_search(model.decoder, features[:4], 1, 2); clock.tick()
    for k in (1, 3, 5): beam_search(model.decoder, features, k, words); found[k] = clock.tick() / count
    return dict(images=count, words=words, seconds_an_image=found)

# ---- everything

MEASURES = dict(pack=measure_pack, encode=measure_encode, train=measure_train)

def measured(what: str, **how) -> dict:
    "A measurement in a fresh process with one thread."
    done = subprocess.run([sys.executable, __file__, '--measure', what, json.dumps(how)], capture_output=True, text=True,
                          env={**os.environ, 'OMP_NUM_THREADS': '1'} if how.get('device', 'cpu') == 'cpu' else None)
    if done.returncode: raise RuntimeError(done.stderr[-3000:])
    print(time.strftime('%H:%M:%S'), what, how, done.stdout.strip()[-200:], flush=True)
    return json.loads(done.stdout.splitlines()[-1])

def key_of(encoder: dict) -> str:
    "An encoder's name in the record."
    return f"{encoder['name']} {encoder['image_size']}"

def measure_row(name: str, device: str, found: dict):
    "All that a row needs and that isn't in the record yet."
    from showattend.coco import ROWS, encoder_of_row
    encoder = encoder_of_row(ROWS[name])
    size, key = str(encoder['image_size']), key_of(encoder)
    if size not in found['pack']: found['pack'][size] = measured('pack', size=int(size))
    for precision in ('float32', 'bfloat16'):
        if f'{key} {precision}' in found['encode']: continue
        found['encode'][f'{key} {precision}'] = measured('encode', encoder=encoder, precision=precision, device=device)
    found['train'][name] = measured('train', row=name, device=device)

if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--rows', nargs='+'); parser.add_argument('--device', default='cpu')
    parser.add_argument('--out', type=Path)
    parser.add_argument('--measure', nargs=2, help=argparse.SUPPRESS); parser.add_argument('--lay-out', help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.lay_out: path, name, shape, dtype = json.loads(args.lay_out); lay_out(Path(path), name, tuple(shape), dtype); sys.exit()
    if args.measure: print(json.dumps(MEASURES[args.measure[0]](**json.loads(args.measure[1])))); sys.exit()
    from showattend.coco import ROWS
    from showattend.reproduce import environment, save_record
    cpu = args.device == 'cpu'
    out = args.out or ROOT/f"data/results/coco/{'cost' if cpu else 'cost_gpu'}.json"
    old = json.loads(out.read_text()) if out.exists() else {}
    about, found = environment(), {what: old.get(what, {}) for what in MEASURES}
    for name in args.rows or [name for name, row in ROWS.items() if row.whole and name not in found['train']]:
        measure_row(name, args.device, found)
        save_record(out, dict(command=f"python tools/coco_cost.py{'' if cpu else f' --device {args.device}'}",
                              device=args.device, unit=f"seconds of {'one thread' if cpu else 'the clock'}", splits=SPLITS,
                              captions=CAPTIONS, words=WORDS + 4, **found, environment=about))
