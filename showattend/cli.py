from __future__ import annotations
import sys
from pathlib import Path
from typing import Annotated, Optional
import typer
from showattend.captions import InputError, build_vocabulary, data_folder, read_karpathy

app = typer.Typer(help="Image captioning with visual attention: Show, Attend and Tell.", no_args_is_help=True,
                  pretty_exceptions_enable=False, add_completion=False)

def main():
    "The `showattend` command: errors in what was given end in a sentence, not in a traceback."
    try: app()
    except InputError as e: sys.exit(f"showattend: {e}")
    except KeyboardInterrupt: sys.exit("showattend: stopped.")

def wrote(path: Path):
    "Says what was written, and how large it is."
    size = sum(f.stat().st_size for f in ([path] if path.is_file() else path.rglob('*')) if f.is_file())
    typer.echo(f"wrote {path} ({size / 1e6:,.1f} MB)")

Out = Annotated[Path, typer.Option('--out', '-o', help="What to write.")]
Seed = Annotated[int, typer.Option(help="Of everything that is drawn at random.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, … ; auto takes a GPU when there is one.")]

def pick_device(name: str) -> str:
    "The device that `auto` stands for."
    import torch
    return ('cuda' if torch.cuda.is_available() else 'cpu') if name == 'auto' else name

@app.command()
def prepare(
    dataset: Annotated[str, typer.Argument(help="flickr8k, or scenes (the embedded data set).")],
    out: Out,
    data: Annotated[Optional[Path], typer.Option(help="Folder with the downloaded files [SHOWATTEND_DATA/DATASET].")] = None,
    size: Annotated[Optional[int], typer.Option(help="Pixels on a side [flickr8k 224, scenes 128].")] = None,
    count: Annotated[int, typer.Option(help="Training scenes to draw.")] = 10_000,
    seed: Seed = 0,
):
    "Packs images and captions, as they were downloaded, into one file."
    if dataset == 'scenes': prepare_scenes(out, count, size or 128, seed)
    elif dataset == 'flickr8k': prepare_flickr8k(data or data_folder()/'flickr8k', out, size or 224)
    else: raise InputError(f"There is no data set {dataset!r}; known: flickr8k, scenes.")
    wrote(out)

def prepare_flickr8k(folder: Path, out: Path, size: int):
    "The official zips: `caption_datasets.zip` (Karpathy) and `Flickr8k_Dataset.zip`."
    from showattend.images import pack_images
    images = read_karpathy(folder)
    source = next((p for p in (folder/'Flickr8k_Dataset.zip', folder/'Flicker8k_Dataset', folder/'Flickr8k_Dataset')
                   if p.exists()), None)
    if source is None: raise InputError(f"{folder} holds neither Flickr8k_Dataset.zip nor the unpacked folder.")
    pack_images(images, source, out, size)

def prepare_scenes(out: Path, count: int, size: int, seed: int):
    "Scenes for training, 500 for validation and 1,000 for the test, each split from a seed of its own."
    import numpy as np
    from showattend.images import new_hdf5
    from showattend.scenes import make_scenes
    parts = [make_scenes(n, 3 * seed + k, split, size) for k, (n, split) in
             enumerate([(count, 'train'), (500, 'val'), (1000, 'test')])]
    with new_hdf5(out, [im for _, images in parts for im in images], size=size) as f:
        f.create_dataset('images', data=np.concatenate([pixels for pixels, _ in parts]))

@app.command()
def encode(
    images: Annotated[Path, typer.Argument(help="A file from `prepare`.")],
    out: Out,
    encoder: Annotated[str, typer.Option(help="A torchvision classifier by name.")] = 'mobilenet_v2',
    weights: Annotated[str, typer.Option(help="imagenet, or a file of weights.")] = 'imagenet',
    precision: Annotated[str, typer.Option(help="float32 or bfloat16.")] = 'float32',
    device: Device = 'auto',
):
    "Sends every image through a frozen encoder once, and keeps its features."
    from showattend.encoders import ImageEncoder
    from showattend.images import pack_features, read_hdf5
    size = read_hdf5(images)[2]['size']
    model = ImageEncoder(encoder, weights, image_size=size).eval().to(pick_device(device))
    pack_features(images, out, model, precision=precision)
    wrote(out)

@app.command()
def train(
    data: Annotated[Path, typer.Argument(help="A file from `encode`, or from `prepare` (then the encoder is trained too).")],
    out: Out,
    epochs: int = 10, batch_size: int = 32, learning_rate: float = 1e-3, label_smoothing: float = 0.1,
    attention_penalty: Annotated[float, typer.Option(help="λ of the doubly stochastic penalty.")] = 0.0,
    ema_decay: float = 0.999, dropout: float = 0.5,
    hidden_size: int = 512, attention_size: int = 512, embedding_size: int = 512,
    min_count: Annotated[int, typer.Option(help="Words rarer than this become <unk>.")] = 5,
    precision: Annotated[str, typer.Option(help="float32 or bfloat16.")] = 'float32',
    encoder: Annotated[str, typer.Option(help="What to train when the file holds images.")] = 'scene_cnn',
    resume: Annotated[bool, typer.Option(help="Go on from the last checkpoint.")] = False,
    seed: Seed = 0, device: Device = 'auto',
):
    "Trains a captioner. OUT gets checkpoints, the curve, and the best captioner so far in OUT/model."
    from showattend.training import TrainConfig
    config = TrainConfig(epochs=epochs, batch_size=batch_size, learning_rate=learning_rate,
                         label_smoothing=label_smoothing, attention_penalty=attention_penalty,
                         ema_decay=ema_decay, precision=precision, seed=seed)
    sizes = dict(embedding_size=embedding_size, hidden_size=hidden_size, attention_size=attention_size, dropout=dropout)
    run_training(data, out, config, sizes, encoder, min_count, resume, pick_device(device))
    wrote(out/'model')

def run_training(data, out, config, sizes, encoder_name, min_count, resume, device):
    "Puts the parts together and fits them."
    import time, torch
    from dataclasses import asdict
    from showattend.captioner import Captioner
    from showattend.decoder import AttentionDecoder, DecoderConfig
    from showattend.images import CaptionDataset, read_hdf5
    from showattend.reproduce import save_record
    from showattend.training import CaptioningModel, fit
    torch.manual_seed(config.seed)
    rows, images, about = read_hdf5(data)
    vocab = build_vocabulary(images, min_count)
    sets = [CaptionDataset(rows, images, vocab, split) for split in ('train', 'val')]
    encoder = make_encoder(about, encoder_name)
    decoder = AttentionDecoder(DecoderConfig(len(vocab), encoder.feature_size, **sizes))
    start, command = time.perf_counter(), ' '.join(['showattend', *sys.argv[1:]])
    note = dict(command=command, config=asdict(config), data=about)
    def keep(model): Captioner(model.encoder or encoder, model.decoder, vocab, note).save_pretrained(out/'model')
    model = CaptioningModel(decoder, None if 'encoder' in about else encoder.fine_tune(0))
    history = fit(model, *sets, config, out, resume, device, keep)
    save_record(out/'run.json', {**note, 'seconds': round(time.perf_counter() - start), 'history': history,
                                 'parameters': sum(p.numel() for p in model.parameters())})

def make_encoder(about: dict, name: str):
    "The encoder that made the features; or a new one, when the file holds images."
    from showattend.encoders import ImageEncoder
    if 'encoder' not in about: return ImageEncoder(name, image_size=about['size'])
    made = about['encoder']
    encoder = ImageEncoder(made['name'], made.get('source', 'imagenet'), image_size=made['image_size'])
    if encoder.identity['weights'] != made['weights']:
        raise InputError(f"The features were made with other weights of {made['name']} than those found now.")
    return encoder

@app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(help="A captioner's folder, or 'scenes'.")],
    data: Annotated[Path, typer.Argument(help="A file from `encode` (same encoder) or `prepare`.")],
    out: Annotated[Optional[Path], typer.Option('--out', '-o', help="Where to write scores and captions as JSON.")] = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = 'test',
    beam: Annotated[str, typer.Option(help="Beam sizes, separated by commas.")] = '1,3,5',
    length_penalty: Annotated[float, typer.Option(help="0 ranks by log-probability, 1 by log-probability a word.")] = 1.0,
    device: Device = 'auto',
):
    "Captions a split and scores it with the official metrics."
    from showattend.captioner import Captioner
    from showattend.reproduce import evaluate_split, open_split, save_record, scene_scores
    captioner = Captioner.from_pretrained(model).to(pick_device(device))
    dataset, rows, texts = open_split(data, captioner, split), [], {}
    for size in parse_beams(beam):
        scores, texts[size], found = evaluate_split(captioner, dataset, beam_size=size, length_penalty=length_penalty)
        if dataset.images[0].boxes: scores |= scene_scores(captioner, dataset, found)
        rows.append(scores)
        typer.echo(score_line(scores))
    if out:
        save_record(out, dict(split=split, model=captioner.about, scores=rows, captions=texts))
        wrote(out)

def parse_beams(text: str) -> list[int]:
    "'1,3,5' as numbers."
    try: return [int(k) for k in text.split(',')]
    except ValueError: raise InputError(f"--beam takes numbers separated by commas, such as 1,3,5; not {text!r}.") from None

def score_line(scores: dict) -> str:
    "Scores in a line."
    names = [k for k in ('BLEU-1', 'BLEU-2', 'BLEU-3', 'BLEU-4', 'METEOR', 'ROUGE-L', 'CIDEr', 'kind_and_color', 'pointing') if k in scores]
    return f"beam {scores['beam_size']}: " + '  '.join(f"{k} {scores[k]:.1f}" for k in names)

@app.command()
def caption(
    photos: Annotated[list[Path], typer.Argument(help="Image files.")],
    model: Annotated[str, typer.Option(help="A captioner's folder, or 'scenes'.")] = 'scenes',
    attention: Annotated[Optional[Path], typer.Option(help="Where to draw what the model looked at (one photo).")] = None,
    beam: int = 5,
    device: Device = 'auto',
):
    "Captions photos, and draws where the model looked."
    from showattend.captioner import Captioner
    captioner = Captioner.from_pretrained(model).to(pick_device(device))
    for path in photos:
        found = captioner.caption(path, beam)
        typer.echo(f"{path}: {found.text}" if len(photos) > 1 else found.text)
    if attention:
        found.plot().savefig(attention)
        wrote(attention)
