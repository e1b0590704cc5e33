"""Packing, its archives and its journal: what would be too long for the chapter."""
import pickle, tarfile, tempfile, unittest.mock, zipfile
import io
from pathlib import Path
import h5py
import numpy as np
import torch
from PIL import Image
from showattend.captions import *
from showattend.images import *
from showattend.scenes import make_scenes
from test_images import message, scene_files, zip_folder      # the chapter's own helpers

def archives(tmp, count=3):
    "The same scenes as a folder, a zip, a tar and a compressed tar; with their arrays and records."
    pixels, records = scene_files(Path(tmp)/'photos', count)
    zip_folder(Path(tmp)/'photos', Path(tmp)/'photos.zip')
    for ending in ('.tar', '.tar.gz'):
        with tarfile.open(Path(tmp)/f'photos{ending}', f'w:{ending[5:]}') as t:
            t.add(Path(tmp)/'photos', 'photos')
    sources = [Path(tmp)/f'photos{e}' for e in ('', '.zip', '.tar', '.tar.gz')]
    return pixels, records, sources

def fill(path, stop=None):
    "Ten rows of numbers, in blocks of three; `stop` raises before that block."
    with new_rows(path, 'images', (10, 3, 2, 2), 'uint8', {'a': 1}) as rows:
        for k in range(0, 10, 3):
            todo = [i for i in range(k, min(k + 3, 10)) if not rows.done[i]]
            if k == stop: raise KeyboardInterrupt
            if todo: rows.write(todo, np.full((len(todo), 3, 2, 2), k, 'uint8'), {k: 'why'})
        failed = dict(sorted(rows.failed.items()))
        rows.finish(make_scenes(10, size=32)[1], {'failed': failed})
    return Path(path).read_bytes()

def packed_scenes(folder, count=5):
    "A small file of images, with its path."
    pixels, records = make_scenes(count, size=32)
    with new_hdf5(Path(folder)/'images.h5', records, size=32) as f: f['images'] = pixels
    return Path(folder)/'images.h5', pixels

class TinyEncoder(torch.nn.Module):
    "Patches of 16×16 pixels to 8 random features each, and a dropout that must not be active."
    identity = {'name': 'tiny'}
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 16, 16), torch.nn.Dropout(.5))

    def forward(self, images):  # (I, 3, H, W) uint8 -> (I, P, 8)
        return self.layers(images.float() / 255).flatten(2).transpose(1, 2)

def test_all_eight_exif_orientations():
    image = Image.fromarray(np.arange(18, dtype='uint8').reshape(2, 3, 3))
    undo = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
            4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
            6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_270}
    for tag, turn in undo.items():
        stored = image.transpose(turn)
        stored.getexif()[0x0112] = tag
        assert (np.asarray(to_rgb(stored)) == np.asarray(image)).all(), tag

def test_crop_and_pad_keep_circles_round():
    wide = Image.new('RGB', (120, 40), 'red')
    wide.paste('blue', (40, 0, 80, 40))                 # a square in the middle, edge to edge
    assert (to_array(wide, 20, 'crop')[2] > 200).mean() > .9
    padded = to_array(wide, 30, 'pad')
    assert (padded[:, 0, 0] == PADDING).all() and (padded[2, 10:20, 11:19] > 200).all()

def test_a_draft_is_close_to_the_full_picture_and_absent_where_it_saves_nothing():
    image = Image.fromarray(make_scenes(1)[0][0].transpose(1, 2, 0))
    image.resize((1600, 1200)).save(content := io.BytesIO(), 'JPEG')
    for mode in RESIZES:
        full = to_array(open_image(content.getvalue()), 128, mode).astype(int)
        assert abs(full - decode_array(content.getvalue(), 'x', 128, mode)).mean() < 1
    image.save(content := io.BytesIO(), 'JPEG')
    full = to_array(open_image(content.getvalue()), 96)
    assert (full == decode_array(content.getvalue(), 'x', 96)).all()

def test_folder_and_zip_and_tar_read_alike():
    with tempfile.TemporaryDirectory() as tmp:
        _, records, sources = archives(tmp)
        names = [im.path for im in records]
        readers = [ImageFiles(source) for source in sources]
        assert all(files.check(names) is None for files in readers)
        assert len({tuple(files.read(names)) for files in readers}) == 1
        assert sorted(readers[3].order(names)) == [0, 1, 2]

def test_a_missing_folder_and_broken_archives():
    with tempfile.TemporaryDirectory() as tmp:
        assert 'There is no' in message(ImageFiles, Path(tmp)/'nowhere')
        for name in ('a.zip', 'a.tar', 'a.tgz'):
            (Path(tmp)/name).write_text('no archive')
            assert "can't be read as a" in message(ImageFiles, Path(tmp)/name)

def test_what_is_missing_is_named():
    with tempfile.TemporaryDirectory() as tmp:
        assert 'holds nothing' in message(ImageFiles(tmp).check, ['1.jpg'])
        assert 'leads out of its folder' in message(ImageFiles(tmp).check, ['../1.jpg'])
        (Path(tmp)/'2.jpg').touch()
        told = message(ImageFiles(tmp).check, ['1.jpg', '2.jpg'])
        assert "lacks 1 of the 2 images, first '1.jpg'; it holds 2.jpg" in told

def test_two_programs_can_not_write_the_same_file():
    _, records = make_scenes(1, size=32)
    with tempfile.TemporaryDirectory() as tmp:
        with new_hdf5(Path(tmp)/'a.h5', records):
            second = new_hdf5(Path(tmp)/'a.h5', records)
            assert 'another program is writing it' in message(second.__enter__)
        assert [p.name for p in Path(tmp).iterdir()] == ['a.h5']    # the first one got through

def test_a_resumed_file_is_the_same_to_the_byte():
    with tempfile.TemporaryDirectory() as tmp:
        whole = fill(Path(tmp)/'a.h5')
        for stop in (0, 3, 6, 9):
            try: fill(Path(tmp)/'b.h5', stop)
            except KeyboardInterrupt: pass
            assert fill(Path(tmp)/'b.h5') == whole
        assert {p.name for p in Path(tmp).iterdir()} == {'a.h5', 'b.h5'}

def test_a_finish_that_was_killed_is_taken_back():
    with tempfile.TemporaryDirectory() as tmp:
        whole = fill(Path(tmp)/'a.h5')
        with unittest.mock.patch('os.replace', side_effect=KeyboardInterrupt):
            try: fill(Path(tmp)/'b.h5')
            except KeyboardInterrupt: pass
        assert fill(Path(tmp)/'b.h5') == whole

def test_a_journal_that_was_cut_off_in_a_line():
    with tempfile.TemporaryDirectory() as tmp:
        whole = fill(Path(tmp)/'a.h5')
        try: fill(Path(tmp)/'b.h5', 9)
        except KeyboardInterrupt: pass
        journal = Path(tmp)/'b.h5.journal'
        journal.write_bytes(journal.read_bytes()[:-9])
        assert fill(Path(tmp)/'b.h5') == whole

def test_every_source_gives_the_same_rows():
    with tempfile.TemporaryDirectory() as tmp:
        pixels, records, sources = archives(tmp, 40)
        for source in sources:
            came = pack_images(records, source, Path(tmp)/'a.h5', size=32, workers=3)
            assert came == Packed(40, []) and (read_hdf5(Path(tmp)/'a.h5')[0] == pixels).all()

def test_many_broken_images_stop_the_packing():
    with tempfile.TemporaryDirectory() as tmp:
        _, records = scene_files(tmp, 40)
        for im in records[:11]: (Path(tmp)/im.path).write_bytes(b'')
        assert "11 of 40 photos can't" in message(pack_images, records, tmp, Path(tmp)/'a.h5', 32)
        assert not list(Path(tmp).glob('a.h5*'))
        told = message(pack_images, records[:2], tmp, Path(tmp)/'a.h5', 32)
        assert '2 of 2' in told and records[0].path in told

def test_mapped_rows_travel_as_an_address():
    with tempfile.TemporaryDirectory() as tmp:
        file, pixels = packed_scenes(tmp)
        rows = read_hdf5(file)[0]
        assert len(pickle.dumps(rows)) < 500 and (pickle.loads(pickle.dumps(rows)) == pixels).all()
        part = rows[1:3]
        assert type(part) is np.ndarray and (pickle.loads(pickle.dumps(part)) == pixels[1:3]).all()
        assert (pickle.loads(pickle.dumps(rows.T)) == pixels.T).all()

def test_compressed_rows_can_not_be_mapped():
    _, records = make_scenes(1, size=32)
    with tempfile.TemporaryDirectory() as tmp:
        with new_hdf5(file := Path(tmp)/'a.h5', records) as f:
            f.create_dataset('images', data=[[1]], compression='gzip')
        assert 'compressed or written in pieces' in message(read_hdf5, file)

def test_what_can_not_be_encoded_ends_in_a_sentence():
    with tempfile.TemporaryDirectory() as tmp:
        (source, _), out, encoder = packed_scenes(tmp, 1), Path(tmp)/'f.h5', TinyEncoder()
        assert "not 'bf16'" in message(pack_features, source, out, encoder, precision='bf16')
        assert "can't hold 0" in message(pack_features, source, out, encoder, batch_size=0)
        pack_features(source, out, encoder)
        assert 'holds features already' in message(pack_features, out, Path(tmp)/'g.h5', encoder)
