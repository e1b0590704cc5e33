"""Damaged, hostile and odd images: each is packed, reported by name, or refused in a sentence."""
import io, os, random, stat, struct, subprocess, sys, tarfile, zipfile, zlib
from pathlib import Path
import numpy as np
import pytest
from PIL import Image
from showattend.captions import CaptionedImage, InputError
from showattend.images import pack_images, read_hdf5, to_array, open_image

SIZE = 32

def saved(image, kind='JPEG', **options):
    image.save(content := io.BytesIO(), kind, **options)
    return content.getvalue()

def picture(size=(96, 64), mode='RGB'):
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (6, 6, 3), 'uint8'))
    return small.resize(size, Image.Resampling.BICUBIC).convert(mode)

def flipped(content, rng, count):
    content = bytearray(content)
    for _ in range(count): content[rng.randrange(2, len(content))] ^= 1 << rng.randrange(8)
    return bytes(content)

def chunk(kind, data): return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))

def huge_png(side):
    "A PNG of a few bytes that declares side×side pixels."
    header = struct.pack('>IIBBBBB', side, side, 8, 2, 0, 0, 0)
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IDAT', zlib.compress(bytes(1000))) + chunk(b'IEND', b'')

def huge_jpeg(side):
    content = bytearray(saved(picture()))
    at = content.index(b'\xff\xc0') + 5
    content[at:at+4] = side.to_bytes(2, 'big') * 2
    return bytes(content)

def good():
    "Odd files that have to be packed right."
    image = picture()
    exif = Image.Exif(); exif[0x0112] = 6
    wide = np.asarray(image.convert('L')).astype('uint16') * 257
    clear = image.quantize(16)
    yield 'plain.jpg', saved(image)
    yield 'progressive.jpg', saved(image, progressive=True)
    yield 'cmyk.jpg', saved(image.convert('CMYK'))
    yield 'grey.jpg', saved(image.convert('L'))
    yield 'turned.jpg', saved(image, exif=exif)
    yield 'bad_exif.jpg', saved(image, exif=b'Exif\0\0MM\0*\xff\xff\xff\xff')
    yield 'worse_exif.jpg', saved(image, exif=b'Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01\x03\0')
    yield 'deep.png', saved(Image.fromarray(wide), 'PNG')
    yield 'deep.tif', saved(Image.fromarray(wide), 'TIFF')
    yield 'palette.png', saved(clear, 'PNG', transparency=3)
    yield 'palette_bytes.png', saved(clear, 'PNG', transparency=bytes(range(16)))
    yield 'alpha.png', saved(image.convert('RGBA'), 'PNG')
    yield 'grey_alpha.png', saved(image.convert('LA'), 'PNG')
    yield 'one_bit.png', saved(image.convert('1'), 'PNG')
    yield 'animated.gif', saved(image.quantize(8), 'GIF', save_all=True, append_images=[image.rotate(90).quantize(8)] * 3)
    yield 'dot.png', saved(image.resize((1, 1)), 'PNG')
    yield 'line.png', saved(image.resize((1, 10000)), 'PNG')
    yield 'row.jpg', saved(image.resize((10000, 1)))
    yield 'photo.webp', saved(image, 'WEBP')
    yield 'photo.bmp', saved(image, 'BMP')
    yield 'jpeg_called.png', saved(image)

def bad():
    "Files that no one can read as a photo."
    jpeg, png = saved(picture()), saved(picture(), 'PNG')
    yield 'empty.jpg', b''
    yield 'text.jpg', b'<html>404 not found</html>'
    yield 'zeros.jpg', bytes(5000)
    yield 'huge.jpg', huge_jpeg(50_000)
    yield 'huge.png', huge_png(50_000)
    yield 'bomb.png', huge_png(13_000)          # below the limit, without the data it declares
    yield 'script.eps', b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage'
    yield 'floats.tif', saved(Image.fromarray(np.random.default_rng(0).random((8, 8), 'float32')), 'TIFF')
    yield 'zip.jpg', b'PK\x03\x04' + bytes(100)
    for k in range(20): yield f'cut{k}.jpg', jpeg[:len(jpeg) * k // 21]
    for k in range(10): yield f'cut{k}.png', png[:len(png) * k // 11]

def doubtful():
    "Bits flipped by chance: a decoder may or may not notice."
    rng, jpeg, png = random.Random(0), saved(picture()), saved(picture(), 'PNG')
    for k in range(40): yield f'flip{k}.jpg', flipped(jpeg, rng, 1 + k % 7)
    for k in range(20): yield f'flip{k}.png', flipped(png, rng, 1 + k % 3)

def records(names): return [CaptionedImage(n, n, ['a thing'], 'train') for n in names]

def pack(source, names, path, **options):
    return pack_images(records(names), source, path, SIZE, **options)

def put_zip(path, files):
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as z:
        for name, content in files.items(): z.writestr(name, content)
    return path

def put_tar(path, files):
    with tarfile.open(path, 'w:gz' if path.suffix == '.tgz' else 'w') as t:
        for name, content in files.items():
            info = tarfile.TarInfo(name); info.size = len(content)
            t.addfile(info, io.BytesIO(content))
    return path

def put_folder(path, files):
    path.mkdir()
    for name, content in files.items(): (path/name).write_bytes(content)
    return path

SOURCES = {'folder': put_folder, 'a.zip': put_zip, 'a.tar': put_tar, 'a.tgz': put_tar}

@pytest.mark.parametrize('kind', SOURCES)
def test_odd_images_are_packed_as_they_look(tmp_path, kind):
    files = dict(good())
    packed = pack(SOURCES[kind](tmp_path/kind, files), list(files), tmp_path/'out.h5')
    assert packed.failed == [] and packed.written == len(files)
    rows = dict(zip(files, read_hdf5(tmp_path/'out.h5')[0]))
    right = to_array(picture(), SIZE).astype(int)
    for name in ('plain.jpg', 'progressive.jpg', 'cmyk.jpg', 'bad_exif.jpg', 'worse_exif.jpg', 'alpha.png', 'photo.bmp',
                 'photo.webp', 'jpeg_called.png'):
        assert abs(rows[name] - right).mean() < 6, name
    grey = to_array(picture(mode='L'), SIZE).astype(int)
    for name in ('grey.jpg', 'deep.png', 'deep.tif', 'grey_alpha.png'): assert abs(rows[name] - grey).mean() < 6, name
    turned = to_array(picture().transpose(Image.Transpose.ROTATE_270), SIZE).astype(int)
    assert abs(rows['turned.jpg'] - turned).mean() < 6

@pytest.mark.parametrize('kind', ['folder', 'a.tgz'])
def test_every_bad_image_is_named(tmp_path, kind):
    bad_files = dict(bad())
    for start in range(0, len(bad_files), 10):                  # ten failures are let through
        part = dict(list(bad_files.items())[start:start+10]) | {'fine.jpg': saved(picture())}
        source = SOURCES[kind](tmp_path/f'{start}{kind}', part)
        packed = pack(source, list(part), tmp_path/'out.h5')
        assert [name for name, _ in packed.failed] == list(part)[:-1]
        assert all(name in why for name, why in packed.failed)
        rows, kept, about = read_hdf5(tmp_path/'out.h5')
        assert not rows[:-1].any() and rows[-1].any() and [bool(im.captions) for im in kept] == [False] * (len(part) - 1) + [True]
    with pytest.raises(InputError, match="photos can't be used"):
        pack(SOURCES[kind](tmp_path/f'all{kind}', bad_files), list(bad_files), tmp_path/'none.h5')
    assert not list(tmp_path.glob('none.h5*'))

@pytest.mark.parametrize('name,content', list(doubtful()), ids=lambda v: v if isinstance(v, str) else '')
def test_flipped_bits_are_reported_or_read_as_every_viewer_does(tmp_path, name, content):
    files = {name: content, 'fine.jpg': saved(picture())}
    packed = pack(put_folder(tmp_path/'a', files), list(files), tmp_path/'out.h5')
    row = read_hdf5(tmp_path/'out.h5')[0][0]
    if packed.failed: assert packed.failed[0][0] == name and not row.any()
    else: assert (row == to_array(open_image(content), SIZE)).all()

def test_flipped_bits_in_an_archive_never_pass(tmp_path):
    "A zip knows the checksum of its members."
    jpeg = saved(picture())
    put_zip(tmp_path/'a.zip', {'x.jpg': jpeg, 'fine.jpg': jpeg})
    whole, rng = (tmp_path/'a.zip').read_bytes(), random.Random(1)
    right = to_array(picture(), SIZE).astype(int)
    for _ in range(30):
        hurt = bytearray(whole); hurt[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        (tmp_path/'a.zip').write_bytes(hurt)
        try: packed = pack(tmp_path/'a.zip', ['x.jpg', 'fine.jpg'], tmp_path/'out.h5')
        except InputError: continue
        rows, broken = read_hdf5(tmp_path/'out.h5')[0], {n for n, _ in packed.failed}
        for row, name in zip(rows, ['x.jpg', 'fine.jpg']):
            assert not row.any() if name in broken else abs(row - right).mean() < 6

def test_an_archive_cut_off_anywhere(tmp_path):
    jpeg, right = saved(picture()), to_array(picture(), SIZE).astype(int)
    for ending in ('.zip', '.tar', '.tgz'):
        whole = SOURCES['a' + ending](tmp_path/f'a{ending}', {'x.jpg': jpeg, 'y.jpg': jpeg}).read_bytes()
        for share in (0, .1, .4, .6, .9):
            (tmp_path/f'b{ending}').write_bytes(whole[:int(len(whole) * share)])
            try: packed = pack(tmp_path/f'b{ending}', ['x.jpg', 'y.jpg'], tmp_path/'out.h5')
            except InputError: continue
            rows, broken = read_hdf5(tmp_path/'out.h5')[0], {name for name, _ in packed.failed}
            for row, name in zip(rows, ['x.jpg', 'y.jpg']):
                assert not row.any() if name in broken else abs(row - right).mean() < 6

@pytest.mark.parametrize('name', ['../out.jpg', '/etc/passwd', 'a/../../b.jpg', '..\\b.jpg', 'C:/b.jpg', 'b\0.jpg', ''])
@pytest.mark.parametrize('kind', SOURCES)
def test_names_that_lead_out_are_refused(tmp_path, name, kind):
    source = SOURCES[kind](tmp_path/kind, {'in.jpg': saved(picture())})
    (tmp_path/'out.jpg').write_bytes(saved(picture()))
    before = sorted(tmp_path.rglob('*'))
    with pytest.raises(InputError, match='path of an image|lead'): pack(source, [name], tmp_path/'target.h5')
    assert sorted(tmp_path.rglob('*')) == before

@pytest.mark.parametrize('ending', ['.zip', '.tar'])
def test_hostile_members_are_not_found(tmp_path, ending):
    source = SOURCES['a' + ending](tmp_path/f'a{ending}', {'../out.jpg': saved(picture()), '/abs.jpg': saved(picture())})
    for name in ('out.jpg', 'abs.jpg'):
        with pytest.raises(InputError, match='lacks 1 of the 1'): pack(source, [name], tmp_path/'t.h5')
    assert [p.name for p in tmp_path.iterdir()] == [source.name]

def test_links_in_archives_are_not_followed(tmp_path):
    with tarfile.open(tmp_path/'a.tar', 'w') as t:
        for name, kind in (('s.jpg', tarfile.SYMTYPE), ('h.jpg', tarfile.LNKTYPE), ('f.jpg', tarfile.FIFOTYPE)):
            info = tarfile.TarInfo(name); info.type, info.linkname = kind, '/etc/passwd'
            t.addfile(info)
    with zipfile.ZipFile(tmp_path/'a.zip', 'w') as z:
        info = zipfile.ZipInfo('s.jpg'); info.external_attr = (stat.S_IFLNK | 0o777) << 16
        z.writestr(info, '/etc/passwd')
    for source, name in (('a.tar', 's.jpg'), ('a.tar', 'h.jpg'), ('a.tar', 'f.jpg'), ('a.zip', 's.jpg')):
        with pytest.raises(InputError, match='lacks 1 of the 1'): pack(tmp_path/source, [name], tmp_path/'t.h5')

def test_bombs_in_zips(tmp_path):
    "A member that swells, and one whose declared length lies."
    fine = saved(picture())
    put_zip(tmp_path/'a.zip', {'bomb.jpg': bytes(100_000_000), 'fine.jpg': fine})
    packed = pack(tmp_path/'a.zip', ['bomb.jpg', 'fine.jpg'], tmp_path/'out.h5')
    assert 'would unpack to 100,000,000' in packed.failed[0][1]
    content = (tmp_path/'a.zip').read_bytes().replace((100_000_000).to_bytes(4, 'little'), (5000).to_bytes(4, 'little'))
    (tmp_path/'a.zip').write_bytes(content)
    packed = pack(tmp_path/'a.zip', ['bomb.jpg', 'fine.jpg'], tmp_path/'out.h5')
    assert packed.failed[0][0] == 'bomb.jpg' and packed.written == 1

def test_a_locked_zip(tmp_path):
    put_zip(tmp_path/'a.zip', {'x.jpg': saved(picture())})
    content = bytearray((tmp_path/'a.zip').read_bytes())
    for mark, at in ((b'PK\x03\x04', 6), (b'PK\x01\x02', 8)): content[content.index(mark) + at] |= 1
    (tmp_path/'a.zip').write_bytes(content)
    with pytest.raises(InputError, match='1 of 1 photos'): pack(tmp_path/'a.zip', ['x.jpg'], tmp_path/'t.h5')

def test_special_files_do_not_hang(tmp_path):
    os.mkfifo(tmp_path/'pipe.jpg'); (tmp_path/'folder.jpg').mkdir(); (tmp_path/'endless.jpg').symlink_to('/dev/zero')
    for name in ('pipe.jpg', 'folder.jpg', 'endless.jpg'):
        with pytest.raises(InputError, match='lacks 1'): pack(tmp_path, [name], tmp_path/'t.h5')
        with pytest.raises(InputError, match='no regular file'): open_image(tmp_path/name)

@pytest.mark.skipif(not hasattr(os, 'geteuid') or os.geteuid() == 0, reason='root may read everything')
def test_no_permission_to_read(tmp_path):
    put_folder(tmp_path/'a', {'x.jpg': saved(picture()), 'fine.jpg': saved(picture())})
    (tmp_path/'a/x.jpg').chmod(0)
    assert 'Permission' in pack(tmp_path/'a', ['x.jpg', 'fine.jpg'], tmp_path/'t.h5').failed[0][1]

CHILD = '''
import os, resource, sys
from pathlib import Path
from showattend.captions import CaptionedImage, InputError
from showattend.images import pack_images
source, target, limit = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
if limit: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
if os.geteuid() == 0 and len(sys.argv) > 4: os.setuid(int(sys.argv[4]))
images = [CaptionedImage(p.name, p.name, ["x"], "train") for p in sorted(source.iterdir())]
try: pack_images(images, source, target, 64)
except InputError as e: print(e); sys.exit(3)
'''

def run_child(root, *words):
    return subprocess.run([sys.executable, '-c', CHILD, *map(str, words)], capture_output=True, text=True,
                          env={**os.environ, 'PYTHONPATH': str(root)}, timeout=60)

def twenty(folder): return put_folder(folder, {f'{k}.jpg': saved(picture()) for k in range(20)})

def test_a_disk_that_ends_is_found_out_at_the_start(tmp_path, root):
    done = run_child(root, twenty(tmp_path/'a'), tmp_path/'t.h5', 100_000)      # 245,760 bytes are needed
    assert done.returncode == 3 and "Can't write" in done.stdout and 'disk is not full' in done.stdout, done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ['a']

@pytest.fixture
def small_disk(tmp_path):
    (tmp_path/'disk').mkdir()
    mount = ['mount', '-t', 'tmpfs', '-o', 'size=128k', 'tmpfs', str(tmp_path/'disk')]
    try: mounted = subprocess.run(mount, capture_output=True).returncode == 0
    except OSError: mounted = False
    if not mounted: pytest.skip('a small disk can be mounted only by root')
    yield tmp_path/'disk'
    subprocess.run(['umount', str(tmp_path/'disk')], check=True)

def test_a_full_disk(tmp_path, root, small_disk):
    done = run_child(root, twenty(tmp_path/'a'), small_disk/'t.h5', 0)
    assert done.returncode == 3 and 'No space' in done.stdout, done.stdout + done.stderr
    assert list(small_disk.iterdir()) == []

@pytest.mark.skipif(not Path('/proc').exists() or os.geteuid() != 0, reason='needs to give up the rights of root')
def test_a_folder_that_may_not_be_written(tmp_path, root):
    (tmp_path/'locked').mkdir(mode=0o555)
    mine = [f for f in tmp_path.parents if 'pytest' in str(f)]       # closed to others by pytest
    for folder in (tmp_path, *mine): folder.chmod(0o755)
    done = run_child(root, twenty(tmp_path/'a'), tmp_path/'locked/t.h5', 0, 65534)
    assert done.returncode == 3 and 'Permission' in done.stdout, done.stdout + done.stderr

def test_another_job_or_source_starts_over(tmp_path):
    "A journal that fits neither its file nor the job is not believed."
    source = twenty(tmp_path/'a'); names = sorted(p.name for p in source.iterdir())
    pack(source, names, tmp_path/'t.h5'); expected = (tmp_path/'t.h5').read_bytes()
    for content in (b'', b'junk\n', b'[1]\n', b'[[1,2],3,"zz"]\n', b'\xff\xfe\n', b'{"a":1}\n'):
        (tmp_path/'t.h5.journal').write_bytes(content)
        (tmp_path/'t.h5.partial').write_bytes(expected[:-100])
        pack(source, names, tmp_path/'t.h5')
        assert (tmp_path/'t.h5').read_bytes() == expected and not (tmp_path/'t.h5.journal').exists()
