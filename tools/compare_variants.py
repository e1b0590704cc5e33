"""Trains every variant of attention and decoder on the scenes with one budget, and measures them side by side.

    python tools/compare_variants.py train     # resumable: runs/variants/NAME-SEED.json and .safetensors
    python tools/compare_variants.py measure   # data/results/scenes/variants.json

The pictures go once through the bundled captioner's encoder, which was trained end to end with soft attention;
what is trained here are new decoders on its features.
"""
import json, os, sys, time
from dataclasses import asdict
from pathlib import Path
os.environ.setdefault('TQDM_DISABLE', '1')
import numpy as np
import torch
from safetensors.torch import load_file, save_file
from showattend.batches import CaptionDataset
from showattend.captioner import Captioner
from showattend.captions import END, START, write_text
from showattend.decoder import AttentionDecoder, DecoderConfig
from showattend.looking import by_type, looks, scene_of
from showattend.losses import caption_loss
from showattend.metrics import quick_scores
from showattend.reproduce import decode_split, environment, save_record, scene_scores
from showattend.scenes import caption_scene, draw_scene, make_scene
from showattend.search import Hypothesis
from showattend.training import CaptioningModel, TrainConfig, fit

ROOT = Path(__file__).resolve().parents[1]
RUNS = Path(os.environ.get('VARIANTS', ROOT/'runs/variants'))
SPLITS = {'train': (0, 4000), 'val': (1, 300), 'test': (2, 1000)}       # seed and number of scenes
SIZES = dict(embedding_size=96, hidden_size=192, attention_size=128, dropout=.1)
BUDGET = dict(epochs=3, batch_size=16, learning_rate=.004, warmup=.15, label_smoothing=0., ema_decay=.99,
              precision='bfloat16')

VARIANTS = {   # what differs from the reference: of the decoder, of the training
    'soft': ({}, {}), 'additive_relu': (dict(attention='additive_relu'), {}),
    'dot': (dict(attention='dot'), {}), 'dot_relu': (dict(attention='dot_relu'), {}),
    'multihead': (dict(attention='multihead'), {}), 'hard': (dict(attention='hard'), {}),
    'adaptive': (dict(attention='adaptive', attend='current'), {}),
    'weights': (dict(attention='weights', positions=64), {}), 'uniform': (dict(attention='uniform'), {}),
    'no_gate': (dict(gate=False), {}), 'linear': (dict(output='linear'), {}), 'tied': (dict(tied=True), {}),
    'current': (dict(attend='current'), {}), 'two_layers': (dict(layers=2, attend='current'), {}),
    'variational': (dict(variational=True), {}), 'penalty': ({}, dict(attention_penalty=1.)),
    'hard_from_scratch': (dict(attention='hard'), {}),
}
FROM = {'hard': 'soft'}   # goes on from the weights of another variant of the same seed, with a budget of its own
MAIN = ('soft', 'dot', 'hard', 'uniform')                                # these with three seeds
ORDER = [(name, 0) for name in sorted(VARIANTS, key=lambda n: n not in MAIN)]
ORDER += [(name, seed) for seed in (1, 2) for name in MAIN]

def features(split: str, captioner: Captioner) -> np.ndarray:
    "The features of a split's pictures, from a file or made now: (scenes, P, D), 16 bits a number."
    path, (seed, count) = RUNS/f'{split}.npy', SPLITS[split]
    if not path.exists():
        made = []
        for start in range(0, count, 100):
            scenes = [make_scene(seed, k) for k in range(start, min(start + 100, count))]
            pixels = np.stack([np.asarray(draw_scene(s)).transpose(2, 0, 1) for s in scenes])
            with torch.inference_mode(): made.append(captioner.encoder(torch.from_numpy(pixels)).half().numpy())
        np.save(path.with_suffix('.partial.npy'), np.concatenate(made))
        os.replace(path.with_suffix('.partial.npy'), path)
    return np.load(path, mmap_mode='r')[:count]

def dataset(split: str, captioner: Captioner) -> CaptionDataset:
    seed, count = SPLITS[split]
    return CaptionDataset(features(split, captioner), [caption_scene(make_scene(seed, k), split) for k in range(count)],
                          captioner.vocab, split)

def new_decoder(name: str, captioner: Captioner) -> AttentionDecoder:
    sizes = {**SIZES, **VARIANTS[name][0]}
    return AttentionDecoder(DecoderConfig(len(captioner.vocab), captioner.encoder.feature_size, **sizes))

def train_one(name: str, seed: int, captioner: Captioner, train: CaptionDataset, val: CaptionDataset):
    "Trains one decoder and writes its weights and its curve."
    config = TrainConfig(**{**BUDGET, **VARIANTS[name][1]}, seed=seed)
    torch.manual_seed(seed)
    model = CaptioningModel(new_decoder(name, captioner))
    if name in FROM: model.decoder.load_state_dict(load_file(RUNS/f'{FROM[name]}-{seed}.safetensors'), strict=False)
    place, start = environment(), time.process_time()
    history = fit(model, train, val, config)
    weights = {k: v.contiguous().clone() for k, v in model.decoder.state_dict().items()}
    save_file(weights, RUNS/f'{name}-{seed}.safetensors')
    write_text(RUNS/f'{name}-{seed}.json', json.dumps(dict(
        variant=name, seed=seed, starts_from=FROM.get(name), decoder=asdict(model.decoder.config), config=asdict(config),
        parameters=sum(p.numel() for p in model.parameters()), cpu_seconds=time.process_time() - start,
        history=history, environment=place), indent=1))

def train_all(wanted: list[str]):
    "Every run that has not been finished, in order."
    RUNS.mkdir(parents=True, exist_ok=True)
    captioner = Captioner.from_pretrained('scenes')
    train, val = dataset('train', captioner), dataset('val', captioner)
    for name, seed in ORDER:
        if (wanted and name not in wanted) or (RUNS/f'{name}-{seed}.json').exists(): continue
        print(time.strftime('%H:%M:%S'), name, seed, flush=True)
        train_one(name, seed, captioner, train, val)

@torch.inference_mode()
def chances_of(decoder: AttentionDecoder, data: CaptionDataset, found: list[Hypothesis]) -> list[np.ndarray]:
    "What hard attention would have drawn from as it said its captions: (T, P) for each."
    features, longest = data.inputs(np.arange(len(data))).float(), max(len(h.ids) for h in found)
    ids = torch.tensor([[START, *h.ids, *[END] * (longest - len(h.ids))] for h in found])
    state, steps = decoder.start(features), []
    for t in range(longest):
        _, state = decoder.step(ids[:, t], state)
        steps.append(state.extra['chances'])
    return list(torch.stack(steps, 1).numpy())

def look_tables(captioner: Captioner, data: CaptionDataset, found: list[Hypothesis], maps) -> dict:
    "`by_type` over all captions."
    def of(image, h, weights):
        words = captioner.vocab.words_of(h.ids)
        return looks(words, weights[:len(words)].reshape(-1, *captioner.encoder.grid), scene_of(image))
    return by_type([look for row in zip(data.images, found, maps) for look in of(*row)])

def measure_one(path: Path, bundled: Captioner, data: CaptionDataset) -> dict:
    "A finished run with what its captions of the test scenes are worth, and where it looked."
    run = json.loads(path.read_text())
    decoder = AttentionDecoder(DecoderConfig(**run['decoder']))
    decoder.load_state_dict(load_file(path.with_suffix('.safetensors')))
    captioner = Captioner(bundled.encoder, decoder, bundled.vocab)
    found = decode_split(captioner, data, beam_size=1)
    texts = {im.id: captioner.vocab.decode(h.ids) for im, h in zip(data.images, found)}
    tables = dict(looks=look_tables(captioner, data, found, [h.weights.numpy() for h in found]))
    if run['decoder']['attention'] == 'hard':
        tables['chances'] = look_tables(captioner, data, found, chances_of(decoder, data, found))
    scores = quick_scores(texts, {im.id: im.captions for im in data.images}) | scene_scores(captioner, data, found)
    return {**run, 'beam_size': 1, 'scores': scores, **tables}

def seconds_a_batch(data: CaptionDataset, bundled: Captioner, rounds: int = 7, batches: int = 2) -> dict:
    "Processor seconds for loss and gradients of a batch of 16 scenes; by turns, so that noise hits all alike."
    torch.manual_seed(0)
    batch = data.batch(np.arange(16))
    decoders = {name: new_decoder(name, bundled).train() for name in VARIANTS if name not in FROM}
    times = {name: [] for name in decoders}
    for _ in range(rounds):
        for name, decoder in decoders.items():
            start = time.process_time()
            for _ in range(batches):
                with torch.autocast('cpu', torch.bfloat16):
                    output = decoder(batch.inputs.float(), batch.captions, batch.lengths)
                    loss = caption_loss(output, 0., VARIANTS[name][1].get('attention_penalty', 0.))
                decoder.zero_grad(); loss.backward()
            times[name].append((time.process_time() - start) / batches)
    times |= {name: times[f'{name}_from_scratch'] for name in FROM}
    return {name: dict(median=float(np.median(t)), fastest=min(t), slowest=max(t)) for name, t in times.items()}

def rounded(value, digits: int = 5):
    "The same record with its numbers cut to what they are worth."
    if isinstance(value, dict): return {k: rounded(v, digits) for k, v in value.items()}
    if isinstance(value, list): return [rounded(v, digits) for v in value]
    return float(f'{value:.{digits}g}') if isinstance(value, float) else value

def measure_all():
    "Every finished run, on scenes of a seed that no training saw; those in hand are not measured again."
    bundled = Captioner.from_pretrained('scenes')
    data = dataset('test', bundled)
    for name, seed in ORDER:
        path, kept = RUNS/f'{name}-{seed}.json', RUNS/f'{name}-{seed}.measured'
        if kept.exists() or not path.exists(): continue
        write_text(kept, json.dumps(rounded(measure_one(path, bundled, data))))
        print(time.strftime('%H:%M:%S'), name, seed, flush=True)

def write_record():
    "All measured runs as one record."
    bundled = Captioner.from_pretrained('scenes')
    measured = [RUNS/f'{name}-{seed}.measured' for name, seed in ORDER]
    runs = [json.loads(path.read_text()) for path in measured if path.exists()]
    times = RUNS/'seconds.measured'
    if not times.exists(): write_text(times, json.dumps(seconds_a_batch(dataset('val', bundled), bundled)))
    save_record(ROOT/'data/results/scenes/variants.json', dict(
        command='python tools/compare_variants.py train; python tools/compare_variants.py measure',
        about="New decoders on the features of one encoder, the bundled captioner's, which was trained end to end "
              "with soft attention on 20,000 scenes. Scores are those of chapter 9, which on these captions (small "
              "letters, no full stops) equal the reference implementation's. Hard attention goes on from the soft "
              "decoder of its seed, with a budget of its own.",
        encoder=bundled.about, splits={k: dict(seed=s, scenes=n) for k, (s, n) in SPLITS.items()},
        seconds_a_batch=rounded(json.loads(times.read_text())), runs=runs))

if __name__ == '__main__':
    if sys.argv[1:2] == ['train']: train_all(sys.argv[2:])
    elif sys.argv[1:] == ['measure']: measure_all(), write_record()
    else: sys.exit(__doc__)
