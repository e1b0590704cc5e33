from __future__ import annotations
import json
from dataclasses import asdict, dataclass
from pathlib import Path
import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from showattend.captions import InputError, Vocabulary, write_text
from showattend.images import open_image, to_array
from showattend.encoders import ImageEncoder
from showattend.decoder import AttentionDecoder, DecoderConfig
from showattend.search import Hypothesis, beam_search
from showattend.training import CaptioningModel

@dataclass
class Caption:
    "A caption, and where the model looked as it wrote each word."
    text: str
    words: list[str]         # T words
    score: float             # log-probability / length ** length_penalty
    attention: np.ndarray    # (T, h, w), each step sums to one
    beta: np.ndarray         # (T,), how much of the image each word let in
    image: Image.Image       # what was captioned
    beams: list[Hypothesis]  # everything the search returned, this caption first

    def __str__(self): return self.text
    def __repr__(self): return f'Caption({self.text!r}, score={self.score:.3f})'

    def plot(self, smooth: bool = True):
        "A film strip: one picture a word. Returns a matplotlib figure."
        from showattend.visualize import film_strip
        return film_strip(self.image, self.words, self.attention, smooth)

    def explore(self):
        "The explorer: click a word and see where the model looked."
        from showattend.explorers import explore
        return explore(self.image, self.words, self.attention)

PRETRAINED = Path(__file__).parent/'pretrained' if '__file__' in globals() else Path('../showattend/pretrained')

def find_folder(name_or_folder: str | Path) -> Path:
    "A folder, or the one that is bundled under this name."
    for folder in (Path(name_or_folder), PRETRAINED/str(name_or_folder)):
        if (folder/'config.json').is_file(): return folder
    bundled = ', '.join(sorted(p.name for p in PRETRAINED.iterdir())) if PRETRAINED.exists() else 'none'
    raise InputError(f"{name_or_folder} is neither a folder that holds a captioner (config.json, vocab.json, "
                     f"model.safetensors) nor one of those bundled: {bundled}.")

def read_config(folder: Path) -> dict:
    "A captioner's `config.json`."
    try: config = json.loads((folder/'config.json').read_text(encoding='utf-8'))
    except ValueError as e: raise InputError(f"{folder/'config.json'} is not JSON: {e}") from e
    if missing := {'encoder', 'decoder'} - set(config):
        raise InputError(f"{folder/'config.json'} lacks {', '.join(sorted(missing))}.")
    return config

class Captioner:
    "An encoder, a decoder and a vocabulary that belong together."
    def __init__(self, encoder: ImageEncoder, decoder: AttentionDecoder, vocab: Vocabulary,
                 about: dict | None = None):   # how it was trained; kept in the saved folder
        if decoder.config.vocab_size != len(vocab):
            raise InputError(f"The decoder says {decoder.config.vocab_size} words and the vocabulary has {len(vocab)}.")
        self.encoder, self.decoder, self.vocab, self.about = encoder.eval(), decoder.eval(), vocab, about or {}

    @property
    def device(self) -> torch.device: return next(self.decoder.parameters()).device

    def to(self, device) -> Captioner:
        "Moves the networks; returns the captioner."
        self.encoder.to(device); self.decoder.to(device)
        return self

    @classmethod
    def from_pretrained(cls, name_or_folder: str | Path) -> Captioner:
        "Loads a bundled captioner by name ('scenes'), or one from a folder."
        folder = find_folder(name_or_folder)
        config, vocab = read_config(folder), Vocabulary.load(folder/'vocab.json')
        encoder = ImageEncoder(**{**config['encoder'], 'weights': None})
        decoder = AttentionDecoder(DecoderConfig(**config['decoder']))
        load_model(CaptioningModel(decoder, encoder), folder/'model.safetensors')
        return cls(encoder, decoder, vocab, config.get('about'))

    def save_pretrained(self, folder: str | Path, half: bool = False):  # half: 16 bits a number
        "Writes `config.json`, `vocab.json` and `model.safetensors`."
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        state = CaptioningModel(self.decoder, self.encoder).state_dict()
        state = {k: shrink(v) if half else v.contiguous().clone() for k, v in state.items()}
        partial = folder/'model.safetensors.partial'
        save_file(state, partial)
        partial.replace(folder/'model.safetensors')
        self.vocab.save(folder/'vocab.json')
        write_text(folder/'config.json', json.dumps(self.config(), indent=1))

    def config(self) -> dict:
        "What `config.json` holds."
        e = self.encoder
        encoder = dict(name=e.name, grid=e.pooled_grid, image_size=e.image_size)
        return dict(encoder=encoder, decoder=asdict(self.decoder.config), about=self.about)

    @torch.inference_mode()
    def caption_batch(self,
                      images: list,                  # paths, bytes or PIL images
                      beam_size: int = 5,
                      max_length: int = 30,          # words at most, <end> counted
                      length_penalty: float = 1.0,   # 0 ranks by log-probability, 1 by log-probability a word
                     ) -> list[Caption]:
        "Captions several images at once."
        images = [open_image(im) for im in images]
        pixels = np.stack([to_array(im, self.encoder.image_size) for im in images])
        features = self.encoder(torch.from_numpy(pixels).to(self.device))
        found = beam_search(self.decoder, features, beam_size, max_length, length_penalty)
        return [self.make_caption(im, beams) for im, beams in zip(images, found)]

    def caption(self, image, beam_size: int = 5, **search) -> Caption:  # image: a path, bytes or a PIL image
        "Captions one image; `search` as for `caption_batch`."
        return self.caption_batch([image], beam_size, **search)[0]

    def make_caption(self, image: Image.Image, beams: list[Hypothesis]) -> Caption:
        "The best hypothesis as a `Caption`."
        words = self.vocab.words_of(beams[0].ids)
        weights = beams[0].weights[:len(words)].reshape(-1, *self.encoder.grid).numpy()
        return Caption(' '.join(words), words, beams[0].score, weights, beams[0].beta[:len(words)].numpy(), image, beams)

def shrink(tensor: torch.Tensor) -> torch.Tensor:
    "Half precision for floats; counters stay as they are."
    return tensor.half().contiguous() if tensor.is_floating_point() else tensor.clone()

def load_model(model: CaptioningModel, path: Path):
    "Loads weights; safetensors holds numbers only, so nothing in the file can run."
    try: state = load_file(path)
    except (OSError, SafetensorError) as e: raise InputError(f"{path} can't be read as safetensors: {e}") from e
    try: model.load_state_dict(state)
    except RuntimeError as e: raise InputError(f"{path} does not fit the config.json beside it: {e}") from e
