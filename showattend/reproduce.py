from __future__ import annotations
import json, os, platform, subprocess, sys, time
from pathlib import Path
import numpy as np
import torch
from tqdm.auto import tqdm
from showattend.captions import CaptionedImage, InputError, write_text
from showattend.images import CaptionDataset, read_hdf5
from showattend.scenes import judge_caption, make_scene, named_things
from showattend.search import Hypothesis, beam_search
from showattend.metrics import evaluate_captions
from showattend.captioner import Captioner

def git_commit() -> str | None:
    "The commit that this code stands at, with '+' when it was changed since; None outside a checkout."
    def git(*words):
        return subprocess.run(['git', '-C', Path(__file__).parent, *words], capture_output=True, text=True).stdout.strip()
    try: commit = git('rev-parse', '--short=10', 'HEAD')
    except OSError: return None
    return commit + ('+' if git('status', '--porcelain', '--', '.') else '') if commit else None

def cpu_name() -> str:
    "What the processor calls itself."
    try: lines = Path('/proc/cpuinfo').read_text().splitlines()
    except OSError: return platform.processor()
    return next((l.split(':', 1)[1].strip() for l in lines if l.startswith('model name')), platform.processor())

def environment() -> dict:
    "What a record says of where it was made."
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return dict(commit=git_commit(), python=platform.python_version(), torch=torch.__version__,
                cpu=cpu_name(), cores=os.cpu_count(), gpu=gpu, date=time.strftime('%Y-%m-%d'))

def decode_split(
    captioner: Captioner,
    data: CaptionDataset,       # features of the captioner's encoder, or images
    beam_size: int = 5,
    length_penalty: float = 1.0,
    max_length: int = 30,
    batch_size: int = 50,
) -> list[Hypothesis]:          # the best of each image
    "Captions every image of a data set."
    found = []
    for start in tqdm(range(0, len(data), batch_size), f'beam {beam_size}', leave=False):
        inputs = data.inputs(np.arange(start, min(start + batch_size, len(data)))).to(captioner.device)
        with torch.inference_mode():
            features = captioner.encoder(inputs) if inputs.dtype == torch.uint8 else inputs.float()
            found += [b[0] for b in beam_search(captioner.decoder, features, beam_size, max_length, length_penalty)]
    return found

def open_split(path: str | Path, captioner: Captioner, split: str) -> CaptionDataset:
    "One split of a packed file, checked to fit the captioner."
    rows, images, about = read_hdf5(path)
    mine = captioner.encoder.identity
    if 'encoder' in about and {**about['encoder'], 'grid': tuple(about['encoder']['grid'])} != mine:
        raise InputError(f"The features in {path} come from {about['encoder']}, and this captioner's encoder is "
                         f"{mine}. Encode the images with the captioner's encoder.")
    return CaptionDataset(rows, images, captioner.vocab, split)

def evaluate_split(captioner: Captioner, data: CaptionDataset, **search) -> tuple[dict, dict, list[Hypothesis]]:
    "Official scores, the captions by image, and the hypotheses they are made from."
    start = time.perf_counter()
    found = decode_split(captioner, data, **search)
    seconds = time.perf_counter() - start
    texts = {im.id: captioner.vocab.decode(h.ids) for im, h in zip(data.images, found)}
    scores = evaluate_captions(texts, {im.id: im.captions for im in data.images})
    return {**search, **scores, 'images': len(data), 'seconds': round(seconds, 1)}, texts, found

def scene_of(image: CaptionedImage):
    "The scene that a record of the embedded data set was drawn from."
    _, seed, index = image.id.rsplit('-', 2)
    return make_scene(int(seed), int(index))

def peak_inside(weights: np.ndarray, boxes: list) -> bool:  # (h, w), and boxes in 0..1
    "Whether the centre of the most attended position lies in one of the boxes."
    y, x = np.unravel_index(weights.argmax(), weights.shape)
    x, y = (x + .5) / weights.shape[1], (y + .5) / weights.shape[0]
    return any(x0 <= x <= x1 and y0 <= y <= y1 for x0, y0, x1, y1 in boxes)

def pointing(words: list[str], attention: np.ndarray, scene) -> list[bool]:
    "For each noun of the caption that names a thing in the scene: did the model look at one of that kind?"
    hits = []
    for word, weights in zip(words, attention):
        kinds = [kind for _, _, kind in named_things(word)]
        boxes = [t.box for t in scene.things if t.kind in kinds]
        if boxes: hits.append(peak_inside(weights, boxes))
    return hits

def scene_scores(captioner: Captioner, data: CaptionDataset, found: list[Hypothesis]) -> dict:
    "Shares, in per cent: is what the captions say true, and did the model look at what it named?"
    judged, hits = [], []
    for image, h in zip(data.images, found):
        scene, words = scene_of(image), captioner.vocab.words_of(h.ids)
        judged.append(judge_caption(' '.join(words), scene))
        hits.append(pointing(words, h.weights[:len(words)].reshape(-1, *captioner.encoder.grid).numpy(), scene))
    share = lambda values: 100 * float(np.mean(values))
    exact = {key: share([j[key] for j in judged]) for key in judged[0]}
    both = share([j['kind'] and j['color'] and j['told'] for j in judged])
    return dict(exact=exact, kind_and_color=both, pointing=share(sum(hits, [])),
                pointing_main=share([h[0] for h in hits if h]))

def save_record(path: str | Path, record: dict):
    "Writes a record as JSON, with where it was made."
    write_text(path, json.dumps({**record, 'environment': environment()}, indent=1, ensure_ascii=False) + '\n')
