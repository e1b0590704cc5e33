"""Puts a captioner of photos to the test: what its words owe to language, to the photo, and to where it looks.

    python tools/look_at_photos.py language --features runs/flickr8k/mobilenet_v2.h5 --model runs/flickr8k/soft/model \\
        [--blank-features runs/flickr8k/blank.h5 --blank runs/flickr8k/rows/no-image-0] [--shuffled runs/flickr8k/rows/shuffled-0]
    python tools/look_at_photos.py looks --images runs/flickr8k/flickr8k.h5 --model runs/flickr8k/soft/model

Each writes its part of data/results/flickr8k/looking.json, which chapter 14a reads, and leaves the other part as it is.
The blind captioners are trained like the other one, on files that `showattend.photos.pack_blind` writes of its features.
They are named by the folders of their trainings, since it is the last epoch that is wanted: of a captioner that learns
nothing about photos, the epoch with the best captions is an early one, by chance.

    python tools/look_at_photos.py blind --features runs/flickr8k/mobilenet_v2.h5 --out runs/flickr8k
"""
import argparse, json, os, re, shlex, sys, time
from pathlib import Path
os.environ.setdefault('TQDM_DISABLE', '1')
import numpy as np
import torch
from showattend.batches import CaptionDataset
from showattend.captioner import Captioner
from showattend.checkpoints import find_checkpoint
from showattend.captions import InputError, UNK
from showattend.comparison import bootstrap_interval
from showattend.photos import agreements, by_word_type, collect_looks, hiding, pack_blind, people_log_probs
from showattend.photos import photo_word_type, take_anothers
from showattend.reproduce import decode_split, environment, open_split, save_record
from showattend.scoring import evaluate_captions

ROOT = Path(__file__).resolve().parents[1]
RECORD = ROOT/'data/results/flickr8k/looking.json'

def rounded(value, digits: int = 4):
    "The same record with its numbers cut to what they are worth; NaN, which JSON lacks, becomes None."
    if isinstance(value, dict): return {k: rounded(v, digits) for k, v in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)): return [rounded(v, digits) for v in value]
    if isinstance(value, (float, np.floating)): return float(f'{value:.{digits}g}') if np.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value

def write_part(path: Path, name: str, part: dict):
    "Puts a part into the record and leaves the others."
    record = json.loads(path.read_text()) if path.exists() else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_record(path, {**record, name: rounded(part)})
    print(f'wrote {name} to {path}')

def about_this_run(args) -> dict:
    return dict(command=shlex.join(['python', *sys.argv]), seed=args.seed, environment=environment())

def trained_by(captioner: Captioner) -> str:
    "The command that made a captioner, with its files named from the folder `runs` on."
    return re.sub(r'\S*/runs/', 'runs/', captioner.about.get('command') or 'unknown')

def open_last(folder: Path) -> Captioner:
    "The captioner of a training with the averaged weights of its last epoch."
    captioner, (_, state) = Captioner.from_pretrained(folder/'model'), find_checkpoint(folder)
    mine = 'module.decoder.'
    captioner.decoder.load_state_dict({k.removeprefix(mine): v for k, v in state['ema'].items() if k.startswith(mine)})
    return captioner

def judge(captioner: Captioner, data: CaptionDataset, args) -> dict:
    "A captioner's captions of a split, with the official scores and their intervals."
    found = decode_split(captioner, data, beam_size=args.beam, length_penalty=args.length_penalty)
    texts = {im.id: captioner.vocab.decode(h.ids) for im, h in zip(data.images, found)}
    given = {im.id: im.captions for im in data.images}
    near = bootstrap_interval(texts, given, seed=args.seed)
    return dict(command=trained_by(captioner), config=captioner.about.get('config'),
                trained_on=captioner.about.get('data', {}).get('blind', 'the photos'),
                scores=evaluate_captions(texts, given), captions=texts,
                intervals={name: [i.low, i.high] for name, i in near.items()})

def summary(values, items, words) -> dict:
    "Means by type of word with their intervals."
    return {kind: dict(words=n, mean=i.score, low=i.low, high=i.high)
            for kind, (n, i) in by_word_type(values, items, words, samples=1000).items()}

def language(args):
    "What the picture pays for."
    about, start = about_this_run(args), time.perf_counter()
    paths = dict(true=args.model, blank=args.blank, shuffled=args.shuffled)
    captioners = {name: Captioner.from_pretrained(path) if name == 'true' else open_last(path)
                  for name, path in paths.items() if path}
    true, models, nats = captioners['true'], {}, {}
    data = open_split(args.features, true, args.split)
    empty = args.blank and open_split(args.blank_features, true, args.split)
    for name, captioner in captioners.items():
        if captioner.vocab.words != true.vocab.words: raise InputError('The captioners know different words.')
        given = empty if name == 'blank' else data
        models[name] = judge(captioner, given, args)
        items, ids, nats[name] = people_log_probs(captioner.decoder, given)
        print(time.strftime('%H:%M:%S'), name, {k: v for k, v in models[name]['scores'].items() if k != 'notes'}, flush=True)
    nats['other'] = people_log_probs(true.decoder, data, take_anothers(len(data), args.seed))[2]
    said = ids != UNK                       # nobody said <unk>; it stands for a word that is not known
    words = [true.vocab.words[i] for i in ids[said]]
    spoken = [w for w in words if w != '<end>']
    def by_type(values): return summary(values[said], items[said], words)
    def mean(values): return float(values[said].mean())
    write_part(args.record, 'language', dict(
        **about, split=args.split, beam_size=args.beam, length_penalty=args.length_penalty, photos=len(data),
        words=len(spoken), typed=float(np.mean([photo_word_type(w) != 'other' for w in spoken])), models=models,
        nats={name: by_type(values) for name, values in nats.items()}, mean_nats={n: mean(v) for n, v in nats.items()},
        gain={name: by_type(nats['true'] - values) for name, values in nats.items() if name != 'true'},
        minutes=(time.perf_counter() - start) / 60))

def looks(args):
    "What the words owe to the parts of the photo."
    about, start = about_this_run(args), time.perf_counter()
    captioner = Captioner.from_pretrained(args.model)
    data = open_split(args.images, captioner, args.split)
    chosen = np.linspace(0, len(data) - 1, min(args.photos, len(data))).round().astype(int)    # from all over the split
    images = [data.images[k] for k in chosen]
    few = CaptionDataset(data.rows[data.index[chosen]], images, captioner.vocab)
    found = decode_split(captioner, few, beam_size=1, length_penalty=0.)
    seen = collect_looks(captioner, (few.inputs([k])[0] for k in range(len(few))), found)
    print(time.strftime('%H:%M:%S'), f'{len(seen.words)} words in {(time.perf_counter() - start) / 60:.1f} minutes')
    write_part(args.record, 'looks', dict(
        **about, split=args.split, model=dict(command=trained_by(captioner), encoder=captioner.encoder.identity),
        ids=[im.id for im in images], photos=seen.photos, words=seen.words, minutes=(time.perf_counter() - start) / 60,
        columns={**hiding(seen), **agreements(seen, args.seed)}))

def blind(args):
    "The two files of features without photos."
    for how, positions in (('blank', 1), ('shuffled', None)):      # of nothing, one position is enough
        pack_blind(args.features, args.out/f'{how}.h5', how, args.seed, positions)
        print(f'wrote {args.out}/{how}.h5')

def parse(words: list[str]):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(required=True)
    def part(work, *paths):
        sub = parts.add_parser(work.__name__, help=work.__doc__)
        for name in paths: sub.add_argument(f'--{name}', type=Path, required=True)
        sub.add_argument('--seed', type=int, default=0)
        sub.set_defaults(work=work)
        return sub
    part(blind, 'features', 'out')
    speak = part(language, 'features', 'model')
    for name in ('--blank-features', '--blank', '--shuffled'): speak.add_argument(name, type=Path)
    for sub in (speak, part(looks, 'images', 'model')):
        sub.add_argument('--split', default='val')
        sub.add_argument('--record', type=Path, default=RECORD)
        sub.add_argument('--beam', type=int, default=5)
        sub.add_argument('--length-penalty', type=float, default=0.6)
        sub.add_argument('--photos', type=int, default=300)
    return parser.parse_args(words)

if __name__ == '__main__':
    args = parse(sys.argv[1:])
    try: args.work(args)
    except InputError as e: sys.exit(f'look_at_photos: {e}')
