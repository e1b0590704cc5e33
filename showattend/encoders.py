from __future__ import annotations
import difflib, hashlib, math
from collections import OrderedDict
from pathlib import Path
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from showattend.captions import InputError, data_folder

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and deviation of RGB, torchvision's convention

def conv(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Sequential:
    "A convolution, batch normalisation, ReLU."
    return nn.Sequential(nn.Conv2d(inputs, outputs, size, stride, (size - 1) // 2, bias=False),
                         nn.BatchNorm2d(outputs), nn.ReLU())

def add_coordinates(
    images: Tensor,  # (I, C, H, W)
) -> Tensor:         # (I, C + 2, H, W)
    "Adds two channels that hold x and y from −1 to 1, so that a convolution can tell up from down (Liu et al. 2018)."
    I, _, H, W = images.shape
    y = torch.linspace(-1, 1, H, device=images.device, dtype=images.dtype).view(1, 1, H, 1).expand(I, 1, H, W)
    x = torch.linspace(-1, 1, W, device=images.device, dtype=images.dtype).view(1, 1, 1, W).expand(I, 1, H, W)
    return torch.cat([images, x, y], 1)

class SceneCNN(nn.Module):
    "A small trunk for the picture-book scenes: 128×128 pixels become an 8×8 grid of 128 numbers."
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(          # even sizes keep each cell's view centred on the cell
            conv(5, 32, 4, 2), conv(32, 64, 4, 2), conv(64, 96, 4, 2), conv(96, 128, 4, 2), conv(128, 128, 1))

    def forward(self, images: Tensor) -> Tensor:
        "Images (I, 3, H, W) to a grid (I, 128, H/16, W/16)."
        return self.layers(add_coordinates(images))

HEADS = {'avgpool', 'classifier', 'fc', 'head', 'heads', 'dropout', 'AuxLogits', 'aux1', 'aux2'}

def cut_trunk(model: nn.Module) -> nn.Sequential:
    "What is left of a torchvision classifier without its head and without a last pooling."
    if hasattr(model, 'features'): layers = OrderedDict(model.features.named_children())
    else: layers = OrderedDict((n, m) for n, m in model.named_children() if n not in HEADS)
    while isinstance(list(layers.values())[-1], (nn.MaxPool2d, nn.AvgPool2d)): layers.popitem()
    return nn.Sequential(layers)

def trunk_names() -> list[str]:
    "The names that `ImageEncoder` knows: `scene_cnn`, and torchvision's classifiers."
    from torchvision import models
    return ['scene_cnn', *models.list_models(module=models)]

def check_name(name: str):
    "Raises `InputError` with the nearest names when there is no such trunk."
    if name in (names := trunk_names()): return
    near = difflib.get_close_matches(name, names, 3)
    raise InputError(f"There is no encoder {name!r}. " + (f"Did you mean {' or '.join(near)}?" if near else
                     "Any classifier of torchvision.models will do, or 'scene_cnn'."))

def weights_file(name: str) -> Path:
    "Where ImageNet weights are looked for before they are downloaded."
    return data_folder()/'weights'/f'{name}-imagenet.pth'

def load_state(path: str | Path) -> dict[str, Tensor]:
    "Reads a state dict of tensors; nothing else is unpickled."
    try: return torch.load(path, map_location='cpu', weights_only=True)
    except Exception as e: raise InputError(f"{path} is not a file of weights (a state dict of tensors): {e}") from e

def load_imagenet(model: nn.Module, name: str):
    "Puts ImageNet weights into a torchvision classifier: from the data folder, else from torchvision."
    if (path := weights_file(name)).exists(): return model.load_state_dict(load_state(path))
    from torchvision.models import get_model_weights
    try: model.load_state_dict(get_model_weights(name).DEFAULT.get_state_dict(check_hash=True))
    except OSError as e:
        raise InputError(f"No ImageNet weights for {name}: there is no {path}, and torchvision's could not be "
                         f"downloaded ({e}). Put the state dict there by hand, or pass weights=None.") from e

def load_weights(model: nn.Module, name: str, weights: str | Path | None):
    "Random, ImageNet's, or those of a file."
    if weights is None: return
    if weights == 'imagenet': return load_imagenet(model, name)
    state = load_state(weights)
    try: model.load_state_dict(state)
    except RuntimeError as e: raise InputError(f"{weights} holds no weights of {name}: {e}") from e

def make_trunk(name: str, weights: str | Path | None) -> nn.Module:
    "A trunk by name: images (I, 3, H, W) to a grid (I, D, h, w)."
    check_name(name)
    if name == 'scene_cnn': model = SceneCNN()
    else:
        from torchvision.models import get_model
        model = get_model(name, weights=None, **({'init_weights': False} if 'inception' in name else {}))
    load_weights(model, name, weights)
    return model if name == 'scene_cnn' else cut_trunk(model)

def default_size(name: str) -> int:
    "The image size a trunk was made for, in pixels."
    return {'scene_cnn': 128, 'inception_v3': 299}.get(name, 224)

class ImageEncoder(nn.Module):
    "Images (I, 3, H, W) to features (I, P, D): one vector for each position of a grid."
    def __init__(self,
                 name: str,                                 # 'scene_cnn' or any torchvision classifier
                 weights: str | Path | None = 'imagenet',   # 'imagenet', a file, or None for random weights
                 grid: tuple[int, int] | None = None,       # pool to this (h, w); None: the trunk's own grid
                 image_size: int | None = None):            # pixels on a side; None: what the trunk was made for
        super().__init__()
        if name == 'scene_cnn' and weights == 'imagenet': weights = None
        self.name, self.pooled_grid = name, grid
        self.image_size = image_size or default_size(name)
        self.trunk = make_trunk(name, weights).to(memory_format=torch.channels_last)   # twice as fast on CPUs
        self.register_buffer('mean', torch.tensor(IMAGENET[0]).view(3, 1, 1), persistent=False)
        self.register_buffer('std', torch.tensor(IMAGENET[1]).view(3, 1, 1), persistent=False)
        self.feature_size, self.grid = self.probe()
        self.first_trained = None
        self.fine_tune()

    @torch.no_grad()
    def probe(self) -> tuple[int, tuple[int, int]]:
        "Feature size D and grid (h, w), found by sending one empty image through."
        try: out = self.eval().feature_map(torch.zeros(1, 3, self.image_size, self.image_size))
        except (RuntimeError, NotImplementedError) as e: raise InputError(f"{self.name} has no grid of features: {e}") from e
        if out.dim() != 4: raise InputError(f"{self.name} gives {tuple(out.shape)}, not a grid of features.")
        return out.shape[1], tuple(out.shape[2:])

    def normalize(self, images: Tensor) -> Tensor:
        "uint8 from 0 to 255, or floats from 0 to 1, to what the trunk was trained on."
        if images.dtype == torch.uint8: images = images.float() / 255
        return (images - self.mean) / self.std

    def feature_map(self, images: Tensor) -> Tensor:
        "The trunk's grid (I, D, h, w)."
        images = self.normalize(images).contiguous(memory_format=torch.channels_last)
        out = self.trunk(images)
        return out if self.pooled_grid is None else F.adaptive_avg_pool2d(out, self.pooled_grid)

    def forward(self, images: Tensor) -> Tensor:
        "Images (I, 3, H, W) to features (I, P, D), row by row."
        return self.feature_map(images).flatten(2).transpose(1, 2)

    def fine_tune(self, from_stage: int | None = None):
        "Trains the trunk's children from number `from_stage` on; None freezes everything."
        self.first_trained = from_stage
        for number, (_, child) in enumerate(self.trunk.named_children()):
            child.requires_grad_(from_stage is not None and number >= from_stage)
        return self

    @property
    def identity(self) -> dict:
        "What features depend on: the trunk, its weights, the image size and the grid."
        return dict(name=self.name, weights=hash_weights(self.trunk), image_size=self.image_size, grid=self.grid)

def hash_weights(module: nn.Module) -> str:
    "The first 16 digits of the SHA-256 of a module's tensors, in the order of their names."
    sha = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        sha.update(name.encode() + tensor.detach().cpu().numpy().tobytes())
    return sha.hexdigest()[:16]
