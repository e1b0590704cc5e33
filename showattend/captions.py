from __future__ import annotations
import fnmatch, json, os, re, zipfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

class InputError(ValueError):
    "Input that can't be used as it is; the message says what to do."

@dataclass
class CaptionedImage:
    "One image and what people said of it: the record that every reader returns."
    id: str                     # unique within its data set
    path: str                   # where the image lies, relative to its folder or zip
    captions: list[str]         # as they were written, untouched
    split: str = 'train'        # 'train', 'val' or 'test'
    boxes: list | None = None   # scenes only: for each caption, its noun phrases and their boxes

def data_folder() -> Path:
    "Where the real data lie: the environment variable `SHOWATTEND_DATA`, else `data/`."
    return Path(os.environ.get('SHOWATTEND_DATA', 'data'))

def _zip_texts(path, pattern):
    "Yields `(member, text)` for the members of a zip whose base name matches `pattern`."
    with zipfile.ZipFile(path) as z:
        for name in sorted(z.namelist()):
            if fnmatch.fnmatch(name.rsplit('/', 1)[-1], pattern): yield name, z.read(name).decode('utf-8')

def find_text(
    path: str | Path,  # a file, a zip, or a folder that holds either
    pattern: str,      # file name with wildcards, such as 'dataset_*.json'
) -> str:              # the text of the first match
    "Finds a text file by name and reads it, out of a zip where need be."
    path = Path(path)
    if not path.exists():
        raise InputError(f"There is no {path}. Give the file or folder you downloaded, or set "
                         "SHOWATTEND_DATA to the folder that holds your data sets.")
    zips = [path] if zipfile.is_zipfile(path) else sorted(path.glob('*.zip')) if path.is_dir() else []
    plain = sorted(path.glob(pattern)) if path.is_dir() else [] if zips else [path]
    for file in plain: return file.read_text(encoding='utf-8')
    for file in zips:
        for _, text in _zip_texts(file, pattern): return text
    raise InputError(f"{path} holds no file named {pattern!r}"
                     + (f", nor does any of its zips ({', '.join(z.name for z in zips)})." if zips else "."))

SPLITS = {'train': 'train', 'restval': 'train', 'val': 'val', 'test': 'test'}

def _karpathy_record(image):
    "One entry of Karpathy's `images` list as a `CaptionedImage`."
    path = '/'.join(filter(None, [image.get('filepath'), image['filename']]))
    return CaptionedImage(image['filename'], path, [s['raw'] for s in image['sentences']],
                          SPLITS[image['split']])

def read_karpathy(
    path: str | Path,  # the JSON file, or the zip or folder that holds it
) -> list[CaptionedImage]:
    "Reads a `dataset_*.json` of Karpathy's splits; `restval` joins `train`."
    try: return [_karpathy_record(im) for im in json.loads(find_text(path, 'dataset_*.json'))['images']]
    except (KeyError, TypeError, json.JSONDecodeError) as e:
        raise InputError(f"{path} is not a caption file of Karpathy's form "
                         f"(images, each with filename, split, sentences): {e!r}") from e

def _read_tokens(text):
    "`{image: [captions]}` from the lines `name.jpg#k<TAB>caption`."
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        name, tab, caption = line.partition('\t')
        if not tab or '#' not in name:
            raise InputError(f"line {number} of the token file is not 'name.jpg#k<TAB>caption': {line[:60]!r}")
        found.setdefault(name.rsplit('#', 1)[0], []).append(caption)
    return found

FLICKR8K_LISTS = {'train': 'Flickr_8k.trainImages.txt', 'val': 'Flickr_8k.devImages.txt',
                  'test': 'Flickr_8k.testImages.txt'}

def read_flickr8k(
    path: str | Path,  # Flickr8k_text.zip, or the folder that holds it or its files
) -> list[CaptionedImage]:  # the 8,000 images of the official split; images in no list are left out
    "Reads `Flickr8k.token.txt` beside the three official split lists."
    captions, images = _read_tokens(find_text(path, 'Flickr8k.token.txt')), []
    for split, names in FLICKR8K_LISTS.items():
        for name in find_text(path, names).split():
            if name not in captions: raise InputError(f"{names} lists {name}, which has no caption in {path}.")
            images.append(CaptionedImage(name, name, captions[name], split))
    return images

def tokenize(
    caption: str,
) -> list[str]:  # lower-case words and numbers; punctuation is dropped
    "Splits a caption into words."
    return re.findall(r'[^\W_]+', caption.lower())

SPECIALS = ['<pad>', '<start>', '<end>', '<unk>']
PAD, START, END, UNK = range(4)

class Vocabulary:
    "Words and their ids. `<pad> <start> <end> <unk>` are 0 to 3."
    def __init__(self, words: Iterable[str]):  # the words after the specials, in the order of their ids
        self.words = SPECIALS + list(words)
        self.ids = {word: i for i, word in enumerate(self.words)}
        if len(self.ids) < len(self.words): raise InputError("A vocabulary can't hold a word twice.")
    def __len__(self): return len(self.words)
    def __eq__(self, other): return isinstance(other, Vocabulary) and self.words == other.words

    def encode(self, caption: str) -> list[int]:
        "`<start>`, the ids of the words, `<end>`; a word it doesn't know becomes `<unk>`."
        return [START, *(self.ids.get(word, UNK) for word in tokenize(caption)), END]

    def decode(self, ids: Iterable[int]) -> str:
        "The words up to the first `<end>`, without the specials."
        return ' '.join(self.words_of(ids))

    def words_of(self, ids: Iterable[int]) -> list[str]:
        "The list of words that `decode` joins."
        ids = [int(i) for i in ids]
        ids = ids[:ids.index(END)] if END in ids else ids
        return [self.words[i] for i in ids if i > END]

    def save(self, path: str | Path):
        "Writes the words as JSON, under a temporary name first."
        write_text(path, json.dumps({'words': self.words[len(SPECIALS):]}, ensure_ascii=False))

    @classmethod
    def load(cls, path: str | Path) -> Vocabulary:
        "Reads what `save` wrote."
        try: return cls(json.loads(Path(path).read_text(encoding='utf-8'))['words'])
        except (OSError, KeyError, TypeError, ValueError) as e:
            raise InputError(f"{path} is not a vocabulary saved by showattend: {e!r}") from e

def write_text(path: str | Path, text: str):
    "Writes a text file so that it is there whole or not at all: temporary name, then rename."
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + '.partial')
    partial.write_text(text, encoding='utf-8')
    os.replace(partial, path)

def count_words(images: Iterable[CaptionedImage]) -> Counter:
    "How often each word occurs in the captions of `images`."
    return Counter(word for im in images for caption in im.captions for word in tokenize(caption))

def build_vocabulary(
    images: Iterable[CaptionedImage],  # all splits; only 'train' is counted
    min_count: int = 5,                # rarer words become <unk>
) -> Vocabulary:  # words by falling count, ties in alphabetical order
    "The words that occur at least `min_count` times in the training captions."
    counts = count_words(im for im in images if im.split == 'train')
    if not counts: raise InputError("No caption of the 'train' split holds a word; nothing to build a vocabulary from.")
    kept = [word for word, n in counts.items() if n >= min_count]
    return Vocabulary(sorted(kept, key=lambda word: (-counts[word], word)))
