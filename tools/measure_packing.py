"""Packing and reading against the plain loop, in one run:  python tools/measure_packing.py OUT.json [--rounds 3]

Needs Flickr8k under SHOWATTEND_DATA. The plain loop is that of the tutorials: decode with Pillow, resize, write one by one."""
import argparse, gc, io, json, os, statistics, sys, tempfile, time, zipfile
from pathlib import Path
import h5py
import numpy as np
from PIL import Image
from showattend.batches import CaptionDataset, epoch_order
from showattend.captions import CaptionedImage, build_vocabulary, data_folder, read_karpathy, write_text
from showattend.images import core_count, map_file, pack_images, read_hdf5
from showattend.reproduce import environment
from showattend.scenes import make_scenes

def plain(records, source, path, size=224):
    "One photo after the other, squashed and written into HDF5."
    with zipfile.ZipFile(source) as z, h5py.File(path, 'w') as f:
        names = {n.rsplit('/', 1)[-1]: n for n in z.namelist()}
        rows = f.create_dataset('images', (len(records), 3, size, size), 'uint8')
        for i, im in enumerate(records):
            image = Image.open(io.BytesIO(z.read(names[im.path]))).convert('RGB')
            rows[i] = np.asarray(image.resize((size, size), Image.Resampling.BICUBIC)).transpose(2, 0, 1)

def seconds(make):
    start = time.perf_counter(); make()
    return time.perf_counter() - start

def compare(records, source, folder, rounds):
    "Plain and fast by turns; images/s of each round, their ratio by pairs, and how far the pixels differ."
    slow, fast = [], []
    for _ in range(rounds):
        os.sync()                   # neither pays for what the other has left to be written
        slow.append(len(records) / seconds(lambda: plain(records, source, folder/'plain.h5')))
        os.sync()
        fast.append(len(records) / seconds(lambda: pack_images(records, source, folder/'fast.h5')))
        print(f'{slow[-1]:.0f} and {fast[-1]:.0f} images/s', flush=True)
    ours, about = read_hdf5(folder/'fast.h5')[::2]
    with h5py.File(folder/'plain.h5') as f:
        gaps = [np.abs(ours[i].astype(int) - f['images'][i]) for i in range(0, len(ours), max(1, len(ours) // 500))]
    return dict(images=len(records), plain_images_per_s=slow, images_per_s=fast,
                ratio=statistics.median(b / a for a, b in zip(slow, fast)), failed=len(about['failed']),
                mean_difference=float(np.mean([g.mean() for g in gaps])), largest_difference=int(max(g.max() for g in gaps)))

def large_photos(folder, count):
    "Photos of 2000×1500: scenes enlarged, with grain, as JPEG of quality 90 in a zip."
    pixels, _ = make_scenes(20); rng = np.random.default_rng(0)
    grain = rng.integers(-12, 13, (1500, 2000, 3)).astype('int16')
    with zipfile.ZipFile(folder/'large.zip', 'w') as z:
        for k in range(20):
            image = np.asarray(Image.fromarray(pixels[k].transpose(1, 2, 0)).resize((2000, 1500), 3)).astype('int16')
            Image.fromarray((image + grain).clip(0, 255).astype('uint8')).save(content := io.BytesIO(), 'JPEG', quality=90)
            for n in range(k, count, 20): z.writestr(f'{n:03}.jpg', content.getvalue())
    return [CaptionedImage(f'{n:03}.jpg', f'{n:03}.jpg', ['a thing'], 'train') for n in range(count)]

def own_memory():
    "Bytes that belong to this process alone, mapped files not counted."
    line = next(l for l in Path('/proc/self/status').read_text().splitlines() if l.startswith('RssAnon'))
    return int(line.split()[1]) * 1024

def reading(path, epochs=4, batch=64):
    "Shuffled batches from a warm cache, with the process's own memory after each epoch."
    rows, images, _ = read_hdf5(path)
    data = CaptionDataset(rows, images, build_vocabulary(images, 1))
    rates, memory, rng = [], [], np.random.default_rng(0)
    for _ in range(epochs):
        order = epoch_order(data.longest, batch, rng)
        rates.append(len(data) / seconds(lambda: [data.batch(items).inputs.shape for items in order]))
        gc.collect(); memory.append(own_memory())
    return dict(images=len(data), batch=batch, images_per_s=rates, own_memory=memory)

def indexing(folder, count, shape, dtype):
    "A sparse file as long as COCO's: random rows, and what they add to the process's own memory."
    path = folder/'sparse.bin'
    nbytes = count * int(np.prod(shape)) * np.dtype(dtype).itemsize
    with open(path, 'wb') as f: f.truncate(nbytes)
    rows, rng = map_file(path, np.dtype(dtype).str, 0, (count, *shape)), np.random.default_rng(0)
    rows[rng.integers(count, size=64)]
    before = own_memory()
    for _ in range(50): rows[rng.integers(count, size=64)]
    after = own_memory(); path.unlink()
    return dict(rows=count, shape=list(shape), dtype=str(np.dtype(dtype)), bytes=nbytes, own_memory_added=after - before)

if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('out', type=Path); parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--large', type=int, default=500)
    args = parser.parse_args()
    where, flickr = environment(), data_folder()/'flickr8k'
    with tempfile.TemporaryDirectory() as tmp:
        tmp = Path(tmp)
        record = dict(command=" ".join(["python", *sys.argv]),
                      environment=where, threads=core_count())
        records = read_karpathy(flickr, 'dataset_flickr8k.json')
        record['flickr8k'] = compare(records, flickr/'Flickr8k_Dataset.zip', tmp, args.rounds)
        record['reading'] = reading(tmp/'fast.h5')
        for name in ('plain.h5', 'fast.h5'): (tmp/name).unlink()
        record['large'] = compare(large_photos(tmp, args.large), tmp/'large.zip', tmp, args.rounds)
        record['sparse'] = [indexing(tmp, 113_287, (3, 224, 224), 'uint8'), indexing(tmp, 113_287, (64, 2048), 'float16')]
    write_text(args.out, json.dumps(record, indent=1) + '\n')
    print(json.dumps(record, indent=1))
