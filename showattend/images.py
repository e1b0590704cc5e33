from __future__ import annotations
import io, json, os, zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
import h5py
import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from tqdm.auto import tqdm
from showattend.captions import CaptionedImage, InputError, Vocabulary, PAD

def open_image(
    source: str | Path | bytes | Image.Image,  # a file's path, a file's content, or an image
) -> Image.Image:  # RGB, upright
    "Opens an image, turns it as its EXIF tag says, and converts it to RGB."
    if isinstance(source, Image.Image): return ImageOps.exif_transpose(source).convert('RGB')
    if not isinstance(source, bytes): source, name = _read_file(source), str(source)
    else: name = 'the given bytes'
    try: return ImageOps.exif_transpose(Image.open(io.BytesIO(source))).convert('RGB')
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as e:
        raise InputError(f"{name} is no image that Pillow can read ({e}). "
                         "Give a JPEG or PNG file, and check that it opens in a viewer.") from e

def _read_file(path):
    "The bytes of a file, or an error that says what is missing."
    try: return Path(path).read_bytes()
    except OSError as e: raise InputError(f"Can't read the image {path}: {e.strerror}.") from e

def to_array(
    image: Image.Image,
    size: int,  # pixels on a side
) -> np.ndarray:  # (3, size, size) uint8
    "Squashes an image to a square and puts its channels first."
    image = image.convert('RGB')
    if image.size != (size, size): image = image.resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(image).transpose(2, 0, 1)

class ImageFiles:
    "Reads images by name, out of a folder or straight out of a zip."
    def __init__(self, path: str | Path):  # a folder of images, or a zip of one
        self.path, self.members = Path(path), None
        if not self.path.exists(): raise InputError(f"There is no {path} to read images from.")
        if not self.path.is_dir():
            if not zipfile.is_zipfile(path): raise InputError(f"{path} is neither a folder nor a zip file.")
            with zipfile.ZipFile(path) as z: names = [n for n in z.namelist() if not n.startswith('__MACOSX')]
            self.members = {name.rsplit('/', 1)[-1]: name for name in names if not name.endswith('/')}

    def check(self, names: list[str]):
        "Raises `InputError` when any of the images is missing."
        missing = [n for n in names if not self.has(n)]
        if not missing: return
        there = sorted(self.members or (p.name for p in self.path.iterdir()))[:3]
        raise InputError(f"{self.path} lacks {len(missing)} of the {len(names)} images, first {missing[0]!r}; "
                         f"it holds {', '.join(there) or 'nothing'}. Is it the right archive?")

    def has(self, name: str) -> bool:
        "Whether the image is there."
        return name in self.members if self.members is not None else (self.path/name).is_file()

    def read(self, names: list[str]) -> Iterator[bytes]:
        "Yields the files' contents, in order."
        if self.members is None: yield from (_read_file(self.path/n) for n in names)
        else:
            with zipfile.ZipFile(self.path) as z: yield from (z.read(self.members[n]) for n in names)

@contextmanager
def new_hdf5(
    path: str | Path,                # the file to write
    images: list[CaptionedImage],    # the records its rows belong to, in order
    **attributes,                    # what else the file should say of itself
):
    "Opens an HDF5 file for writing under a temporary name; it gets its name when all went well."
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + '.partial')
    with h5py.File(partial, 'w') as f:
        f['records'] = json.dumps([asdict(im) for im in images], ensure_ascii=False)
        for key, value in attributes.items(): f.attrs[key] = json.dumps(value)
        yield f
    os.replace(partial, path)

def pack_images(
    images: list[CaptionedImage],
    source: str | Path,      # folder or zip that holds them
    path: str | Path,        # the HDF5 file to write
    size: int = 224,         # pixels on a side
):
    "Decodes, squashes and writes all images, with their records, into one HDF5 file of uint8."
    files, names = ImageFiles(source), [im.path for im in images]
    files.check(names)
    def decode(data): return to_array(open_image(data), size)
    with new_hdf5(path, images, size=size) as f, ThreadPoolExecutor(os.cpu_count()) as pool:
        rows = f.create_dataset('images', (len(images), 3, size, size), 'uint8')
        for start in tqdm(range(0, len(names), 256), 'packing', unit='×256 photos'):
            block = pool.map(decode, files.read(names[start:start+256]))
            rows[start:start+256] = write_uint8(np.stack(list(block)))

def write_uint8(array: np.ndarray) -> np.ndarray:
    "Passes uint8 on and refuses the rest: floats in [0, 1] would all be stored as 0 or 1."
    if array.dtype != np.uint8:
        raise InputError(f"Images are stored as uint8 from 0 to 255, and these are {array.dtype}.")
    return array

def read_hdf5(
    path: str | Path,
) -> tuple[np.ndarray, list[CaptionedImage], dict]:  # rows, their records, what the file says of itself
    "Opens a packed file. The rows are a memory map: nothing is read until it is used."
    try:
        with h5py.File(path) as f:
            data = f['images'] if 'images' in f else f['features']
            records = [CaptionedImage(**r) for r in json.loads(f['records'][()])]
            about = {key: json.loads(value) for key, value in f.attrs.items()}
            return map_rows(path, data), records, about
    except (OSError, KeyError, TypeError) as e:
        raise InputError(f"{path} is not a file that `showattend prepare` or `encode` wrote: {e}") from e

def map_rows(path: str | Path, data: h5py.Dataset) -> np.ndarray:
    "Maps an HDF5 data set that lies in one uncompressed piece; workers may share it."
    return np.memmap(path, data.dtype, 'r', data.id.get_offset(), data.shape)

def pack_features(
    source: str | Path,      # a file from `pack_images`
    path: str | Path,        # the HDF5 file to write
    encoder,                 # images (I, 3, H, W) -> features (I, P, D), with an `.identity`
    batch_size: int = 64,
    precision: str = 'float32',   # or 'bfloat16': twice as fast where the processor has it
):
    "Encodes every image of a packed file once and writes the features, in half precision."
    rows, images, about = read_hdf5(source)
    parts = (np.array(rows[i:i+batch_size]) for i in range(0, len(rows), batch_size))
    with new_hdf5(path, images, encoder=encoder.identity, size=about['size'], precision=precision) as f:
        data = None
        for k, part in enumerate(tqdm(parts, 'encoding', -(-len(rows) // batch_size), unit='batch')):
            features = encode_batch(encoder, part, precision)
            if data is None: data = f.create_dataset('features', (len(rows), *features.shape[1:]), 'float16')
            data[k*batch_size:k*batch_size + len(part)] = features

@torch.inference_mode()
def encode_batch(encoder, images: np.ndarray, precision: str = 'float32') -> np.ndarray:
    "One batch through the encoder, on its device: (I, 3, H, W) uint8 to (I, P, D) float16."
    device = next(encoder.parameters()).device
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == 'bfloat16'):
        return encoder(torch.from_numpy(images).to(device)).half().cpu().numpy()

@dataclass
class Batch:
    "Images and their captions, grouped by image."
    inputs: Tensor     # features (I, P, D), or uint8 images (I, 3, H, W)
    captions: Tensor   # (I, R, L) ids, padded with <pad>
    lengths: Tensor    # (I, R) ids in each caption, <start> and <end> included

    def to(self, device) -> Batch:
        "The same batch on another device."
        return Batch(*(t.to(device, non_blocking=True) for t in (self.inputs, self.captions, self.lengths)))

def pad_captions(
    encoded: list[list[list[int]]],  # for each image, its captions as ids
) -> tuple[Tensor, Tensor]:  # captions (I, R, L) and lengths (I, R)
    "Puts captions of many lengths into one array; missing captions have length 0."
    shape = len(encoded), max(map(len, encoded)), max(len(c) for image in encoded for c in image)
    captions = torch.full(shape, PAD)
    lengths = torch.zeros(shape[:2], dtype=torch.long)
    for i, image in enumerate(encoded):
        for r, caption in enumerate(image):
            captions[i, r, :len(caption)] = torch.tensor(caption)
            lengths[i, r] = len(caption)
    return captions, lengths

class CaptionDataset:
    "The images of one split, or their features, with captions as ids."
    def __init__(self,
                 rows: np.ndarray,               # (all images, …) features or uint8 images
                 images: list[CaptionedImage],   # the record of each row
                 vocab: Vocabulary,
                 split: str | None = None):      # None: all
        keep = [i for i, im in enumerate(images) if split in (None, im.split) and im.captions]
        if not keep: raise InputError(f"No image of the split {split!r} has a caption.")
        self.rows, self.index, self.vocab = rows, np.array(keep), vocab
        self.images = [images[i] for i in keep]
        self.encoded = [[vocab.encode(c) for c in im.captions] for im in self.images]
        self.longest = np.array([max(map(len, captions)) for captions in self.encoded])

    def __len__(self): return len(self.index)

    def inputs(self, items) -> Tensor:
        "Features or images of the given items, as they are stored."
        return torch.from_numpy(np.array(self.rows[self.index[items]]))

    def batch(self, items) -> Batch:
        "The given items with all their captions."
        return Batch(self.inputs(items), *pad_captions([self.encoded[i] for i in items]))

def epoch_order(
    longest: np.ndarray,  # length of each image's longest caption
    batch_size: int,      # images in a batch
    rng: np.random.Generator,
    window: int = 16,     # batches among which images are sorted by length
) -> list[np.ndarray]:    # the items of each batch; every item once
    "A shuffled epoch whose batches hold images with captions of similar length, so that little is padded."
    order = rng.permutation(len(longest))
    chunks = [order[i:i + window*batch_size] for i in range(0, len(order), window*batch_size)]
    order = np.concatenate([c[np.argsort(longest[c], kind='stable')] for c in chunks])
    batches = [order[i:i+batch_size] for i in range(0, len(order), batch_size)]
    return [batches[i] for i in rng.permutation(len(batches))]
