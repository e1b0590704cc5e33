"""A packing run that is killed at any moment is resumed to the same file, byte for byte."""
import hashlib, os, random, signal, subprocess, sys, time
from pathlib import Path
import numpy as np
import pytest
from PIL import Image

SCRIPT = '''
import os, random, signal, sys, time
from pathlib import Path
from showattend.captions import CaptionedImage
from showattend import images
source, out, kills = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
records = [CaptionedImage(p.name, p.name, ["a thing"], "train") for p in sorted(source.iterdir())]
decode = images.decode_array
def pack():
    images.pack_images(records, source, out, 32, workers=2)
def child(slow):                    # forked: torch is imported once for all runs
    pid = os.fork()
    if pid: return pid
    code = 1
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        if slow:
            def dawdle(*args):
                time.sleep(.0015)
                return decode(*args)
            images.decode_array = dawdle
        pack()
        code = 0
    finally: os._exit(code)
assert os.waitpid(child(False), 0)[1] == 0
expected, rng, resumed = out.read_bytes(), random.Random(0), 0
started = time.perf_counter(); assert os.waitpid(child(True), 0)[1] == 0
duration = time.perf_counter() - started
killed = finished = 0
out.unlink()
while killed < kills:
    pid = child(True)
    time.sleep(rng.random() * duration * .6)
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        killed += 1
        resumed += Path(str(out) + ".journal").exists()
    if rng.random() < .4 or not os.WIFSIGNALED(status):
        assert os.waitpid(child(False), 0)[1] == 0
        assert out.read_bytes() == expected, f"another file after {killed} kills"
        assert sorted(p.name for p in out.parent.iterdir()) == [out.name]
        out.unlink()
        finished += 1
assert os.waitpid(child(False), 0)[1] == 0 and out.read_bytes() == expected
print(killed, finished, resumed)
'''

@pytest.mark.skipif(not hasattr(os, 'fork'), reason='needs fork')
def test_fifty_kills_change_no_byte(tmp_path, root):
    (tmp_path/'photos').mkdir()
    rng = np.random.default_rng(0)
    for k in range(300):
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), 'uint8')).save(tmp_path/f'photos/{k:03}.jpg')
    for k in (20, 150): (tmp_path/f'photos/{k:03}.jpg').write_bytes(b'damaged')     # failures resume, too
    (tmp_path/'out').mkdir()
    done = subprocess.run([sys.executable, '-c', SCRIPT, tmp_path/'photos', tmp_path/'out/a.h5', '50'],
                          capture_output=True, text=True, env={**os.environ, 'PYTHONPATH': str(root)}, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    killed, finished, resumed = map(int, done.stdout.split())
    assert killed == 50 and finished >= 5 and resumed >= 25
