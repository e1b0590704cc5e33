"""Published checkpoints on the command line, and about a hundred files that should not be let in."""
import io, json, os, pickle, random, struct, sys, types, zipfile
from collections import OrderedDict
from pathlib import Path
import pytest
import torch
from torch import nn
from typer.testing import CliRunner
from showattend.captioner import Captioner
from showattend.captions import InputError
from showattend.cli import app
from showattend.published import (MAGIC, Made, Place, Storage, check_name, check_place, import_captioner,
                                  named_places, pooled_grid, read_checkpoint, read_program)
from showattend.scenes import draw_scene, make_scene
from test_published import CLASSES, WORDMAP, Calls, Thing, attacks, known_as, originals, publish

# ---- the command

def test_from_a_published_checkpoint_to_a_caption(run, tmp_path):
    publish(tmp_path/'BEST.pth.tar', 'tutorial', newer=False)
    draw_scene(make_scene(5, 1), 64).save(tmp_path/'scene.png')
    code, text = run('import', 'BEST.pth.tar', '--word-map', 'WORDMAP_tiny.json', '--out', 'own', '--image-size', 64)
    assert code == 0 and 'resnet18' in text and '14×14' in text and '21 words' in text and 'wrote own' in text
    code, text = run('caption', 'scene.png', '--model', 'own')
    assert code == 0 and set(text.split()) <= set(WORDMAP) and text.strip()
    about = Captioner.from_pretrained(tmp_path/'own').about
    assert about['epoch'] == 7 and about['file'] == 'BEST.pth.tar' and 'showattend import' in about['command']

def call(*words):
    "The sentence in which the command ends."
    found = CliRunner().invoke(app, ['import', *map(str, words)])
    assert found.exit_code and (found.exception is None or isinstance(found.exception, (InputError, SystemExit))), found.exception
    return f'{found.output}{found.exception}'

def test_a_wrong_call_ends_in_a_sentence(tmp_path):
    path, wordmap = publish(tmp_path/'x.pth.tar', 'tutorial', False)
    out = ['--out', tmp_path/'own']
    assert 'word-map' in call(path, *out)
    assert 'There is no' in call(path, '--word-map', tmp_path/'none.json', *out)
    assert 'There is no' in call(tmp_path/'none.pth', '--word-map', wordmap, *out)
    assert 'is a folder' in call(tmp_path, '--word-map', wordmap, *out)
    assert 'image-size' in call(path, '--word-map', wordmap, *out, '--image-size', 'large')
    assert 'image-size' in call(path, '--word-map', wordmap, *out, '--image-size', 0)
    assert not (tmp_path/'own').exists()

@pytest.mark.parametrize('newer', [True, False])
def test_a_malicious_checkpoint_is_refused_and_runs_nothing(tmp_path, newer):
    canary = tmp_path/'canary'
    for evil in (Calls(os.system, f'touch {canary}'), Calls(eval, f'open({str(canary)!r}, "w")')):
        for changes in (dict(epoch=evil), dict(encoder=evil), dict(decoder_optimizer={'state': {0: [evil]}})):
            path, wordmap = publish(tmp_path/'x.pth.tar', 'caoanjia', False, newer, **changes)
            said = call(path, '--word-map', wordmap, '--out', tmp_path/'own')
            assert 'nothing in it has been run' in said and ('.system' in said or '.eval' in said)
            assert not canary.exists() and not (tmp_path/'own').exists()
            torch.load(path, weights_only=False)
            assert canary.exists(), 'this is no attack'
            canary.unlink()

# ---- what doesn't fit

def complaint(path, wordmap):
    with pytest.raises(InputError) as e: import_captioner(path, wordmap, 64)
    return str(e.value)

def test_a_word_map_that_does_not_fit(tmp_path):
    path, wordmap = publish(tmp_path/'x.pth.tar', 'tutorial', False)
    wordmap.write_text(json.dumps({w: i for i, w in enumerate(['<pad>', '<unk>', '<start>', '<end>', 'a'])}))
    said = complaint(path, wordmap)
    assert 'has 5 words' in said and '21 rows' in said

@pytest.mark.parametrize('name, part, said', [
    ('fc.bias', slice(5), 'output.bias is (5,) and not (21,)'), ('decode_step.bias_ih', slice(1), 'differ'),
    ('decode_step.weight_ih', slice(9), 'gates'), ('embedding.weight', 0, 'must be matrices'), ('attention.full_att.weight', 0, 'score')])
def test_shapes_that_do_not_fit(tmp_path, name, part, said):
    state = originals('tutorial')[1].state_dict()
    assert said in complaint(*publish(tmp_path/'x.pth.tar', 'tutorial', False, decoder={**state, name: state[name][part]}))

def test_what_is_missing_is_named(tmp_path):
    encoder, decoder = (m.state_dict() for m in originals('tutorial'))
    less = {k: v for k, v in decoder.items() if 'f_beta' not in k}
    other = {k: v for k, v in encoder.items() if '.7.1.' not in k}
    for changes, said in [(dict(decoder=less), 'lacks f_beta.weight, f_beta.bias'),
                          (dict(decoder={'lstm.weight': torch.ones(2)}), 'Found: decoder.lstm.weight'),
                          (dict(decoder=None), 'Found: no decoder'), (dict(encoder=other), 'none of: resnet'),
                          (dict(encoder={'eff.weight': torch.ones(2)}), 'holds eff with 1 tensors'), (dict(encoder=None), 'no encoder')]:
        assert said in complaint(*publish(tmp_path/'x.pth.tar', 'tutorial', False, **changes))

def test_files_of_another_kind_are_named(tmp_path):
    path, wordmap = publish(tmp_path/'x.pth.tar', 'tutorial', False)
    whole = path.read_bytes()
    zipfile.ZipFile(other := io.BytesIO(), 'w').writestr('a.txt', 'a')
    for content, said in [(b'', 'no file that torch'), (b'\x89HDF', 'no file that torch'), (whole[:90_000], 'zip'),
                          (bytes(257) + b'ustar', 'tar file'), (pickle.dumps({'a': 1}, 2), 'not one that torch.save wrote'),
                          (pickle.dumps(MAGIC, 2) * 3, 'another version'), (pickle.dumps(MAGIC, 2), 'damaged'), (other.getvalue(), 'zip')]:
        path.write_bytes(content)
        assert said in complaint(path, wordmap), content[:9]
    publish(path, 'tutorial', False, newer=False)
    path.write_bytes(path.read_bytes()[:-99])
    assert 'cut off' in complaint(path, wordmap)

def test_a_grid_is_read_from_the_module_or_taken_from_the_repository():
    pool = Made('torch.nn.modules.pooling.AdaptiveAvgPool2d', (), {'output_size': (7, 9)})
    encoder = Made('models.Encoder', (), {'_modules': {'adaptive_pool': pool}})
    parallel = Made('torch.nn.parallel.data_parallel.DataParallel', (), {'_modules': {'module': encoder}})
    assert pooled_grid(encoder, None) == pooled_grid(parallel, None) == (7, 9)
    assert pooled_grid({}, (14, 14)) == (14, 14) and pooled_grid(Made('models.Encoder', (), {}), (14, 14)) is None
    for wrong in ((10 ** 9, 10 ** 9), 0, 'x', (1, 2, 3), None, nested(5000)):
        pool.state['output_size'] = wrong
        with pytest.raises(InputError, match='pools to'): pooled_grid(encoder, None)

# ---- pickles

def test_names_that_a_captioner_needs_and_names_that_it_does_not():
    for name in ('torch.FloatStorage', 'torch.cuda.HalfStorage', 'models.DecoderWithAttention', 'model_vgg19.EncoderCNN',
                 'torch.nn.modules.conv.Conv2d', 'torch.optim.adam.Adam', 'torch.nn.backends.thnn._get_thnn_function_backend'):
        assert check_name(name) == name
    for name in ('os.system', 'builtins.eval', '__builtin__.getattr', 'torch.load', 'torch.hub.load', 'models.os.system',
                 'models.Encoder.__init__.__globals__', 'torch._utils._import_dotted_name', 'torch.nn.modules.conv.Conv2d.__init__',
                 'torch.nn.modules.torch.load', 'models.encoder', 'torch.nn.modules.conv.Cönv', 'torch.FloatStorage\n',
                 'xtorch.FloatStorage', '', 'torch.storage._load_from_bytes', 'torch.jit.load', 'copyreg._reconstructor',
                 'numpy.core.multiarray.scalar', 'torch._utils._rebuild_wrapper_subclass', 'builtins.dict.__init__'):
        with pytest.raises(InputError, match='no captioner needs'): check_name(name)

@pytest.fixture
def watched():
    "Notes what Python is asked to do: imports, compiling, running, opening; only while `watched.on` is true."
    class Watch: on, events = False, []
    def hook(event, args):
        if Watch.on and event.split('.')[0] in ('import', 'exec', 'compile', 'os', 'subprocess', 'pickle', 'socket', 'open', 'ctypes'):
            Watch.events.append((event, args))
    sys.addaudithook(hook)
    yield Watch
    Watch.on = False            # a hook can't be taken away

def test_reading_asks_python_for_nothing(tmp_path, watched):
    contents = list(attacks(tmp_path/'canary').items())
    for name, content in contents:
        watched.on = True
        try: read_program(io.BytesIO(content))
        except InputError: watched.on = False
        else: raise AssertionError(name)
        finally: watched.on = False
    assert len(contents) >= 10 and watched.events == []
    watched.on = True
    try: pickle.loads(contents[1][1])
    finally: watched.on = False
    assert {'pickle.find_class', 'open'} <= {event for event, _ in watched.events}       # the watch does see it

def test_a_whole_checkpoint_is_read_by_opening_one_file(tmp_path, watched):
    for newer in (True, False):
        path, _ = publish(tmp_path/'x.pth.tar', 'caoanjia', True, newer)
        watched.on = True
        try: read_checkpoint(path)
        finally: watched.on = False
        kinds = {event for event, _ in watched.events}
        assert kinds == {'open'} and {str(args[0]) for event, args in watched.events} == {str(path)}, watched.events
        watched.events.clear()

def test_objects_with_a_state_of_evil_names_stay_notes():
    evil = Thing()
    vars(evil).update({'__class__': 1, '__setstate__': 2, '__dict__': 3, 'maker': 'os.system'})
    with known_as('models', Encoder=Thing): content = pickle.dumps(evil, 2)
    note, _ = read_program(io.BytesIO(content))
    assert type(note) is Made and note.maker == 'models.Encoder' and note.state['maker'] == 'os.system'

def test_depth_and_damage_end_in_an_answer():
    deep, _ = read_program(io.BytesIO(b'\x80\x02' + b']' * 100_000 + b'a' * 99_999 + b'.'))
    assert type(deep) is list
    start, n = b'\x80\x02ctorch.nn.parameter\nParameter\nq\x00', 100_000
    calls, _ = read_program(io.BytesIO(start + b'h\x00' * n + b')' + b'R\x85' * n + b'.'))
    assert named_places({'a': calls[0], 'b': calls, 'c': deep}) == {}
    with pytest.raises(InputError, match='outside'): check_place(Place(Storage('0', torch.float32, 4), 0, (nested(5000),), (1,)))
    called = b'\x80\x02' + b'cmodels\nEncoder\n(' * 9 + b't)R' * 9 + b'.'
    for content in (b'', b'.', b'\x80\x02', b'X\xff\xff\xff\x7fshort.', b'h\x07.', b't.', b'0.', called, b'\x80\x02}(K\x01u.',
                    b'cmodels\nEncoder', b'\xff\xfe', b'\x80\x02X\x02\x00\x00\x00\xff\xff.', b'(I1\n.', b'\x8b\xff\xff\xff\xff.'):
        with pytest.raises(InputError): read_program(io.BytesIO(content))

def test_keys_that_fall_into_one_slot_take_no_time():
    slot = 2 ** 61 - 1                             # Python's integers are hashed modulo this
    same = b''.join(b'\x8a\x0c' + (slot * k).to_bytes(12, 'little') + b'N' for k in range(200_000))
    assert read_program(io.BytesIO(b'\x80\x02}(' + same + b'u.'))[0] == {}

def test_modules_without_an_end_are_refused():
    inside = Made('models.Encoder', ())
    inside.state = {'_modules': {'again': inside}}
    wide = Made('models.Encoder', ())
    for _ in range(12): wide = Made('models.Encoder', (), {'_modules': {str(k): wide for k in range(9)}})
    for tree in (inside, wide):
        with pytest.raises(InputError, match='without an end'): named_places(tree)

# ---- forged files

class Ref:
    "Becomes a reference to a storage, with whatever is claimed of it."
    def __init__(self, key='0', numel=4, kind=torch.FloatStorage): self.pid = 'storage', kind, key, 'cpu', numel

def tensor(ref=None, offset=0, shape=(2, 2), stride=(2, 1), call=torch._utils._rebuild_tensor_v2):
    return Calls(call, ref or Ref(), offset, shape, stride, False, OrderedDict())

class Forger(pickle.Pickler):
    def persistent_id(self, thing): return thing.pid if isinstance(thing, Ref) else None

def forged(path, decoder, data={'data/0': bytes(16)}, packing=zipfile.ZIP_STORED, root='archive/'):
    "A file of the newer format with any content."
    Forger(program := io.BytesIO(), 2).dump({'decoder': decoder})
    with zipfile.ZipFile(path, 'w', packing) as z:
        for name, content in {'data.pkl': program.getvalue(), **data}.items(): z.writestr(root + name, content)
    return path

def test_a_forged_file_that_is_in_order_is_read(tmp_path):
    found = read_checkpoint(forged(tmp_path/'x', {'a': tensor()})).tensors
    assert torch.equal(found['decoder.a'], torch.zeros(2, 2))

def nested(depth):
    "Lists in lists."
    inner = []
    for _ in range(depth): inner = [inner]
    return inner

BIG = Ref('1', 1000)
FORGERIES = {
    'a storage that is not there': ({'a': tensor(Ref('7'))}, {}, 'holds no archive/data/7'),
    'a storage outside of the file': ({'a': tensor(Ref('../../../../etc/passwd'))}, {}, 'holds no'),
    'a storage that is too small': ({'a': tensor(Ref(numel=5))}, {}, 'not 20'),
    'a storage that is huge': ({'a': tensor(Ref(numel=10 ** 12))}, {}, 'more numbers than the file'),
    'a storage of negative size': ({'a': tensor(Ref(numel=-4))}, {}, 'a storage'),
    'two storages of one name': ({'a': tensor(), 'b': tensor(Ref(numel=3))}, {}, 'two storages'),
    'one storage for many': ({str(k): tensor(BIG, 0, (1000,), (1,)) for k in range(99)}, {'data/1': bytes(4000)}, 'more numbers than the file'),
    'an overlap of many': ({str(k): tensor(Ref(str(k), 200)) for k in range(99)}, {}, 'more numbers than the file'),
    'a storage of a module': ({'a': tensor(Ref(kind=OrderedDict))}, {}, 'a storage'),
    'a tensor out of bounds': ({'a': tensor(offset=1)}, {}, 'outside'),
    'a tensor blown up': ({'a': tensor(shape=(10 ** 6, 10 ** 6), stride=(0, 0))}, {}, 'outside'),
    'a tensor of 2**80 numbers': ({'a': tensor(shape=(2 ** 40, 2 ** 40), stride=(0, 0))}, {}, 'outside'),
    'a tensor that goes back': ({'a': tensor(offset=3, stride=(-2, -1))}, {}, 'outside'),
    'a tensor with a text for its size': ({'a': tensor(shape=('2', '2'))}, {}, 'outside'),
    'a tensor of a list': ({'a': Calls(torch._utils._rebuild_tensor_v2, [1.], 0, (1,), (1,))}, {}, 'does not'),
    'a tensor of nothing': ({'a': Calls(torch._utils._rebuild_tensor_v2)}, {}, 'does not'),
    'a numpy array': ({'a': Calls(torch._utils._rebuild_device_tensor_from_numpy, [1.], 'f', 'cpu', False)}, {}, 'no captioner needs'),
    'a subclass': ({'a': Calls(torch._utils._rebuild_wrapper_subclass, 1)}, {}, 'no captioner needs'),
    'numbers of another machine': ({'a': tensor()}, {'byteorder': b'big'}, 'first byte last'),
    'two programs': ({'a': tensor()}, {'deep/data.pkl': b'N.'}, 'not one that torch.save wrote')}

@pytest.mark.parametrize('name', FORGERIES)
def test_a_forgery_is_refused(tmp_path, name):
    decoder, data, said = FORGERIES[name]
    with pytest.raises(InputError, match=said): read_checkpoint(forged(tmp_path/'x', decoder, {'data/0': bytes(16), **data}))

def test_a_zip_bomb_is_not_unpacked(tmp_path):
    bomb = forged(tmp_path/'x', {'a': tensor(Ref(numel=10 ** 7), shape=(1,), stride=(1,))}, {'data/0': bytes(4 * 10 ** 7)}, zipfile.ZIP_DEFLATED)
    assert bomb.stat().st_size < 1e5
    with pytest.raises(InputError, match='compressed'): read_checkpoint(bomb)

def test_a_program_that_is_too_long_is_not_read(tmp_path):
    path = forged(tmp_path/'x', ['x' * 10 ** 7])
    with pytest.raises(InputError, match='bytes, not'): read_checkpoint(path)

def test_the_older_format_is_guarded_in_all_of_its_five_pickles(tmp_path):
    path, canary = tmp_path/'x', tmp_path/'canary'
    good = [MAGIC, 1001, {'little_endian': True}, {'decoder': {}}, []]
    def written(parts): path.write_bytes(b''.join(pickle.dumps(part, 2) for part in parts)); return path
    assert read_checkpoint(written(good)).tensors == {}
    for k in range(5):
        evil = [Calls(os.system, f'touch {canary}') if i == k else part for i, part in enumerate(good)]
        with pytest.raises(InputError): read_checkpoint(written(evil))
        assert not canary.exists()
    for numel, said in (2 ** 63, 'a storage'), (2 ** 40, 'cut off'):
        Forger(program := io.BytesIO(), 2).dump({'decoder': {k: tensor(Ref(k, numel)) for k in 'ab'}})
        head, keys = [pickle.dumps(part, 2) for part in good[:3]], pickle.dumps(['a', 'b'], 2)
        path.write_bytes(b''.join([*head, program.getvalue(), keys, struct.pack('<Q', numel), bytes(99)]))
        with pytest.raises(InputError, match=said): read_checkpoint(path)
    for k, part in [(0, 1), (1, 7), (2, {'little_endian': False}), (2, []), (4, ['0']), (4, [0]), (4, 'x'), (4, None)]:
        with pytest.raises(InputError): read_checkpoint(written([part if i == k else p for i, p in enumerate(good)]))

def small(path, newer):
    with known_as('models', Encoder=Small):
        torch.save({'epoch': 1, 'encoder': Small(), 'decoder': {'w': torch.ones(3)}}, path, _use_new_zipfile_serialization=newer)
    return path.read_bytes()

class Small(nn.Module):
    def __init__(self): super().__init__(); self.resnet = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))

@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('newer', [True, False])
def test_damage_anywhere_ends_in_a_sentence_or_in_tensors(tmp_path, newer):
    whole, rng, refused = small(tmp_path/'x', newer), random.Random(0), 0
    for _ in range(500):
        content = bytearray(whole)
        for _ in range(rng.choice((1, 1, 3))): content[rng.randrange(len(content))] = rng.randrange(256)
        if rng.random() < .1: del content[rng.randrange(len(content)):]
        (tmp_path/'y').write_bytes(content)
        try: found = read_checkpoint(tmp_path/'y').tensors
        except InputError: refused += 1
        else: assert all(isinstance(t, torch.Tensor) for t in found.values())
    assert 100 < refused < 500

# ---- files as PyTorch 0.4 wrote them

def old_save(tree, path):
    "The older format with that version's habits: storages of a GPU, classes by reference and with their source."
    storages, classes = {}, set()
    class Old(pickle.Pickler):
        def persistent_id(self, thing):
            if isinstance(thing, torch.storage.TypedStorage):
                key = str(thing._cdata)
                storages[key] = thing
                kind = getattr(torch.cuda, thing._pickle_storage_type())
                return 'storage', kind, key, 'cuda:0', thing.size(), None
            if isinstance(thing, type) and issubclass(thing, nn.Module) and thing not in classes:
                classes.add(thing)
                return 'module', thing, 'models.py', "import os; os.system('touch canary')"
    with open(path, 'wb') as f:
        for part in (MAGIC, 1001, {'protocol_version': 1001, 'little_endian': True}): pickle.dump(part, f, 2)
        Old(f, 2).dump(tree)
        pickle.dump(sorted(storages), f, 2)
        for key in sorted(storages):
            flat = torch.tensor([], dtype=storages[key].dtype).set_(storages[key])
            f.write(struct.pack('<q', len(flat)) + flat.numpy().tobytes())

@pytest.mark.filterwarnings('ignore')
def test_a_file_of_pytorch_0_4_is_read(tmp_path):
    encoder, decoder = originals('tutorial')
    def _get_thnn_function_backend(): raise AssertionError('called')
    class Backend:
        def __reduce__(self): return _get_thnn_function_backend, ()
    _get_thnn_function_backend.__module__ = 'torch.nn.backends.thnn'
    _get_thnn_function_backend.__qualname__ = '_get_thnn_function_backend'
    counters = [(m, m._buffers.pop('num_batches_tracked')) for m in encoder.modules() if 'num_batches_tracked' in m._buffers]
    for m in [*encoder.modules(), *decoder.modules()]: m._backend = Backend()
    try:
        fake = types.ModuleType('torch.nn.backends.thnn')
        fake._get_thnn_function_backend = _get_thnn_function_backend
        sys.modules['torch.nn.backends.thnn'] = fake
        with known_as(CLASSES['tutorial'][0], **CLASSES['tutorial'][1]):
            old_save({'epoch': 3, 'encoder': encoder, 'decoder': decoder}, tmp_path/'old.pth.tar')
    finally:
        del sys.modules['torch.nn.backends.thnn']
        for m in [*encoder.modules(), *decoder.modules()]: del m._backend
        for m, counter in counters: m._buffers['num_batches_tracked'] = counter
    (tmp_path/'WORDMAP_x.json').write_text(json.dumps(WORDMAP))
    ours = import_captioner(tmp_path/'old.pth.tar', tmp_path, 64)
    images = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        plain = encoder(ours.encoder.normalize(images)).flatten(1, 2)
        assert (ours.encoder(images) - plain).abs().max() < 1e-5 * plain.abs().max() and plain.std() > .1
    assert torch.equal(ours.decoder.gate.weight, decoder.f_beta.weight) and not Path('canary').exists()
