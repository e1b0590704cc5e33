from __future__ import annotations
import copy, json, math, os, time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm.auto import tqdm
from showattend.captions import InputError
from showattend.images import Batch, CaptionDataset, epoch_order
from showattend.losses import caption_loss
from showattend.metrics import quick_scores
from showattend.search import greedy_search

class CaptioningModel(nn.Module):
    "An encoder, when images come in, and a decoder."
    def __init__(self,
                 decoder: nn.Module,
                 encoder: nn.Module | None = None):  # None: the inputs are features already
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def features(self, inputs: Tensor) -> Tensor:
        "Features (I, P, D) of a batch's inputs."
        return inputs.float() if self.encoder is None else self.encoder(inputs)

    def forward(self, batch: Batch):
        "A teacher-forced pass over a batch."
        return self.decoder(self.features(batch.inputs), batch.captions, batch.lengths)

@dataclass
class TrainConfig:
    "Everything that fixes a training run."
    epochs: int = 10
    batch_size: int = 32             # images; each comes with all its captions
    learning_rate: float = 1e-3      # the peak of the schedule
    warmup: float = 0.1              # share of the run in which the rate rises
    weight_decay: float = 0.01
    label_smoothing: float = 0.1
    attention_penalty: float = 0.0   # λ of the doubly stochastic penalty
    clip_norm: float = 5.0           # longest gradient
    ema_decay: float = 0.999         # of the averaged weights that are validated and kept
    precision: str = 'float32'       # or 'bfloat16'
    max_length: int = 30             # of captions written in validation
    seed: int = 0

class Run:
    "A training run between two steps: what a checkpoint holds."
    def __init__(self, model: CaptioningModel, config: TrainConfig, steps: int):
        self.model, self.config = model, config
        self.ema = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(config.ema_decay), use_buffers=True)
        trained = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, config.learning_rate, weight_decay=config.weight_decay)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, config.learning_rate, total_steps=max(2, steps), pct_start=config.warmup)
        self.epoch, self.history, self.best = 0, [], -math.inf

PARTS = ('model', 'ema', 'optimizer', 'schedule')

def save_checkpoint(run: Run, path: Path, vocab):
    "Writes the whole run under a temporary name, then renames it."
    content = {name: getattr(run, name).state_dict() for name in PARTS}
    content |= dict(epoch=run.epoch, history=run.history, best=run.best, config=asdict(run.config),
                    words=vocab.words, rng=torch.get_rng_state())
    partial = path.with_name(path.name + '.partial')
    torch.save(content, partial)
    os.replace(partial, path)

def load_checkpoint(run: Run, path: Path, vocab):
    "Puts a checkpoint's content into a run of the same configuration and vocabulary."
    try: content = torch.load(path, weights_only=True)
    except Exception as e: raise InputError(f"{path} is not a checkpoint of showattend: {e}") from e
    if content['words'] != vocab.words:
        raise InputError(f"{path} was trained with another vocabulary ({len(content['words'])} words, "
                         f"here {len(vocab)}). Resume with the data it was started with.")
    ours = asdict(run.config)
    if differ := [k for k, v in content['config'].items() if ours.get(k) != v]:
        raise InputError(f"{path} was started with another {', '.join(differ)}. Resume with the same, or start anew.")
    for name in PARTS: getattr(run, name).load_state_dict(content[name])
    run.epoch, run.history, run.best = content['epoch'], content['history'], content['best']
    torch.set_rng_state(content['rng'])

def autocast(device: torch.device, precision: str):
    "Mixed precision for the products that gain from it."
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == 'bfloat16')

def train_step(run: Run, batch: Batch) -> Tensor:  # the word loss, on the device
    "One step: loss, gradients, clipped; weights, their average, the rate."
    config, device = run.config, batch.captions.device
    with autocast(device, config.precision):
        output = run.model(batch)
        loss = caption_loss(output, config.label_smoothing, config.attention_penalty)
    run.optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(run.model.parameters(), config.clip_norm)
    run.optimizer.step()
    run.schedule.step()
    run.ema.update_parameters(run.model)
    return loss.detach()

def train_epoch(run: Run, data: CaptionDataset, device: torch.device) -> dict:
    "One pass over the training images; returns loss and speed."
    run.model.train()
    order = epoch_order(data.longest, run.config.batch_size, np.random.default_rng([run.config.seed, run.epoch]))
    start, loss, words = time.perf_counter(), 0.0, 0
    bar = tqdm(order, f'epoch {run.epoch + 1}', leave=False)
    for k, items in enumerate(bar):
        batch = data.batch(items)
        words += int(batch.lengths.sum() - batch.lengths.count_nonzero())
        loss = loss + train_step(run, batch.to(device))
        if k % 20 == 19: bar.set_postfix(loss=f'{float(loss) / (k + 1):.3f}')
    seconds = time.perf_counter() - start
    if not math.isfinite(loss := float(loss) / len(order)):
        raise InputError(f"The loss became {loss} in epoch {run.epoch + 1}. Try a lower learning rate.")
    return dict(loss=loss, words_per_s=words / seconds, seconds=seconds)

@torch.inference_mode()
def write_captions(
    model: CaptioningModel,
    data: CaptionDataset,
    config: TrainConfig,
    device: torch.device,
    batch_size: int = 100,
) -> dict[str, str]:  # a caption for each image
    "Decodes freely, as in use: each word follows from the words the model itself has said."
    model.eval()
    captions = {}
    for start in range(0, len(data), batch_size):
        items = range(len(data))[start:start+batch_size]
        with autocast(device, config.precision):
            features = model.features(data.inputs(list(items)).to(device))
            found = greedy_search(model.decoder, features, config.max_length)
        captions |= {data.images[i].id: data.vocab.decode(ids) for i, ids in zip(items, found)}
    return captions

def validate(model: CaptioningModel, data: CaptionDataset, config: TrainConfig, device: torch.device) -> dict:
    "Scores of freely written captions against all references."
    references = {im.id: im.captions for im in data.images}
    return quick_scores(write_captions(model, data, config, device), references)

def fit(
    model: CaptioningModel,
    train: CaptionDataset,
    val: CaptionDataset,
    config: TrainConfig,
    folder: str | Path | None = None,               # where checkpoints go; None: nothing is kept
    resume: bool = False,                           # go on from the folder's last checkpoint
    device: str | torch.device = 'cpu',
    on_best: Callable[[CaptioningModel], None] | None = None,   # called with the best model so far
) -> list[dict]:                                    # one entry an epoch
    "Trains, validating after every epoch; afterwards `model` holds the averaged weights of the last epoch."
    device = torch.device(device)
    torch.manual_seed(config.seed)
    run = Run(model.to(device), config, config.epochs * -(-len(train) // config.batch_size))
    checkpoint = Path(folder)/'last.pt' if folder else None
    if resume: load_checkpoint(run, checkpoint, train.vocab)
    while run.epoch < config.epochs:
        entry = train_epoch(run, train, device)
        finish_epoch(run, entry, val, device, on_best)
        if checkpoint: keep(run, checkpoint, train.vocab)
    model.load_state_dict(run.ema.module.state_dict())
    return run.history

def finish_epoch(run: Run, entry: dict, val: CaptionDataset, device: torch.device, on_best):
    "Validates, notes the scores, and passes a new best model on."
    scores = validate(run.ema.module, val, run.config, device)
    run.epoch += 1
    run.history.append({'epoch': run.epoch, **entry, **scores})
    tqdm.write(report(run.history[-1]))
    if scores['CIDEr'] > run.best:
        run.best = scores['CIDEr']
        if on_best: on_best(run.ema.module)

def report(entry: dict) -> str:
    "An epoch in a line."
    return (f"epoch {entry['epoch']}: loss {entry['loss']:.3f}, BLEU-4 {entry['BLEU-4']:.1f}, "
            f"CIDEr {entry['CIDEr']:.1f}, {entry['words_per_s']:,.0f} words/s")

def keep(run: Run, checkpoint: Path, vocab):
    "The checkpoint, and the curve as JSON beside it."
    from showattend.captions import write_text
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(run, checkpoint, vocab)
    write_text(checkpoint.with_name('history.json'), json.dumps(run.history, indent=1))
