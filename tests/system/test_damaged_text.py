"""About a hundred damaged caption files, archives and folders: each ends in a sentence or in a named report entry."""
import io, json, os, random, subprocess, sys, warnings, zipfile
from contextlib import contextmanager
import pytest
from PIL import Image
from typer.testing import CliRunner
from showattend.captions import InputError
from showattend.cli import app
from showattend.datasets import data_card
from showattend.formats import read_captions
from showattend.images import read_hdf5

NAMES = [f'{k}.jpg' for k in range(4)]

def jpeg(k=0, size=12):
    Image.new('RGB', (size, size), (60 * k, 90, 120)).save(buffer := io.BytesIO(), 'JPEG')
    return buffer.getvalue()

def entry(k, **more):
    "One image in Karpathy's form."
    return dict(dict(filename=NAMES[k], imgid=k, split='train' if k < 3 else 'val',
                     sentences=[dict(raw=f'A wall number {k}.', tokens=['a', 'wall', 'number', str(k)])]), **more)

def karpathy(*changed, **more):
    "A caption file of four images, the last of which are replaced."
    entries = [entry(k) for k in range(4)]
    if changed: entries[-len(changed):] = changed
    return json.dumps(dict(images=entries, dataset='tiny', **more))

def said(text): return karpathy(entry(3, sentences=[dict(raw=text, tokens=['x'])]))
def called(name): return karpathy(entry(3, filename=name))
def table(*rows): return '\n'.join(['image,caption', *(f'{name},A wall' for name in NAMES[:3]), *rows])

def zipped(*members):
    with warnings.catch_warnings(), zipfile.ZipFile(made := io.BytesIO(), 'w') as z:
        warnings.simplefilter('ignore')             # one of them holds a name twice
        for name, content in members: z.writestr(name, content)
    return made.getvalue()

def hurt(content, seed):
    "A few bytes of the content replaced."
    rng, content = random.Random(seed), bytearray(content)
    for _ in range(3): content[rng.randrange(len(content))] = rng.randrange(256)
    return bytes(content)

# name → (file name, content); the photos 0.jpg to 3.jpg lie beside each of them
CASES = {}
def case(name, file, content): CASES[name] = file, content.encode('utf-8', 'surrogatepass') if isinstance(content, str) else content

rng = random.Random(0)
whole = karpathy()
for cut in sorted(rng.sample(range(1, len(whole) - 1), 8)): case(f'json cut at {cut}', 'dataset_x.json', whole[:cut])
for field in ('filename', 'split', 'sentences', 'imgid', 'filepath'):
    for value in (None, 7, -1.5, True, [], {}, [[]], [None], 'x' * 300):
        if rng.random() < .5: case(f'json with {field} = {json.dumps(value)[:12]}', 'dataset_x.json', karpathy(entry(3, **{field: value})))
for value in (None, 7, True, [], {}, ['a', 'b']): case(f'json with raw = {value}', 'dataset_x.json', said(value))
for value in (None, 7, 'x', {}, [], [1], [[]]): case(f'json with images = {value}', 'dataset_x.json', json.dumps({'images': value}))
for missing in ('filename', 'split', 'sentences'):
    case(f'json without {missing}', 'dataset_x.json', karpathy({k: v for k, v in entry(3).items() if k != missing}))
for k in range(6): case(f'json with other bytes {k}', 'dataset_x.json', hurt(whole.encode(), k))
case('json of nothing', 'dataset_x.json', '')
case('json of blanks', 'dataset_x.json', ' \n\n')
case('json that is a number', 'dataset_x.json', '3')
case('json nested too deeply', 'dataset_x.json', '[' * 100_000)
case('json with a number too long', 'dataset_x.json', '{"images": ' + '9' * 10_000 + '}')
case('json with infinity', 'dataset_x.json', whole.replace('"imgid": 0', '"imgid": 1e999').replace('"imgid": 1,', '"imgid": NaN,'))
case('json in utf 16', 'dataset_x.json', whole.encode('utf-16'))
case('json with a mark in front', 'dataset_x.json', whole.encode('utf-8-sig'))
case('json of zeros', 'dataset_x.json', bytes(500))
case('the same image twice', 'dataset_x.json', karpathy(entry(2), entry(2)))
case('the same image in two splits', 'dataset_x.json', karpathy(entry(2), entry(2, split='test')))
case('an unknown split', 'dataset_x.json', karpathy(entry(3, split='holdout')))
case('no caption', 'dataset_x.json', karpathy(entry(3, sentences=[])))
texts = {'an empty caption': '', 'a caption of blanks': ' \t\n', 'a caption of dots': '…', 'ten thousand words': 'dog ' * 10_000,
         'emoji': '🐕‍🦺 on a 🏖️', 'from right to left': 'كلب על החוף', 'a zero byte': 'a\0dog', 'a lone surrogate': '\ud800 dog',
         'terminal codes': '\x1b[2J\x1b]0;dog\x07', 'many accents': 'a' + '\u0301' * 3000, 'dollars': '$5 \\frac{ $', 'a page': '</pre><script>1</script>',
         'line breaks': 'a\r\ndog\u2028runs', 'one long word': 'a' * 200_000}
for name, text in texts.items(): case(name, 'dataset_x.json', said(text))
for name in ('../0.jpg', '/etc/hostname', '..\\0.jpg', 'C:\\0.jpg', 'a/../../0.jpg', '', '.', '..', '/', 'x' * 5000, 'a\0.jpg', '\ud800.jpg', 'NUL', '~/0.jpg',
             'file:///etc/hostname', '%2e%2e/0.jpg', 'a/' * 3000 + '0.jpg', '0.jpg/1.jpg'):
    case(f'an image called {name[:20]!a}', 'dataset_x.json', called(name))
case('a folder that leads out', 'dataset_x.json', karpathy(entry(3, filepath='../..')))
case('an absolute folder', 'dataset_x.json', karpathy(entry(3, filepath='/etc', filename='hostname')))
case('a table of nothing', 'captions.csv', '')
case('a table without rows', 'captions.csv', 'image,caption\n')
case('a table without names', 'captions.csv', '1,2,3\n4,5,6\n')
case('a quote that never ends', 'captions.csv', table('3.jpg,"A wall'))
case('a row too long', 'captions.csv', table('3.jpg,A,wall,and,more'))
case('a row too short', 'captions.csv', table('3.jpg'))
case('a field too long', 'captions.csv', table('3.jpg,' + 'dog ' * 50_000))
case('a table with zeros', 'captions.csv', table('3.jpg,a\0b'))
case('a table of one line', 'captions.csv', table('3.jpg,A wall').replace('\n', '\r'))
case('a table that leads out', 'captions.csv', table('../0.jpg,A wall', '/etc/hostname,A wall'))
case('a table in latin 1', 'captions.csv', table('3.jpg,Café').encode('latin-1'))
lines = [json.dumps(dict(image=name, caption='A wall')) for name in NAMES]
case('lines of json, cut', 'captions.jsonl', '\n'.join(lines)[:-9])
case('lines of json and a number', 'captions.jsonl', '\n'.join([*lines, '3', 'null', '[]']))
case('lines that lead out', 'captions.jsonl', '\n'.join([*lines, json.dumps(dict(image='../0.jpg', caption='x'))]))
case('a token file without tabs', 'Flickr8k.token.txt', '0.jpg#0 A wall')
case('a zip of nothing', 'caption_datasets.zip', zipped())
case('a zip cut off', 'caption_datasets.zip', zipped(('dataset_x.json', whole))[:-30])
case('a zip that leads out', 'caption_datasets.zip', zipped(('../../dataset_x.json', whole)))
case('an absolute zip', 'caption_datasets.zip', zipped(('/tmp/dataset_x.json', whole)))
case('a zip with a name twice', 'caption_datasets.zip', zipped(('dataset_x.json', whole), ('dataset_x.json', '{}')))
case('a zip of folders', 'caption_datasets.zip', zipped(('dataset_x.json/', '')))
for k in range(8): case(f'a zip with other bytes {k}', 'caption_datasets.zip', hurt(zipped(('dataset_x.json', whole)), k))

def listing(folder): return {p: (p.stat().st_size, p.stat().st_mtime_ns) for p in folder.rglob('*') if p.is_file()}

def ends_well(folder, words):
    "Runs a command; it has to succeed, or to end in an InputError with a sentence. Nothing else may be written."
    before = listing(folder)
    result = CliRunner().invoke(app, [str(word) for word in words])
    error = result.exception
    if error is not None and not isinstance(error, (InputError, SystemExit)): raise error
    if error: assert len(str(error)) > 10 or result.output
    new = {p: v for p, v in listing(folder).items() if before.get(p) != v}
    assert set(new) <= ({folder/'out'/'x.h5'} if not error else set())
    return error is None, result.output if error is None else str(error)

def entries_in(content):
    "How many images a caption file speaks of; 0 where that can't be told."
    try: return len(json.loads(content)['images'])
    except (ValueError, KeyError, TypeError, RecursionError): return 0

def check_packed(path, asked=0):
    "What was packed opens, nothing is gone without a word, and its card can be printed."
    rows, images, about = read_hdf5(path)
    assert len(rows) == len(images) and len(rows) + len(about['left_out']) + len(about.get('failed', ())) >= asked
    assert not [im.path for im in images if im.path.startswith('/') or '..' in im.path]
    str(data_card(path)).encode()

@pytest.mark.parametrize('name', CASES)
def test_damaged_captions_end_well(name, tmp_path):
    file, content = CASES[name]
    (folder := tmp_path/'in').mkdir(); (tmp_path/'out').mkdir()
    (tmp_path/'0.jpg').write_bytes(jpeg())                      # where '../0.jpg' would lead
    for k, photo in enumerate(NAMES): (folder/photo).write_bytes(jpeg(k))
    (folder/file).write_bytes(content)
    for path in (folder/file, folder):
        try: str(read_captions(path)).encode()
        except InputError as e: assert len(str(e)) > 10 and str(e).encode()
        fine, text = ends_well(tmp_path, ['prepare', path, '--out', tmp_path/'out/x.h5', '--size', 8, '--allow-missing'])
        text.encode()
        if fine: check_packed(tmp_path/'out/x.h5', entries_in(content)); (tmp_path/'out/x.h5').unlink()
        ends_well(tmp_path, ['data', path])

def test_there_are_enough_cases(): assert len(CASES) >= 80

PLACES = {'nothing': lambda p: None, 'a folder of that name': lambda p: p.mkdir(), 'a pipe': os.mkfifo, 'a link to itself': lambda p: p.symlink_to(p),
          'a link to nowhere': lambda p: p.symlink_to('nowhere')}

@pytest.mark.parametrize('name', PLACES)
@pytest.mark.parametrize('file', ['captions.csv', 'dataset_x.json', 'caption_datasets.zip'])
def test_what_is_no_file_ends_in_a_sentence(name, file, tmp_path):
    PLACES[name](tmp_path/file)
    for path in (tmp_path/file, tmp_path):
        with pytest.raises(InputError): read_captions(path)
        assert not ends_well(tmp_path, ['prepare', path, '--out', tmp_path/'out.h5'])[0]

@pytest.mark.skipif(os.geteuid() == 0, reason='root may read everything')
def test_what_may_not_be_read_ends_in_a_sentence(tmp_path):
    (tmp_path/'captions.csv').write_text(table()); (tmp_path/'captions.csv').chmod(0)
    assert not ends_well(tmp_path, ['prepare', tmp_path, '--out', tmp_path/'out.h5'])[0]

PHOTO_ZIPS = {'cut off': lambda z: z[:-40], 'empty': lambda z: zipped(), 'no zip': lambda z: b'<html>', 'outside': lambda z: zipped(*((f'../../{n}', jpeg()) for n in NAMES)),
              **{f'other bytes {k}': lambda z, k=k: hurt(z, k) for k in range(6)}}

@pytest.mark.parametrize('name', PHOTO_ZIPS)
def test_damaged_archives_of_photos_end_well(name, tmp_path):
    (folder := tmp_path/'in').mkdir(); (tmp_path/'out').mkdir()
    (folder/'captions.csv').write_text(table('3.jpg,A wall'))
    (folder/'photos.zip').write_bytes(PHOTO_ZIPS[name](zipped(*((n, jpeg(k)) for k, n in enumerate(NAMES)))))
    fine, _ = ends_well(tmp_path, ['prepare', folder, '--out', tmp_path/'out/x.h5', '--size', 8])
    if fine: check_packed(tmp_path/'out/x.h5')

def own(folder, count=200):
    folder.mkdir()
    (folder/'captions.csv').write_text('image,caption\n' + ''.join(f'{k}.jpg,A wall\n' for k in range(count)))
    for k in range(count): (folder/f'{k}.jpg').write_bytes(jpeg(k % 4))
    return folder

@contextmanager
def small_disk(folder):
    "A file system of 400 kB, where we may mount one."
    folder.mkdir()
    done = subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=400k', 'tmpfs', folder], capture_output=True, text=True)
    if done.returncode: pytest.skip(f'no file system can be mounted here ({done.stderr.strip()})')
    try: yield folder
    finally: subprocess.run(['umount', '-l', folder])

def test_a_disk_that_is_too_small_is_told_at_the_start(tmp_path):
    with small_disk(tmp_path/'disk') as disk:
        for dataset in (own(tmp_path/'in'), 'scenes'):
            fine, text = ends_well(disk, ['prepare', dataset, '--out', disk/'x.h5', '--size', 64])
            assert not fine and 'are free' in text and not list(disk.iterdir())

def test_a_disk_that_fills_up_meanwhile_ends_in_a_sentence(tmp_path, monkeypatch):
    "As when another program takes the room that was free at the start."
    monkeypatch.setattr('showattend.datasets.free_bytes', lambda path: 10**12)
    with small_disk(tmp_path/'disk') as disk:
        for dataset in (own(tmp_path/'in'), 'scenes'):
            fine, text = ends_well(disk, ['prepare', dataset, '--out', disk/'x.h5', '--size', 64])
            assert not fine and 'x.h5' in text and not list(disk.iterdir())

FULL = """import resource, sys
from typer.testing import CliRunner
from showattend.captions import InputError
from showattend.cli import app
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
result = CliRunner().invoke(app, sys.argv[1:])
assert isinstance(result.exception, InputError), repr(result.exception)
print(result.exception)"""

def test_a_file_that_may_not_grow_ends_in_a_sentence(tmp_path, root):
    "The same without a mount: the system refuses to let files grow."
    done = subprocess.run([sys.executable, '-c', FULL, 'prepare', own(tmp_path/'in'), '--out', tmp_path/'x.h5', '--size', '64'],
                          capture_output=True, text=True, env={**os.environ, 'PYTHONPATH': str(root)}, cwd=tmp_path)
    assert done.returncode == 0 and 'x.h5' in done.stdout, done.stderr
    assert {p.name for p in tmp_path.iterdir()} == {'in'}
