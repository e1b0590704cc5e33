"""What a Flickr8k captioner is worth on COCO's photos, beside one that learnt from a few hundred of them:

    python tools/coco_transfer.py runs/flickr8k/rows/soft-1/model [--penalty 0.6] [--out data/results/coco/transfer.json]

COCO's sample lies under SHOWATTEND_DATA/coco. Its val and test photos together are the exam. What is trained here sees
the photos of train and restval alone, and of those 56 are held out to choose epoch and learning rate by."""
import argparse, json, os, re, sys, time
from dataclasses import asdict
from pathlib import Path
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault('TQDM_DISABLE', '1')
import torch
from showattend.batches import CaptionDataset
from showattend.captioner import Captioner
from showattend.captions import build_vocabulary, data_folder
from showattend.coco import TRANSFER, compare_pairs, deal_out, one_person, open_coco, unknown_share, with_intervals
from showattend.comparison import describe_captions
from showattend.datasets import plan_photos, prepare
from showattend.decoder import AttentionDecoder, DecoderConfig
from showattend.images import pack_features, read_hdf5
from showattend.reproduce import decode_split, environment, save_record
from showattend.training import CaptioningModel, TrainConfig, fit

def encoded(work: Path, captioner: Captioner) -> tuple:
    "Features of the sample and its photos' records, dealt out anew."
    size = captioner.encoder.image_size
    photos, features = work/f'photos-{size}.h5', work/f'{captioner.encoder.name}-{size}.h5'
    if not photos.exists(): prepare(plan_photos(open_coco(data_folder()/'coco'), photos, size))
    if not features.exists(): pack_features(photos, features, captioner.encoder, precision='bfloat16')
    rows, images, _ = read_hdf5(features)
    return rows, deal_out(images)

def trained(decoder, vocab, rows, images, config: TrainConfig, encoder, folder: Path) -> dict:
    "Trains, or takes up a training; the best epoch by the photos held out is kept in FOLDER/model."
    train, val = (CaptionDataset(rows, images, vocab, split) for split in ('train', 'val'))
    note, start = folder/'run.json', time.process_time()
    if note.exists(): return json.loads(note.read_text())
    keep = lambda best: Captioner(encoder, best.decoder, vocab).save_pretrained(folder/'model')
    history = fit(CaptioningModel(decoder), train, val, config, folder, (folder/'last.pt').exists(), on_best=keep)
    found = dict(config=asdict(config), words=len(vocab), photos=len(train), held_out=len(val), history=history,
                 best=max(h['CIDEr'] for h in history), cpu_seconds=time.process_time() - start)
    note.write_text(json.dumps(found))
    return found

def new_decoder(captioner: Captioner, vocab) -> AttentionDecoder:
    torch.manual_seed(0)
    return AttentionDecoder(DecoderConfig(**{**asdict(captioner.decoder.config), 'vocab_size': len(vocab)}))

def train_alone(flickr: Captioner, rows, images, folder: Path) -> dict:
    "The same decoder with new weights and the words of the 300 photos: it takes nothing from Flickr8k."
    vocab = build_vocabulary([im for im in images if im.split == 'train'], min_count=TRANSFER['min_count'])
    return trained(new_decoder(flickr, vocab), vocab, rows, images, TrainConfig(**TRANSFER['alone']), flickr.encoder, folder)

def train_on(model: Path, rate: float, rows, images, folder: Path) -> dict:
    "The captioner of Flickr8k goes on with the 300 photos; it keeps its words."
    flickr = Captioner.from_pretrained(model)
    config = TrainConfig(**TRANSFER['on'], learning_rate=rate)
    return trained(flickr.decoder, flickr.vocab, rows, images, config, flickr.encoder, folder)

def run(model: Path, work: Path, penalty: float, beam: int = 5) -> dict:
    flickr = Captioner.from_pretrained(model)
    rows, images = encoded(work, flickr)
    runs = {'alone': train_alone(flickr, rows, images, work/'alone')}
    for rate in TRANSFER['rates']: runs[f'on {rate:g}'] = train_on(model, rate, rows, images, work/f'on-{rate:g}')
    best = max((name for name in runs if name != 'alone'), key=lambda name: runs[name]['best'])
    captioners = {'flickr8k': flickr, 'alone': Captioner.from_pretrained(work/'alone/model'),
                  'went on': Captioner.from_pretrained(work/best.replace(' ', '-')/'model')}
    said, systems = {}, {}
    for name, captioner in captioners.items():
        data = CaptionDataset(rows, images, captioner.vocab, 'test')
        found = decode_split(captioner, data, beam_size=beam, length_penalty=penalty)
        said[name] = {im.id: captioner.vocab.decode(h.ids) for im, h in zip(data.images, found)}
        systems[name] = dict(**with_intervals(said[name], data.images), words=len(captioner.vocab),
                             unknown=unknown_share(captioner.vocab, data.images),
                             style=describe_captions(said[name].values()), captions=said[name])
    about = json.loads(re.sub(r'/[^\s"]*/runs/', 'runs/', json.dumps(flickr.about)))     # wherever its files lie
    return dict(model=about, beam_size=beam, length_penalty=penalty, settings=TRANSFER, chosen=best, runs=runs,
                photos=len(data), systems=systems, pairs=compare_pairs(said, data.images), person=one_person(data.images))

if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('model', type=Path)
    parser.add_argument('--penalty', type=float, default=.6, help='length penalty, as chosen on the validation photos of Flickr8k')
    parser.add_argument('--work', type=Path, default=Path('runs/coco/transfer'))
    parser.add_argument('--out', type=Path, default=ROOT/'data/results/coco/transfer.json')
    parser.add_argument('--begin', action='store_true', help='only what takes no weights from MODEL')
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    place = environment()
    if args.begin:
        flickr = Captioner.from_pretrained(args.model)
        train_alone(flickr, *encoded(args.work, flickr), args.work/'alone'); sys.exit()
    parts = args.model.parts
    where = '/'.join(parts[parts.index('runs'):] if 'runs' in parts else parts[-2:])
    command = f'python tools/coco_transfer.py {where} --penalty {args.penalty}'
    save_record(args.out, dict(command=command, **run(args.model, args.work, args.penalty), environment=place))
    record = json.loads(args.out.read_text())
    for name, s in record['systems'].items():
        print(name, *(f"{k} {s[k]:.1f} ({a:.1f} to {b:.1f})" for k, (a, b) in s['intervals'].items()))
    print(record['chosen'], {name: r['best'] for name, r in record['runs'].items()})
