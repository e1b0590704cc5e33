#!/bin/sh
# Trains the bundled captioner for the scenes, measures it on held-out ones, and records both.
set -e
cd "$(dirname "$0")/.."
showattend=.venv/bin/showattend run=runs/scenes
$showattend prepare scenes --out $run/scenes.h5 --count 20000
$showattend train $run/scenes.h5 --out $run/soft --epochs 10 --learning-rate 0.002 --label-smoothing 0 \
  --dropout 0.1 --hidden-size 192 --attention-size 128 --embedding-size 96 --precision bfloat16 --ema-decay 0.999 --seed 0
.venv/bin/python -c "from showattend import Captioner
Captioner.from_pretrained('$run/soft/model').save_pretrained('showattend/pretrained/scenes', half=True)"
$showattend evaluate scenes $run/scenes.h5 --out data/results/scenes/test.json
cp $run/soft/run.json data/results/scenes/run.json
