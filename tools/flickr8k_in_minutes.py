"""From the downloaded archives of Flickr8k to test scores, each stage timed: data/results/speed/flickr8k.json.

    SHOWATTEND_DATA=… python tools/flickr8k_in_minutes.py WORK

The settings were found on the validation split; the length penalty, too.
"""
import json, shlex, subprocess, sys, time
from pathlib import Path
from showattend.reproduce import environment, save_record

OUT = Path(__file__).resolve().parents[1]/'data/results/speed/flickr8k.json'
STAGES = dict(
    prepare='prepare flickr8k --out {0}/flickr8k.h5 --size 256',
    encode='encode {0}/flickr8k.h5 --out {0}/mobilenet_v2.h5 --encoder mobilenet_v2 --precision bfloat16',
    train='train {0}/mobilenet_v2.h5 --out {0}/soft --epochs 8 --precision bfloat16 --seed 0',
    evaluate='evaluate {0}/soft/model {0}/mobilenet_v2.h5 --split test --length-penalty 0.6 -o {0}/test.json')

def main(work: str):
    where, seconds, commands = environment(), {}, {}
    Path(work).mkdir(parents=True, exist_ok=True)
    for name, stage in STAGES.items():
        words, start = stage.format(work).split(), time.perf_counter()
        subprocess.run([sys.executable, '-c', 'from showattend.cli import main; main()', *words], check=True)
        seconds[name] = round(time.perf_counter() - start, 1)
        commands[name] = 'showattend ' + stage.format('runs')
    test = json.loads(Path(work, 'test.json').read_text())
    history = json.loads(Path(work, 'soft/run.json').read_text())['history']
    save_record(OUT, dict(command='python ' + shlex.join([sys.argv[0], 'runs']), environment=where, stages=commands,
                          seconds=seconds, minutes=round(sum(seconds.values()) / 60, 2), seed=0,
                          epochs=[round(e['seconds'], 1) for e in history], scores=test['scores']))

if __name__ == '__main__': main(*sys.argv[1:])
