from __future__ import annotations
from contextlib import contextmanager
import numpy as np
from PIL import Image

BLUES = ['#08306b', '#2171b5', '#6baed6', '#bdd7e7']   # one family for lines, darkest first

def book_style() -> dict:
    "Matplotlib settings of every figure in the book; use as `plt.rc_context(book_style())`."
    return {'figure.dpi': 100, 'savefig.dpi': 200, 'font.size': 10, 'axes.titlesize': 10,
            'axes.spines.top': False, 'axes.spines.right': False, 'axes.grid': True, 'grid.alpha': 0.25,
            'grid.linewidth': 0.6, 'legend.frameon': False, 'figure.constrained_layout.use': True}

def light(
    weights: np.ndarray,   # (h, w) attention of one step
) -> np.ndarray:           # (h, w), 0 to 1: the most attended position is 1
    "Attention as brightness."
    return weights / max(weights.max(), 1e-12)

def enlarge(
    weights: np.ndarray,    # (h, w)
    size: tuple[int, int],  # (width, height) in pixels
    smooth: bool = True,    # False shows the grid as it is
) -> np.ndarray:            # (height, width)
    "Stretches a map over an image."
    how = Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(weights.astype('float32')).resize(size, how)).clip(0, 1)

def spotlight(
    image: Image.Image,
    weights: np.ndarray,    # (h, w) attention of one step
    smooth: bool = True,    # False shows the grid as it is
    floor: float = 0.2,     # brightness where the model doesn't look
) -> Image.Image:
    "The image, bright where the model looked and dim elsewhere."
    mask = floor + (1 - floor) * enlarge(light(weights), image.size, smooth)
    pixels = np.asarray(image.convert('RGB')) * mask[..., None]
    return Image.fromarray(pixels.round().astype('uint8'))

def film_strip(
    image: Image.Image,
    words: list[str],        # T words
    attention: np.ndarray,   # (T, h, w)
    smooth: bool = True,     # False shows the grid as it is
    columns: int = 5,
):
    "One picture a word: where the model looked when it said it. Returns a matplotlib figure."
    import matplotlib.pyplot as plt
    rows = -(-(len(words) + 1) // columns)
    with plt.rc_context(book_style()):
        figure, axes = plt.subplots(rows, columns, figsize=(7, 1.55 * rows), squeeze=False)
        for ax in axes.flat: ax.axis('off')
        pictures = [('', image), *((w, spotlight(image, a, smooth)) for w, a in zip(words, attention))]
        for ax, (word, picture) in zip(axes.flat, pictures):
            ax.imshow(picture)
            ax.set_title(word)
    return figure

def plot_curves(
    history: list[dict],                        # from `fit`
    keys: tuple[str, ...] = ('loss', 'CIDEr'),  # what to draw, each in its own panel
):
    "Training curves by epoch. Returns a matplotlib figure."
    import matplotlib.pyplot as plt
    with plt.rc_context(book_style()):
        figure, axes = plt.subplots(1, len(keys), figsize=(7, 2.6), squeeze=False)
        for ax, key in zip(axes.flat, keys):
            ax.plot([e['epoch'] for e in history], [e[key] for e in history], color=BLUES[1], marker='o', ms=3)
            ax.set(xlabel='epoch', title=key)
    return figure
