"""Reads, cuts, counts and encodes as many captions as COCO has, in fresh processes, and records time and memory.

`python tools/text_scale.py` (needs coco/annotations/captions_val2017.json under SHOWATTEND_DATA)"""
import argparse, json, random, re, resource, subprocess, sys, tempfile, time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
IMAGES = 113_287                       # Karpathy's train and restval

def many_captions(annotations, images, seed=0):
    "For each of so many images as many captions as a real one has, each made of the halves of two real ones."
    real = {}
    for a in json.loads(Path(annotations).read_text())['annotations']: real.setdefault(a['image_id'], []).append(a['caption'])
    halves = [c.strip().split() for captions in real.values() for c in captions]
    rng, numbers = random.Random(seed), [len(c) for c in real.values()]
    def made(): a, b = rng.choice(halves), rng.choice(halves); return ' '.join(a[:len(a) // 2] + b[len(b) // 2:])
    return [[made() for _ in range(numbers[i % len(numbers)])] for i in range(images)]

def write_coco(captions, folder):
    images = [dict(id=i, file_name=f'COCO_train2014_{i:012}.jpg', width=640, height=480) for i in range(len(captions))]
    every = [(i, c) for i, several in enumerate(captions) for c in several]
    annotations = [dict(image_id=i, id=k, caption=c) for k, (i, c) in enumerate(every)]
    (folder/'captions_train2014.json').write_text(json.dumps(dict(images=images, annotations=annotations)))

def write_karpathy(captions, folder):
    from showattend.captions import tokenize
    images = [dict(filename=f'COCO_train2014_{i:012}.jpg', filepath='train2014', split='train', imgid=i, sentids=[],
                   sentences=[dict(raw=c, tokens=tokenize(c), imgid=i, sentid=k) for k, c in enumerate(several)])
              for i, several in enumerate(captions)]
    (folder/'dataset_coco.json').write_text(json.dumps(dict(images=images)))

FORMS = {'coco': (write_coco, 'words'), 'karpathy': (write_karpathy, 'given')}

def peak_bytes():
    "The most memory this process has held. On Linux getrusage counts the parent's from before the exec, too."
    status = Path('/proc/self/status')
    if status.exists(): return int(re.search(r'VmHWM:\s*(\d+) kB', status.read_text())[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == 'darwin' else 1024)

def measure(folder, form):
    "Everything from the file to ids, in this process, which should be fresh."
    from showattend.captions import build_vocabulary
    from showattend.formats import read_captions
    times = [time.perf_counter()]
    found = read_captions(folder); times.append(time.perf_counter())
    vocab = build_vocabulary(found, 5, tokenizer=FORMS[form][1]); times.append(time.perf_counter())
    ids = [vocab.encode_image(im) for im in found]; times.append(time.perf_counter())
    seconds = [round(b - a, 2) for a, b in zip(times, times[1:])]
    return dict(form=form, tokenizer=vocab.tokenizer, images=len(found), captions=sum(map(len, ids)), words=len(vocab) - 4,
                left_out=len(found.left_out), different=len({c for im in found for c in im.captions}),
                seconds=dict(zip(('read', 'count', 'encode'), seconds), all=round(times[-1] - times[0], 2)),
                cpu_seconds=round(time.process_time(), 2), peak_bytes=peak_bytes())

def run(annotations, form, images=IMAGES):
    "Makes the file and measures it in a process of its own."
    with tempfile.TemporaryDirectory() as tmp:
        FORMS[form][0](many_captions(annotations, images), Path(tmp))
        size = sum(f.stat().st_size for f in Path(tmp).iterdir())
        done = subprocess.run([sys.executable, __file__, '--measure', tmp, form], capture_output=True, text=True)
        if done.returncode: raise RuntimeError(done.stderr)
        return dict(json.loads(done.stdout), file_bytes=size)

if __name__ == '__main__':
    sys.path.insert(0, str(ROOT))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--measure', nargs=2, metavar=('FOLDER', 'FORM'), help=argparse.SUPPRESS)
    parser.add_argument('--images', type=int, default=IMAGES)
    parser.add_argument('--out', default=ROOT/'data/results/text_scale.json')
    args = parser.parse_args()
    if args.measure: print(json.dumps(measure(*args.measure))); sys.exit()
    from showattend.captions import data_folder
    from showattend.reproduce import environment, save_record
    about, real = environment(), data_folder()/'coco/annotations/captions_val2017.json'
    runs = [run(real, form, args.images) for form in FORMS]
    for r in runs: print(r)
    save_record(args.out, dict(command='python tools/text_scale.py', config=dict(images=args.images, seed=0, source=real.name),
                               runs=runs, environment=about))
