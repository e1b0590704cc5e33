from __future__ import annotations
import io
import anywidget
import numpy as np
import traitlets
from PIL import Image

_DRAW = """
// Draws the picture, then darkness that is thin where the model looked.
function draw(canvas, picture, maps, [h, w], t, grid) {
  const pen = canvas.getContext("2d"), mask = document.createElement("canvas");
  mask.width = w; mask.height = h;
  const dark = new ImageData(w, h);
  for (let i = 0; i < h * w; i++) dark.data[4 * i + 3] = 0.8 * (255 - maps[t * h * w + i]);
  mask.getContext("2d").putImageData(dark, 0, 0);
  pen.clearRect(0, 0, canvas.width, canvas.height);
  pen.imageSmoothingEnabled = true;
  pen.drawImage(picture, 0, 0, canvas.width, canvas.height);
  pen.imageSmoothingEnabled = !grid;
  pen.drawImage(mask, 0, 0, canvas.width, canvas.height);
}
"""

_PARTS = """
function make(tag, parent, properties = {}, attributes = {}) {
  const node = Object.assign(document.createElement(tag), properties);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  parent.append(node);
  return node;
}

const bytes = view => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
"""

_BUILD = """
function build(el, words) {
  const root = make("div", el, {className: "sa-explorer", tabIndex: -1},
                    {role: "group", "aria-label": "Attention explorer: " + words.join(" ")});
  const canvas = make("canvas", root, {}, {role: "img"});
  const line = make("div", root, {className: "sa-words"}, {role: "toolbar", "aria-label": "Words"});
  const buttons = words.map(word => make("button", line, {type: "button", textContent: word}));
  const bar = make("div", root, {className: "sa-bar"});
  const play = make("button", bar, {type: "button", className: "sa-play", textContent: "Play"});
  const slider = make("input", bar, {type: "range", min: 0, max: words.length - 1}, {"aria-label": "Word"});
  const label = make("label", bar), grid = make("input", label, {type: "checkbox"});
  label.append(" true grid");
  return {root, canvas, buttons, play, slider, grid};
}
"""

_RENDER = """
function render({model, el}) {
  const words = model.get("words"), shape = model.get("shape"), maps = bytes(model.get("maps"));
  const ui = build(el, words), picture = new Image();
  let timer = null;
  const go = t => { model.set("t", (t + words.length) % words.length); model.save_changes(); };
  const show = () => {
    const t = model.get("t");
    ui.buttons.forEach((b, k) => b.setAttribute("aria-pressed", k === t));
    ui.slider.value = t;
    ui.canvas.setAttribute("aria-label", `Where the model looked when it said “${words[t]}”`);
    if (picture.complete) draw(ui.canvas, picture, maps, shape, t, ui.grid.checked);
  };
  const stop = () => { clearInterval(timer); timer = null; ui.play.textContent = "Play"; };
  const start = () => { timer = setInterval(() => go(model.get("t") + 1), 800); ui.play.textContent = "Pause"; };
  ui.buttons.forEach((b, k) => b.addEventListener("click", () => { stop(); go(k); }));
  ui.play.addEventListener("click", () => timer ? stop() : start());
  ui.slider.addEventListener("input", () => { stop(); go(+ui.slider.value); });
  ui.grid.addEventListener("change", show);
  ui.root.addEventListener("keydown", event => {        // JupyterLab would take the arrows for itself
    const by = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1}[event.key];
    if (by) { event.preventDefault(); event.stopPropagation(); stop(); go(model.get("t") + by); }
  });
  picture.onload = () => {
    ui.canvas.width = 2 * picture.width; ui.canvas.height = 2 * picture.height; show(); };
  const url = URL.createObjectURL(new Blob([bytes(model.get("picture"))]));
  picture.src = url;
  model.on("change:t", show);
  show();
  return () => { stop(); model.off("change:t", show); URL.revokeObjectURL(url); };
}
export default { render };
"""

_STYLE = """
.sa-explorer { max-width: 420px; font: 15px/1.4 system-ui, sans-serif; outline: none }
.sa-explorer canvas { width: 100%; max-width: 336px; border-radius: 6px; display: block }
.sa-words { display: flex; flex-wrap: wrap; gap: 4px; margin: 8px 0 }
.sa-explorer button { font: inherit; color: inherit; padding: 3px 8px; border: 1px solid #8886;
  border-radius: 5px; background: #8882; cursor: pointer }
.sa-explorer button[aria-pressed=true] { background: #1d5fa6; border-color: #1d5fa6; color: #fff }
.sa-explorer button:focus-visible, .sa-explorer input:focus-visible { outline: 2px solid #e69f00; outline-offset: 1px }
.sa-bar { display: flex; align-items: center; gap: 10px }
.sa-bar input[type=range] { flex: 1; max-width: 150px }
"""

class AttentionExplorer(anywidget.AnyWidget):
    "Click a word, step with the arrow keys, or play: where did the model look? Works without a kernel too."
    _esm = _DRAW + _PARTS + _BUILD + _RENDER
    _css = _STYLE
    words = traitlets.List(traitlets.Unicode()).tag(sync=True)
    picture = traitlets.Bytes().tag(sync=True)                  # an encoded image
    maps = traitlets.Bytes().tag(sync=True)                     # T·h·w brightnesses
    shape = traitlets.List(traitlets.Int()).tag(sync=True)      # [h, w]
    t = traitlets.Int(0).tag(sync=True)                         # the word that is shown

def as_bytes(
    attention: np.ndarray,  # (T, h, w)
) -> bytes:                 # T·h·w bytes, 255 at each step's most attended position
    "Attention as brightness, a byte a position."
    peak = np.maximum(attention.max((1, 2), keepdims=True), 1e-12)
    return (255 * attention / peak).round().astype('uint8').tobytes()

def picture_bytes(
    image: Image.Image,
    width: int = 336,  # pixels at most
) -> bytes:            # WebP
    "A small file of the image, to travel inside the widget."
    image, buffer = image.convert('RGB'), io.BytesIO()
    if image.width != width: image = image.resize((width, round(image.height * width / image.width)), Image.Resampling.LANCZOS)
    image.save(buffer, 'WEBP', quality=88)
    return buffer.getvalue()

def explore(
    image: Image.Image,
    words: list[str],        # T words
    attention: np.ndarray,   # (T, h, w)
) -> AttentionExplorer:
    "The explorer for one caption."
    return AttentionExplorer(words=words, picture=picture_bytes(image), maps=as_bytes(attention),
                             shape=list(attention.shape[1:]))
