from __future__ import annotations
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

from showattend.captions import CaptionedImage, InputError, tokenize

COLORS = {
    'red': (208, 34, 50), 'orange': (238, 124, 34), 'yellow': (252, 220, 72), 'green': (28, 158, 108),
    'blue': (32, 98, 212), 'purple': (162, 76, 168), 'white': (252, 250, 244), 'black': (46, 44, 56)}
BROWN, CREAM, INK, PINK = (122, 82, 62), (255, 240, 208), (46, 44, 56), (240, 150, 150)
BEAK, GLASS, STEEL = (246, 158, 52), (255, 226, 140), (120, 122, 138)

def shade(
    color: tuple,   # red, green, blue, each 0..255
    factor: float,  # below 1 darker, above 1 lighter (2 is white)
) -> tuple:
    "The colour made darker or lighter."
    c = np.array(color, float)
    c = c * factor if factor <= 1 else c + (255 - c) * (factor - 1)
    return tuple(int(v) for v in c.round())

def accent(color): 
    "A neighbour of the colour for stripes and wings: darker where it is light, else lighter."
    light = np.dot(color, (.299, .587, .114)) > 130
    return shade(color, .84 if light else 1.24)

@dataclass(frozen=True)
class Shape:
    "One polygon (or, with a width, one line) of a drawing; x to the right, y down."
    points: tuple
    color: tuple
    width: float = 0

def poly(color, *points): return Shape(points, color)
def line(color, width, *points): return Shape(points, color, width)
def rect(color, x0, y0, x1, y1): return poly(color, (x0, y0), (x1, y0), (x1, y1), (x0, y1))

def oval(color, x, y, rx, ry, turn=0):
    "An ellipse around (x, y), turned by so many degrees clockwise."
    t, a = np.linspace(0, 2 * np.pi, 40, endpoint=False), np.deg2rad(turn)
    u, v = rx * np.cos(t), ry * np.sin(t)
    return poly(color, *zip(x + u * np.cos(a) - v * np.sin(a), y + u * np.sin(a) + v * np.cos(a)))

def curve(points, closed=True, steps=8):
    "A smooth line through the points (Catmull and Rom 1974)."
    p = np.array(points, float); n = len(p); t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    at = (lambda i: p[i % n]) if closed else (lambda i: p[min(max(i, 0), n - 1)])
    bits = []
    for i in range(n if closed else n - 1):
        a, b, c, d = at(i - 1), at(i), at(i + 1), at(i + 2)
        bits.append(.5 * (2*b + (c - a)*t + (2*a - 5*b + 4*c - d)*t**2 + (3*b - a - 3*c + d)*t**3))
    return [tuple(q) for q in np.concatenate(bits)] + ([] if closed else [tuple(p[-1])])

def blob(color, *points): return poly(color, *curve(points))
def bow(color, width, *points): return line(color, width, *curve(points, closed=False))

def eye(x, y, r=3.4): return [oval(COLORS['white'], x, y, r, r), oval(INK, x + r*.2, y, r*.62, r*.62)]
def shut(x, y, r=4.5, color=INK): return [bow(color, 2.2, (x - r, y - 1), (x, y + r*.6), (x + r, y - 1))]
def snore(x, y, s=8):
    "The z of a sleeper, on a bubble so that it shows by day and by night."
    return [oval(COLORS['white'], x + s/2, y + s/2, s*1.15, s*1.15),
            line(INK, 3, (x, y), (x + s, y), (x, y + s), (x + s, y + s))]

def draw_balloon(c, action):
    "A hot-air balloon with stripes and a basket."
    a = accent(c)
    return [oval(c, 50, 38, 40, 38), poly(c, (16, 58), (84, 58), (60, 86), (40, 86)),
            oval(a, 50, 38, 25, 38), poly(a, (29, 60), (71, 60), (56, 86), (44, 86)),
            oval(c, 50, 38, 9, 38), poly(c, (42, 60), (58, 60), (53, 86), (47, 86)),
            line(BROWN, 2, (41, 86), (43, 92)), line(BROWN, 2, (59, 86), (57, 92)),
            rect(BROWN, 40, 90, 60, 102), rect(shade(BROWN, 1.3), 40, 90, 60, 93)]

def draw_boat(c, action):
    "A sailing boat; hull and main sail carry the colour."
    jib = shade(c, .86) if c == COLORS['white'] else COLORS['white']
    return [line(BROWN, 4, (50, 0), (50, 74)), poly(PINK, (50, 0), (50, 9), (36, 4)),
            blob(c, (54, 10), (76, 34), (90, 62), (72, 64), (54, 64), (54, 36)),
            blob(jib, (46, 16), (46, 40), (46, 64), (30, 65), (16, 64), (34, 40)),
            poly(shade(c, .88), (0, 70), (100, 70), (94, 82), (82, 98), (18, 98), (6, 82)),
            rect(COLORS['white'], 3, 75, 97, 79)]

def draw_bird(c, action):
    "A round little bird, wings spread in flight or folded."
    return _bird_flying(c) if action == 'flying' else _bird_sitting(c)

def _bird_flying(c):
    a = accent(c)
    return [blob(shade(a, .9), (48, 46), (60, 8), (76, 0), (78, 24), (66, 50)),
            poly(a, (26, 56), (0, 44), (2, 58), (0, 70), (28, 66)), oval(c, 50, 60, 32, 21, 4),
            oval(c, 76, 46, 17, 16), poly(BEAK, (90, 40), (106, 48), (90, 53)), *eye(80, 43, 4.4),
            blob(a, (32, 58), (20, 24), (24, 4), (44, 22), (62, 56), (46, 64))]

def _bird_sitting(c):
    a = accent(c)
    return [line(BEAK, 3, (44, 80), (42, 96), (50, 96)), line(BEAK, 3, (56, 80), (55, 96), (63, 96)),
            poly(a, (22, 58), (0, 66), (2, 76), (30, 74)),
            blob(c, (56, 8), (76, 8), (86, 24), (78, 52), (62, 82), (36, 84), (18, 66), (34, 46), (46, 28)),
            poly(BEAK, (84, 18), (100, 26), (84, 33)), *eye(72, 22, 4.8),
            blob(a, (56, 42), (60, 62), (40, 74), (14, 72), (32, 54))]

def draw_tree(c, action):
    "A round tree; its crown carries the colour."
    a = accent(c)
    return [poly(BROWN, (41, 60), (59, 60), (63, 104), (37, 104)), line(BROWN, 5, (52, 74), (70, 56)),
            oval(c, 26, 48, 26, 25), oval(c, 74, 48, 26, 25), oval(c, 50, 30, 32, 30), oval(c, 50, 60, 28, 18),
            oval(a, 38, 24, 10, 7, -25), oval(a, 72, 42, 9, 6, 20), oval(a, 22, 46, 8, 6, -20), oval(a, 52, 56, 9, 5)]

def draw_house(c, action):
    "A house with a lit window; its walls carry the colour."
    roof = shade(BROWN, .8)
    return [rect(shade(roof, 1.15), 70, 4, 82, 34), rect(c, 10, 40, 90, 98),
            poly(roof, (0, 46), (50, 2), (100, 46)), oval(GLASS, 50, 30, 7, 7),
            rect(shade(c, .8), 10, 46, 90, 50), *_window(18, 58), *_window(68, 58),
            rect(roof, 42, 62, 58, 98), oval(GLASS, 54, 80, 1.8, 1.8)]

def _window(x, y, s=16):
    m = x + s / 2
    return [rect(COLORS['white'], x - 2, y - 2, x + s + 2, y + s + 2), rect(GLASS, x, y, x + s, y + s),
            line(COLORS['white'], 2, (m, y), (m, y + s)), line(COLORS['white'], 2, (x, y + s/2), (x + s, y + s/2))]

def _wool(c, y):
    "The curly coat of a sheep around height y."
    spots = [(20, 0), (30, -15), (48, -19), (66, -14), (78, 2), (68, 14), (48, 17), (30, 14)]
    curls = [bow(accent(c), 2.4, (x - 7, y + dy + 2), (x, y + dy - 4), (x + 6, y + dy + 1))
             for x, dy in ((34, -8), (54, -10), (44, 6), (64, 4))]
    return [oval(c, 48, y, 32, 20), *[oval(c, x, y + dy, 14, 12) for x, dy in spots], *curls]

def _face(c, x, y, lying=False):
    "A sheep's face with an ear, eyes shut when it lies down."
    f = CREAM if np.dot(c, (.3, .6, .1)) < 105 else (74, 62, 72)
    ink = INK if f == CREAM else CREAM
    look = shut(x + 3, y - 1, color=ink) if lying else eye(x + 4, y - 4)
    return [oval(shade(f, .85), x - 14, y - 8, 8, 4.5, 25), oval(f, x, y, 13, 15, -18), oval(c, x - 5, y - 13, 10, 7), *look]

def draw_sheep(c, action):
    "A sheep that stands, grazes or sleeps."
    legs = [rect((74, 62, 72), x, 62, x + 7, 92) for x in (26, 38, 56, 68)]
    if action == 'sleeping': return [*_wool(c, 62), *_face(c, 92, 70, True), *snore(78, 22, 9), *snore(94, 6, 7)]
    if action == 'grazing':
        tuft = [line((64, 128, 62), 3, (x, 92), (x + d, 76)) for x, d in ((98, -4), (104, 0), (109, 5))]
        return [*legs, *_wool(c, 46), *tuft, *_face(c, 94, 72)]
    return [*legs, *_wool(c, 46), *_face(c, 92, 34)]

def _wheel(x, y, r=13): return [oval(INK, x, y, r, r), oval(STEEL, x, y, r*.55, r*.55), oval(COLORS['white'], x, y, r*.2, r*.2)]

def draw_car(c, action):
    "A small round car; one that drives leaves lines and a puff behind."
    glass = (206, 232, 244)
    wind = [*[line(COLORS['white'], 3, (-10, y), (1, y)) for y in (20, 29, 38)],
            oval((236, 236, 240), -5, 76, 7, 6.5), oval((236, 236, 240), -9, 67, 5, 4.5)]
    return [*(wind if action == 'driving' else []),
            blob(c, (20, 40), (31, 8), (54, 1), (73, 10), (85, 40), (60, 50)),
            blob(c, (2, 46), (10, 38), (50, 36), (92, 40), (100, 52), (99, 74), (50, 80), (2, 76)),
            poly(glass, (29, 38), (35, 14), (51, 9), (51, 38)), poly(glass, (56, 38), (56, 9), (69, 15), (78, 38)),
            line(shade(c, .78), 2, (53, 42), (53, 70)), oval(GLASS, 95, 53, 4, 6), rect(STEEL, 0, 70, 100, 76),
            *_wheel(25, 78), *_wheel(76, 78)]

def draw_kite(c, action):
    "A diamond on the wind, with a tail of bows."
    a = accent(c)
    tail = [(42, 72), (30, 82), (46, 92), (34, 104)]
    bows = [poly(s, (x, y), (x - 9, y - 5), (x - 9, y + 5), (x, y), (x + 9, y - 5), (x + 9, y + 5))
            for (x, y), s in zip(tail[1:], (c, a, c))]
    return [poly(c, (50, 0), (88, 30), (42, 74), (8, 26)), poly(a, (50, 0), (88, 30), (48, 28)),
            poly(a, (48, 28), (42, 74), (8, 26)), line(shade(c, .72), 2, (50, 0), (42, 74)),
            line(shade(c, .72), 2, (8, 26), (88, 30)), bow(INK, 2, *tail), *bows]

def turned(shapes, angle, x=50, y=50):
    "The same shapes turned by so many degrees clockwise around (x, y)."
    c, s = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    spin = lambda p: (x + (p[0] - x)*c - (p[1] - y)*s, y + (p[0] - x)*s + (p[1] - y)*c)
    return [Shape(tuple(spin(p) for p in q.points), q.color, q.width) for q in shapes]

def _fish(c):
    a = accent(c)
    return [blob(a, (24, 50), (4, 22), (-2, 34), (6, 50), (-2, 68), (4, 80)), blob(a, (36, 34), (50, 6), (60, 12), (72, 30)),
            blob(a, (44, 68), (46, 92), (56, 90), (64, 66)), blob(c, (14, 50), (42, 24), (76, 26), (98, 50), (76, 74), (42, 76)),
            *[bow(a, 3.4, (x, 36), (x + 7, 50), (x, 64)) for x in (38, 52)], *eye(80, 44, 6),
            bow(INK, 2.4, (97, 55), (91, 59), (86, 58))]

def draw_fish(c, action):
    "A fish that swims with bubbles, or jumps out of a splash."
    foam = shade((96, 178, 206), 1.6)
    if action == 'swimming':
        return [*_fish(c), oval(foam, 98, 22, 5, 5), oval(foam, 104, 10, 3.6, 3.6), oval(foam, 92, 6, 2.8, 2.8)]
    drops = [oval(foam, x, y, 3.4, 5, t) for x, y, t in ((2, 70, -30), (50, 88, 30), (-8, 86, -40), (58, 72, 25))]
    return [*turned(_fish(c), -48), *drops, oval(foam, 22, 96, 34, 7), oval((120, 190, 214), 22, 97, 24, 3.4),
            blob(foam, (8, 96), (6, 82), (14, 90), (22, 78), (28, 90), (38, 82), (38, 96))]

def draw_moon(c, action):
    "A crescent with a sleepy face."
    outer = [(50 + 46*np.cos(v), 50 + 46*np.sin(v)) for v in np.linspace(-.36*np.pi, -1.64*np.pi, 40)]
    inner = [(77 + 38*np.cos(v), 50 + 38*np.sin(v)) for v in np.linspace(-1.58*np.pi, -.42*np.pi, 40)]
    return [poly(c, *outer, *inner), oval(accent(c), 16, 62, 5, 5), oval(accent(c), 34, 84, 4, 4),
            oval(accent(c), 22, 34, 3.4, 3.4), *shut(27, 48, 5), oval(PINK, 30, 61, 4, 3)]

def draw_star(c, action):
    "A five-pointed star with a smile."
    r = [(46 if k % 2 == 0 else 24, np.pi * (k / 5 - .5)) for k in range(10)]
    pts = [(50 + q * np.cos(t), 50 + q * np.sin(t)) for q, t in r]
    rays = [line(shade(c, 1.4), 3, (50 + 38*np.cos(t), 50 + 38*np.sin(t)), (50 + 47*np.cos(t), 50 + 47*np.sin(t)))
            for t in np.pi * (np.arange(5) / 2.5 - .3)]
    return [*rays, poly(c, *pts), oval(INK, 42, 48, 3, 4), oval(INK, 58, 48, 3, 4), bow(INK, 2.6, (43, 57), (50, 62), (57, 57))]

def _dog_head(c, x, y, lying=False):
    "A dog's head with a hanging ear."
    a = shade(accent(c), .9)
    return [oval(c, x, y, 17, 16), oval(c, x + 14, y + 6, 12, 9), oval(INK, x + 24, y + 2, 4, 3.4),
            blob(a, (x - 10, y - 12), (x - 2, y - 6), (x - 4, y + 14), (x - 14, y + 16), (x - 18, y + 2)),
            *(shut(x + 5, y - 1, color=a if c == INK else INK) if lying else eye(x + 5, y - 4, 4)), line(PINK, 3, (x + 12, y + 13), (x + 18, y + 13))]

def draw_dog(c, action):
    "A dog that sits, runs or sleeps."
    if action == 'sleeping':
        return [bow(c, 7, (14, 76), (2, 66), (6, 56)), blob(c, (8, 82), (14, 56), (46, 48), (76, 60), (84, 84), (44, 88)),
                oval(accent(c), 28, 82, 14, 6), *_dog_head(c, 78, 72, True), *snore(70, 30, 9), *snore(86, 14, 7)]
    if action == 'running':
        legs = [line(c, 8, p, q) for p, q in (((28, 60), (8, 84)), ((34, 62), (24, 88)), ((68, 60), (86, 84)), ((62, 62), (72, 88)))]
        return [bow(c, 6, (20, 46), (6, 36), (4, 22)), *legs, oval(c, 46, 52, 32, 17), *_dog_head(c, 82, 32),
                line(BEAK, 5, (66, 44), (76, 52))]
    return [bow(c, 7, (24, 84), (8, 80), (2, 64)), blob(c, (44, 34), (64, 44), (66, 92), (24, 94), (18, 72)),
            line(c, 9, (60, 54), (62, 94)), oval(accent(c), 34, 84, 12, 9), oval(c, 66, 93, 8, 4.5), oval(c, 42, 94, 10, 4.5),
            line(BEAK, 5, (42, 46), (64, 48)), *_dog_head(c, 54, 26)]

def _cat_head(c, x, y, lying=False):
    "A cat's head with pointed ears and whiskers."
    look = shut(x - 7, y) + shut(x + 7, y) if lying else eye(x - 7, y - 1, 4) + eye(x + 7, y - 1, 4)
    ears = [poly(c, (x + s*19, y - 2), (x + s*17, y - 25), (x + s*3, y - 14)) for s in (-1, 1)]
    pink = [poly(PINK, (x + s*15, y - 8), (x + s*14.5, y - 19), (x + s*8, y - 13)) for s in (-1, 1)]
    hair = [line(shade(STEEL, 1.3), 1.4, (x + s*10, y + 7), (x + s*24, y + 5 + d)) for s in (-1, 1) for d in (-2, 4)]
    return [*ears, *pink, oval(c, x, y, 20, 17), *look, poly(PINK, (x - 3, y + 5), (x + 3, y + 5), (x, y + 9)), *hair]

def draw_cat(c, action):
    "A cat that sits or sleeps."
    a = accent(c)
    if action == 'sleeping':
        return [oval(c, 46, 70, 40, 24), *[bow(a, 4, (x, 50), (x - 5, 60), (x - 2, 68)) for x in (28, 42)],
                bow(a, 8, (10, 80), (30, 92), (60, 90)), *_cat_head(c, 78, 68, True), *snore(78, 14, 9), *snore(93, 0, 7)]
    return [bow(c, 7, (66, 90), (88, 90), (92, 68), (84, 54)), blob(c, (50, 36), (66, 48), (72, 92), (50, 97), (28, 92), (34, 48)),
            *[bow(a, 4, (x, 60), (x + d, 68), (x, 76)) for x, d in ((35, 6), (65, -6))],
            oval(c, 41, 95, 9, 5), oval(c, 59, 95, 9, 5), line(a, 2, (50, 76), (50, 96)), *_cat_head(c, 50, 32)]

def draw_umbrella(c, action):
    "An open umbrella standing on its handle."
    a = accent(c)
    top = [(50 + 48*np.cos(t), 52 + 48*np.sin(t)) for t in np.linspace(-np.pi, 0, 25)]
    mid = [(50 + 19*np.cos(t), 52 + 48*np.sin(t)) for t in np.linspace(-np.pi, 0, 25)]
    scallops = lambda xs: [((x0 + x1) / 2 + (x1 - x0)/2*np.cos(t), 52 - 7*np.sin(t)) for x1, x0 in zip(xs, xs[1:]) for t in np.linspace(0, np.pi, 7)]
    return [bow(BROWN, 5, (50, 50), (50, 76), (50, 92), (57, 99), (64, 92)), line(BROWN, 4, (50, 0), (50, 8)),
            poly(c, *top, *scallops((98, 69, 31, 2))), poly(a, *mid, *scallops((69, 31)))]

def draw_flower(c, action):
    "A flower with six petals, a stem and two leaves."
    leaf = (52, 122, 66)
    petals = [oval(c, 50 + 22*np.cos(t), 32 + 22*np.sin(t), 16, 12, np.rad2deg(t)) for t in np.arange(6) * np.pi / 3]
    heart = BROWN if c == COLORS['yellow'] else GLASS
    return [bow(leaf, 5, (50, 40), (47, 72), (50, 100)), blob(leaf, (50, 92), (28, 88), (10, 68), (34, 74)),
            blob(leaf, (50, 86), (72, 82), (90, 62), (66, 68)), *petals, oval(heart, 50, 32, 12, 12),
            oval(shade(heart, .86), 50, 32, 6, 6)]

def draw_rocket(c, action):
    "A rocket under way, with a flame."
    a, w = accent(c), COLORS['white']
    body = [blob(BEAK, (38, 80), (62, 80), (58, 96), (50, 112), (42, 96)), blob(GLASS, (44, 80), (56, 80), (50, 98)),
            poly(a, (30, 50), (8, 80), (10, 90), (36, 76)), poly(a, (70, 50), (92, 80), (90, 90), (64, 76)),
            blob(c, (50, -4), (68, 22), (71, 56), (64, 80), (36, 80), (29, 56), (32, 22)),
            blob(a, (50, -4), (60, 12), (50, 16), (40, 12)), oval(w if c != w else STEEL, 50, 38, 11, 11), oval((120, 190, 226), 50, 38, 7.5, 7.5),
            rect(STEEL, 38, 77, 62, 82)]
    return turned(body, 42)

def draw_whale(c, action):
    "A round whale with a fountain."
    water, belly = shade((96, 178, 206), 1.5), shade(c, 1.5) if c != COLORS['white'] else shade(c, .86)
    return [bow(water, 4, (66, 24), (64, 8), (54, 2), (48, 10)), bow(water, 4, (66, 24), (68, 8), (78, 2), (84, 10)),
            blob(c, (20, 56), (4, 36), (-2, 22), (12, 22), (18, 30), (26, 20), (38, 24), (30, 42)),
            blob(c, (14, 54), (40, 40), (66, 26), (94, 36), (102, 62), (88, 84), (50, 88), (22, 76)),
            blob(belly, (34, 80), (60, 72), (101, 66), (88, 84), (56, 88)), *eye(84, 54, 4.4),
            bow(INK, 2.2, (101, 64), (92, 67), (86, 64)), blob(accent(c), (56, 66), (64, 66), (56, 84), (44, 82))]

def draw_penguin(c, action):
    "A penguin that stands or slides on its belly."
    w = COLORS['white'] if c != COLORS['white'] else shade(c, .88)
    foot = [oval(BEAK, 38, 101, 11, 4), oval(BEAK, 62, 101, 11, 4)]
    wings = [blob(accent(c), (24, 42), (10, 62), (4, 80), (20, 72)), blob(accent(c), (76, 42), (90, 62), (96, 80), (80, 72))]
    body = [blob(c, (50, 0), (68, 8), (74, 28), (82, 66), (70, 98), (50, 102), (30, 98), (18, 66), (26, 28), (32, 8)),
            blob(w, (50, 36), (66, 46), (70, 76), (50, 96), (30, 76), (34, 46)), oval(w, 42, 24, 9, 11), oval(w, 58, 24, 9, 11)]
    face = [*eye(43, 22, 3.6), *eye(57, 22, 3.6), poly(BEAK, (43, 29), (57, 29), (50, 40))]
    if action == 'standing': return [*foot, *wings, *body, *face]
    slid = [line((150, 174, 206), 3, (x, y), (x + 14, y)) for x, y in ((-18, 56), (-22, 68), (-14, 80))]
    return [*slid, *turned([*foot, *wings, *body, *face], 76)]

@dataclass(frozen=True)
class Kind:
    "What a thing of this kind is called and drawn with, where it may be and what it does there."
    plural: str
    draw: object
    places: str
    ways: dict           # band -> what it may do there
    colors: tuple = tuple(COLORS)
    most: int = 3        # how many of a kind in one scene

_LAND, _ALL = 'meadow street night snow', 'meadow sea street night snow'
_BRIGHT = tuple(c for c in COLORS if c != 'black')
KINDS = {
    'balloon': Kind('balloons', draw_balloon, _ALL, {'sky': 'floating'}),
    'bird': Kind('birds', draw_bird, _ALL, {'sky': 'flying', 'ground': 'sitting'}),
    'boat': Kind('boats', draw_boat, 'sea', {'water': 'sailing'}),
    'car': Kind('cars', draw_car, 'street snow', {'ground': 'driving parked'}),
    'cat': Kind('cats', draw_cat, _LAND, {'ground': 'sitting sleeping'}),
    'dog': Kind('dogs', draw_dog, _LAND, {'ground': 'sitting running sleeping'}),
    'fish': Kind('fish', draw_fish, 'sea', {'water': 'jumping', 'deep': 'swimming'}),
    'flower': Kind('flowers', draw_flower, 'meadow night', {'ground': 'growing'}, tuple(c for c in _BRIGHT if c != 'green')),
    'house': Kind('houses', draw_house, _LAND, {'back': 'standing'}),
    'kite': Kind('kites', draw_kite, 'meadow sea snow', {'sky': 'flying'}),
    'moon': Kind('moons', draw_moon, 'night', {'sky': 'shining'}, ('yellow', 'orange', 'white'), 1),
    'penguin': Kind('penguins', draw_penguin, 'snow', {'ground': 'standing sliding'}),
    'rocket': Kind('rockets', draw_rocket, 'night', {'sky': 'flying'}),
    'sheep': Kind('sheep', draw_sheep, 'meadow night snow', {'ground': 'standing grazing sleeping'}),
    'star': Kind('stars', draw_star, 'night', {'sky': 'shining'}, _BRIGHT),
    'tree': Kind('trees', draw_tree, _LAND, {'back': 'standing'}),
    'umbrella': Kind('umbrellas', draw_umbrella, 'meadow street snow', {'ground': 'standing'}),
    'whale': Kind('whales', draw_whale, 'sea', {'water': 'swimming'})}

@dataclass(frozen=True)
class Place:
    "A background: where its horizon lies, what bands it has, and which colours drown in them."
    horizon: float
    bands: tuple
    avoid: dict = field(default_factory=dict)    # band -> colours that can't be told from it

PLACES = {
    'meadow': Place(.58, ('sky', 'back', 'ground'), {'ground': ('green',)}),
    'sea': Place(.54, ('sky', 'water', 'deep'), {'deep': ('blue',)}),
    'street': Place(.60, ('sky', 'back', 'ground')),
    'night': Place(.74, ('sky', 'back', 'ground'), {'sky': ('black',), 'back': ('black',), 'ground': ('black',)}),
    'snow': Place(.58, ('sky', 'back', 'ground'), {'back': ('white',), 'ground': ('white',)})}

@dataclass
class Thing:
    "One thing of a scene."
    kind: str
    color: str
    size: str        # 'small' or 'big'
    box: tuple       # (x0, y0, x1, y1), fractions of width and height
    action: str      # what it is doing, such as 'flying'
    band: str        # 'sky', 'back', 'ground', 'water' or 'deep'
    group: int = 0   # things of one group share kind, colour, size and action
    flip: bool = False   # drawn facing left

@dataclass
class Scene:
    "A place and the one to four things in it; the first is the main one."
    place: str
    things: list
    seed: int = 0
    index: int = 0

    @property
    def groups(self) -> list:
        "The things, those of one group together; the main group first."
        return [[t for t in self.things if t.group == g] for g in sorted({t.group for t in self.things})]

def pick(rng, options):
    "One of the options, each as likely."
    return options[int(rng.integers(len(options)))]

def chance(rng, p): return rng.random() < p

@lru_cache(maxsize=None)
def shapes(kind: str, color: str, action: str) -> tuple:
    "The drawing of a thing, as a list of shapes in its own units."
    return tuple(KINDS[kind].draw(COLORS[color], action))

@lru_cache(maxsize=None)
def extent(kind: str, action: str) -> tuple:
    "The rectangle that the drawing fills, in its own units."
    lo = [np.min(s.points, 0) - s.width / 2 for s in shapes(kind, 'red', action)]
    hi = [np.max(s.points, 0) + s.width / 2 for s in shapes(kind, 'red', action)]
    return (*np.min(lo, 0), *np.max(hi, 0))

SIZES = {'small': (26.8, 29), 'big': (43, 48)}    # square root of the box's area, in pixels of 128

def box_size(rng, kind, action, size):
    "Width and height of a thing of this size, as fractions."
    x0, y0, x1, y1 = extent(kind, action)
    side, ratio = rng.uniform(*SIZES[size]) / 128, np.sqrt((x1 - x0) / (y1 - y0))
    return side * ratio, side / ratio

def band_range(place, band, height):
    "Lowest and highest place for the bottom edge of a thing in this band."
    h = PLACES[place].horizon
    lo, hi = {'sky': (.03 + height, h - .02), 'back': (h + .04, h + .16), 'ground': (h + .14, .97),
              'water': (h + .14, .97), 'deep': (h + .05 + height, .97)}[band]
    return min(lo, hi), hi

def overlap(a, b):
    "Area two boxes share, as a fraction of the smaller one."
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    area = lambda c: (c[2] - c[0]) * (c[3] - c[1])
    return max(w, 0) * max(h, 0) / min(area(a), area(b))

def find_room(rng, place, band, size, taken, tries=80):
    "A box of this (width, height) in the band that hides no other by much, or None."
    (w, h), limit = size, .06
    lo, hi = band_range(place, band, h)
    for _ in range(tries):
        x, y = rng.uniform(.02, .98 - w), rng.uniform(lo, hi)
        box = (x, y - h, x + w, y)
        if all(overlap(box, other) <= limit for other in taken): return tuple(round(float(v), 4) for v in box)

ONLY = {'grazing': 'meadow'}

def ways_here(kind, place):
    "The (band, action) pairs that a kind has in a place."
    return [(band, action) for band, actions in KINDS[kind].ways.items() if band in PLACES[place].bands
            for action in actions.split() if ONLY.get(action, place) == place]

def add_group(rng, scene, kind, count, size):
    "Adds up to `count` like things to the scene, as many as find room."
    band, action = pick(rng, ways_here(kind, scene.place))
    color = pick(rng, [c for c in KINDS[kind].colors if c not in PLACES[scene.place].avoid.get(band, ())])
    group, flip = len({t.group for t in scene.things}), bool(chance(rng, .5) and action != "sleeping")
    for _ in range(min(count, KINDS[kind].most)):
        box = find_room(rng, scene.place, band, box_size(rng, kind, action, size), [t.box for t in scene.things])
        if box: scene.things.append(Thing(kind, color, size, box, action, band, group, flip))

def shuffled_kinds(rng, place):
    "The kinds of a place in random order; those that live in few places tend to come first."
    here = [k for k, v in KINDS.items() if place in v.places.split()]
    weight = np.array([1 / len(KINDS[k].places.split()) for k in here])
    return [str(k) for k in rng.choice(here, len(here), replace=False, p=weight / weight.sum())]

def make_scene(
    seed: int,   # which world: held-out scenes come from another seed
    index: int,  # which scene of it
) -> Scene:
    "Invents a scene; the same numbers give the same scene on any machine."
    rng = np.random.default_rng([seed, index])
    place = pick(rng, list(PLACES))
    scene, total = Scene(place, [], seed, index), int(rng.choice(4, p=[.18, .36, .3, .16])) + 1
    count = min(total, int(rng.choice(3, p=[.68, .22, .10])) + 1)
    size = 'big' if count < 3 and chance(rng, .65) else 'small'
    for kind in shuffled_kinds(rng, place):
        add_group(rng, scene, kind, count, size)
        left = total - len(scene.things)
        if left < 1: break
        count = min(left, 2) if chance(rng, .2) else 1
        size = 'big' if scene.things[0].size == 'big' and chance(rng, .3) else 'small'
    return scene

# ---------------------------------------------------------------- painting
SKIES = {'meadow': ((140, 198, 234), (220, 231, 204)), 'sea': ((146, 200, 232), (246, 208, 176)),
         'street': ((154, 198, 226), (240, 222, 204)), 'night': ((22, 26, 66), (84, 72, 132)),
         'snow': ((146, 174, 212), (206, 216, 236))}
LANDS = {'meadow': ((190, 218, 142), (146, 190, 106)), 'sea': ((110, 190, 210), (44, 128, 176)),
         'street': ((186, 184, 190), (160, 158, 168)), 'night': ((58, 84, 92), (38, 58, 72)),
         'snow': ((226, 233, 243), (200, 213, 231))}

@lru_cache(maxsize=32)
def gradient(top: tuple, bottom: tuple, width: int, height: int) -> Image.Image:
    "An image that fades from one colour at the top to another at the bottom."
    t = np.linspace(0, 1, height)[:, None]
    rows = (np.array(top) * (1 - t) + np.array(bottom) * t).round().astype(np.uint8)
    return Image.fromarray(rows[:, None, :]).resize((width, height))

class Canvas:
    "An image to paint on in fractions of its side, four times too large until `finish`."
    def __init__(self, size: int): 
        self.side, self.size = 4 * size, size
        self.image = Image.new('RGB', (self.side, self.side))
        self.pen = ImageDraw.Draw(self.image, 'RGBA')
    def paint(self, shape: Shape, origin=(0, 0), scale=(1, 1)):
        xy = ((np.array(shape.points, float) * scale + origin) * self.side).ravel().tolist()
        if not shape.width: return self.pen.polygon(xy, fill=shape.color)
        w = max(1, round(shape.width * abs(scale[1]) * self.side))
        self.pen.line(xy, fill=shape.color, width=w, joint='curve')
        for x, y in (xy[:2], xy[-2:]): self.pen.ellipse((x - w/2, y - w/2, x + w/2, y + w/2), fill=shape.color)
    def fade(self, top, bottom, y0, y1):
        a, b = round(y0 * self.side), round(y1 * self.side)
        self.image.paste(gradient(top, bottom, self.side, b - a), (0, a))
    def finish(self): return self.image.reduce(4)

def cloud(rng, canvas, color=(250, 250, 250)):
    "A flat-bottomed cloud somewhere in the upper sky."
    x, y, s = rng.uniform(-.05, .85), rng.uniform(.1, .36), rng.uniform(.16, .28)
    for dx, dy, r in ((0, 0, .16), (.24, -.1, .24), (.52, -.06, .2), (.74, 0, .14)):
        canvas.paint(oval(color, x + dx*s, y + dy*s, r*s*1.25, r*s))
    canvas.paint(rect(color, x, y, x + .74*s, y + .14*s)); canvas.paint(oval(color, x, y + .04*s, .14*s, .1*s))
    canvas.paint(oval(color, x + .74*s, y + .04*s, .14*s, .1*s))

def ridge(rng, y, height, color):
    "A line of hills across the picture around height y, filled down to the bottom."
    x, p = np.linspace(0, 1, 33), rng.uniform(0, 6, 2)
    top = y - height * (.5 * np.sin(3.5*x + p[0]) + .5 * np.sin(7*x + p[1]))
    return poly(color, (0, 1), *zip(x, top), (1, 1))

def meadow(rng, canvas, h):
    "Hills, clouds, tufts of grass."
    for _ in range(2): cloud(rng, canvas, (226, 240, 244))
    canvas.paint(ridge(rng, h - .02, .05, (196, 222, 178))); canvas.paint(ridge(rng, h + .02, .02, (184, 214, 146)))
    canvas.fade(*LANDS['meadow'], h + .02, 1)
    for x, y in zip(rng.uniform(.03, .97, 16), rng.uniform(h + .08, .98, 16)):
        canvas.paint(line((110, 160, 84), .008, (x - .012, y - .02), (x, y), (x + .012, y - .02)))

def sea(rng, canvas, h):
    "Clouds and waves."
    for _ in range(2): cloud(rng, canvas, (222, 236, 240))
    x, w = rng.uniform(0, .8), rng.uniform(.12, .2)
    canvas.paint(blob((168, 196, 204), (x - w, h + .02), (x - .3*w, h - .06), (x + .2*w, h - .035), (x + .6*w, h - .05), (x + 1.2*w, h + .02)))
    canvas.fade(*LANDS['sea'], h, 1)
    for x, y in zip(rng.uniform(0, .92, 22), np.linspace(h + .03, .97, 22)):
        canvas.paint(bow((255, 255, 255, 90), .007, (x, y), (x + .02, y + .008), (x + .04, y), (x + .06, y + .008), (x + .08, y)))

def street(rng, canvas, h):
    "A far town, a pavement, a road with its dashes."
    for x in np.arange(-.02, 1, .11):
        top = h - rng.uniform(.08, .26)
        canvas.paint(rect((188, 194, 214), x, top, x + .1, h))
        for wx in (x + .02, x + .06): canvas.paint(rect((216, 218, 228), wx, top + .03, wx + .018, top + .06))
    canvas.fade((212, 201, 187), (202, 190, 177), h, h + .17); canvas.fade((150, 148, 160), (132, 130, 144), h + .17, 1)
    canvas.paint(rect((240, 234, 224), 0, h + .155, 1, h + .17))
    for x in np.arange(rng.uniform(-.15, 0), 1, .2): canvas.paint(rect((240, 236, 226), x, .83, x + .1, .845))

def night(rng, canvas, h):
    "Small stars and a dark hill."
    for x, y, r in zip(rng.uniform(0, 1, 34), rng.uniform(0, h, 34), rng.uniform(.002, .005, 34)):
        canvas.paint(oval((255, 246, 214, 200), x, y, r, r))
    canvas.paint(ridge(rng, h - .03, .035, (62, 66, 112)))
    canvas.paint(ridge(rng, h, .012, (58, 84, 92))); canvas.fade(*LANDS['night'], h + .012, 1)

def snow(rng, canvas, h):
    "White hills and falling flakes."
    canvas.paint(ridge(rng, h - .03, .06, (210, 220, 236))); canvas.paint(ridge(rng, h, .02, (226, 233, 243)))
    canvas.fade(*LANDS['snow'], h + .02, 1)
    for x, y in zip(rng.uniform(0, .9, 6), rng.uniform(h + .08, .97, 6)):
        canvas.paint(bow((255, 255, 255, 150), .012, (x, y), (x + .06, y - .012), (x + .13, y)))
    for x, y, r in zip(rng.uniform(0, 1, 30), rng.uniform(0, h, 30), rng.uniform(.003, .008, 30)):
        canvas.paint(oval((255, 255, 255, 230), x, y, r, r))

BACKDROPS = {'meadow': meadow, 'sea': sea, 'street': street, 'night': night, 'snow': snow}

def draw_thing(canvas: Canvas, thing: Thing):
    "Paints a thing so that it fills its box."
    x0, y0, x1, y1 = extent(thing.kind, thing.action)
    sx, sy = (thing.box[2] - thing.box[0]) / (x1 - x0), (thing.box[3] - thing.box[1]) / (y1 - y0)
    scale = (-sx if thing.flip else sx, sy)
    origin = (thing.box[2] + sx*x0 if thing.flip else thing.box[0] - sx*x0, thing.box[1] - sy*y0)
    for s in shapes(thing.kind, thing.color, thing.action): canvas.paint(s, origin, scale)

def draw_shadow(canvas, thing):
    "A soft patch under what stands on the ground; white foam under what floats."
    x0, _, x1, y1 = thing.box
    w = x1 - x0
    if thing.band in ('back', 'ground'):
        for k in (.5, .42): canvas.paint(oval((30, 30, 60, 36), (x0 + x1)/2, y1 - .008, w*k, .022))

def draw_foam(canvas, thing):
    "Ripples in front of what floats."
    if thing.band != 'water' or thing.action == 'jumping': return
    x0, _, x1, y1 = thing.box; n = 5; w = (x1 - x0) / n
    pts = [(x0 + w*k/2, y1 - .012 + (.008 if k % 2 else 0)) for k in range(2*n + 1)]
    canvas.paint(bow((235, 248, 252, 220), .012, *pts))

def draw_glow(canvas, thing):
    "A halo around moons and stars."
    if thing.kind not in ('moon', 'star'): return
    x, y, r = (thing.box[0] + thing.box[2])/2, (thing.box[1] + thing.box[3])/2, thing.box[2] - thing.box[0]
    for k in np.linspace(.9, .45, 10): canvas.paint(oval((255, 244, 200, 7), x, y, r*k, r*k))

def draw_scene(
    scene: Scene,
    size: int = 128,  # side of the picture in pixels
) -> Image.Image:     # RGB
    "Paints a scene: the place, then its things from back to front."
    if size < 32: raise InputError(f"A scene of {size} pixels shows nothing: ask for a size of 32 or more.")
    rng, h, canvas = np.random.default_rng([scene.seed, scene.index, 1]), PLACES[scene.place].horizon, Canvas(size)
    canvas.fade(*SKIES[scene.place], 0, h + .08)
    BACKDROPS[scene.place](rng, canvas, h)
    for thing in sorted(scene.things, key=lambda t: t.box[3]):
        draw_glow(canvas, thing); draw_shadow(canvas, thing); draw_thing(canvas, thing); draw_foam(canvas, thing)
    return canvas.finish()

# ---------------------------------------------------------------- captions
@dataclass
class Phrase:
    "A noun phrase: tokens [start, stop) of a caption, the noun last, and the boxes of what it speaks of."
    start: int
    stop: int
    boxes: list
    kind: str            # the kind of thing, or 'place'
    color: str | None    # the colour that the phrase names, if it does

NUMBERS = {1: 'one', 2: 'two', 3: 'three', 4: 'four'}
SIZE_WORDS = {'small': ('small', 'little'), 'big': ('big', 'large')}

def article(words): return ('an ' if words[0] in 'aeiou' else 'a ') + words

@dataclass
class Noun:
    "The words of a noun phrase and what they speak of."
    words: str
    boxes: list
    kind: str
    color: str | None = None

def name_group(rng, group, color=1., size=.5, adjective=''):
    "A noun phrase for a group, with its colour and size named so often: `two small red balloons`."
    thing, n = group[0], len(group)
    color, sized = chance(rng, color), chance(rng, size)
    words = [pick(rng, SIZE_WORDS[thing.size])] if sized else []
    words += [adjective] * bool(adjective) + [thing.color] * bool(color)
    words = ' '.join(words + [thing.kind if n == 1 else KINDS[thing.kind].plural])
    words = article(words) if n == 1 else f'{NUMBERS[n]} {words}'
    return Noun(words, [list(t.box) for t in group], thing.kind, thing.color if color else None)

def name_place(scene, words):
    "A noun phrase for a place: the sky lies above the horizon, all else below."
    h = PLACES[scene.place].horizon
    return Noun(words, [[0., 0., 1., h] if words.endswith('sky') else [0., h, 1., 1.]], 'place')

_GROUND = {'meadow': ('in the meadow', 'in the grass', 'on the grass'), 'street': ('on the street', 'in the street', 'on the road'),
           'snow': ('in the snow', 'on the snow'), 'night': ('under the night sky', 'on the dark hill')}
_AIR = {'meadow': ('over the meadow', 'above the meadow', 'in the sky'), 'sea': ('over the sea', 'over the water', 'in the sky'),
        'street': ('over the street', 'above the street', 'in the sky'), 'night': ('in the night sky', 'in the dark sky'),
        'snow': ('over the snow', 'above the snow', 'in the sky')}
_WATER = {'sailing': ('on the sea', 'on the water'), 'swimming': ('in the sea', 'in the water'), 'jumping': ('out of the sea', 'out of the water')}
_WHOLE = {'meadow': 'a sunny meadow', 'sea': 'the open sea', 'street': 'a quiet street', 'snow': 'a snowy field'}

def where(rng, scene, thing):
    "A preposition and a place: where the thing is."
    options = _AIR[scene.place] if thing.band == 'sky' else _WATER[thing.action] if scene.place == 'sea' else _GROUND[scene.place]
    if thing.band == 'back': options = [o for o in options if 'road' not in o]
    preposition, words = pick(rng, options).split(' the ')
    return [preposition, name_place(scene, 'the ' + words)]

def _center(t): return (t.box[0] + t.box[2]) / 2, (t.box[1] + t.box[3]) / 2

def relations(
    a: Thing,
    b: Thing,
) -> set:   # of 'above', 'below', 'behind', 'front', 'left', 'right', 'beside', 'near'
    "Which words for the place of `a` seen from `b` are true."
    (ax, ay), (bx, by) = _center(a), _center(b)
    dx, dy = ax - bx, ay - by
    upper, lower = ('above', 'below') if 'sky' in (a.band, b.band) else ('behind', 'front')
    words = {upper if dy < 0 else lower} if abs(dy) > max(.2, abs(dx)) else set()
    if abs(dx) > max(.2, abs(dy)): words.add('left' if dx < 0 else 'right')
    if np.hypot(dx, dy) < .42: words.add('near')
    if abs(dy) < .15 and .1 < abs(dx) < .5: words.add('beside')
    return words

SAYINGS = {'above': ('above', 'over'), 'below': ('below', 'under'), 'behind': ('behind',), 'front': ('in front of',), 'left': ('to the left of',), 'right': ('to the right of',),
           'near': ('near', 'close to'), 'beside': ('beside', 'next to')}

def say_relation(rng, group, other):
    "A preposition that is true of every pair of the two groups, or None."
    common = set.intersection(*[relations(a, b) for a in group for b in other])
    return pick(rng, SAYINGS[pick(rng, sorted(common))]) if common else None

def _be(group): return 'is' if len(group) == 1 else 'are'

def say_full(rng, scene, groups):
    "a small white bird is flying over the sea [and a red boat is sailing]"
    g = groups[0]
    parts = [name_group(rng, g, 1, .7), _be(g), g[0].action, *where(rng, scene, g[0])]
    if len(groups) > 1 and chance(rng, .3):
        b = groups[1]
        parts += ['and', name_group(rng, b, .8, .2), _be(b), b[0].action]
    return parts

def _same_area(a, b): return (a[0].band == 'sky') == (b[0].band == 'sky')

def say_there(rng, scene, groups):
    "on the snow there are two black dogs [and a tree]; there is a blue boat on the water"
    g, place = groups[0], where(rng, scene, groups[0][0])
    place[0] = place[0].replace('out of', 'in')
    there, near = ['there', _be(g), name_group(rng, g, 1, .4)], [o for o in groups[1:] if _same_area(g, o)]
    if near and chance(rng, .7): return [*place, *there, 'and', name_group(rng, pick(rng, near), .8, .3)]
    if chance(rng, .4): return [*there, *place]
    return [*place, *there] + ([g[0].action] if chance(rng, .5) else [])

def say_relation_of(rng, scene, groups):
    "a red balloon above a blue house; a blue house with a red balloon above it"
    g, others = groups[0], [o for o in groups[1:]]
    if not others: return say_alone(rng, scene, g)
    b = pick(rng, others)
    words, first, second = say_relation(rng, g, b), name_group(rng, g, 1, .3), name_group(rng, b, .9, .3)
    if words is None: return [first, *where(rng, scene, g[0]), 'and', second]
    style = int(rng.integers(4))
    if style == 0: return [first, _be(g), words, second]
    if style == 1: return [first, g[0].action, words, second]
    if style == 2: return [second, 'with', first, words, 'it' if len(b) == 1 else 'them']
    return [first, words, second]

def say_alone(rng, scene, g):
    "a red boat all alone on the sea; two black dogs together in the snow"
    state = pick(rng, ('alone', 'all alone')) if len(g) == 1 else 'together'
    return [name_group(rng, g, 1, .4), state, *where(rng, scene, g[0])]

STILL = ('standing', 'growing')

def say_short(rng, scene, groups):
    "a sleeping sheep; a white bird flying; two big kites"
    g = groups[0]
    if g[0].action in STILL or chance(rng, .3): return [name_group(rng, g, .8, .8)]
    if chance(rng, .5): return [name_group(rng, g, .6, .1, g[0].action)]
    return [name_group(rng, g, .6, .3), g[0].action]

def say_place(rng, scene, groups):
    "a green meadow with two sheep and a red house"
    dark = 'the night sky' if groups[0][0].band == 'sky' else 'a dark hill'
    words = _WHOLE.get(scene.place, dark)
    parts = [name_place(scene, words), 'with', name_group(rng, groups[0], .6, .3)]
    for g in groups[1:3]: parts += ['and', name_group(rng, g, .6, .1)]
    return parts + ([groups[0][0].action] if len(groups) == 1 else [])

def write(parts: Sequence) -> tuple[str, list[Phrase]]:
    "Joins words and nouns to a caption and notes where each noun phrase stands."
    words, phrases = [], []
    for part in parts:
        start = len(words)
        words += (part.words if isinstance(part, Noun) else part).split()
        if isinstance(part, Noun): phrases.append(Phrase(start, len(words), part.boxes, part.kind, part.color))
    return ' '.join(words), phrases

FORMS = (say_full, say_there, say_relation_of, say_short, say_place)

def describe(
    scene: Scene,
) -> list[tuple[str, list[Phrase]]]:   # five captions, each with its noun phrases
    "Five different captions of a scene, each naming its main thing."
    rng, told = np.random.default_rng([scene.seed, scene.index, 2]), {}
    for form in FORMS:
        while True:
            text, phrases = write(form(rng, scene, scene.groups))
            if text not in told: break
        told[text] = phrases
    return list(told.items())

def caption_scene(scene, split='train'):
    "The record of a scene: its captions, and for each the noun phrases with their boxes."
    told = describe(scene)
    return CaptionedImage(f'scene-{scene.seed}-{scene.index:05d}', f'scenes/{scene.seed}/{scene.index:05d}.png',
                          [text for text, _ in told], split, [[vars(p) for p in phrases] for _, phrases in told])

def make_scenes(
    count: int,            # how many scenes
    seed: int = 0,         # which world; take another one for held-out scenes
    split: str = 'train',  # written into each record
    size: int = 128,       # side of the pictures in pixels
) -> tuple[np.ndarray, list[CaptionedImage]]:   # images (count, 3, size, size) uint8, and their records
    "The embedded data set: pictures and records of the first `count` scenes of a seed."
    if count < 1: raise InputError(f"Asked for {count} scenes: ask for at least one.")
    scenes = [make_scene(seed, k) for k in range(count)]
    images = np.empty((count, 3, size, size), np.uint8)
    for image, scene in zip(images, scenes): image[:] = np.asarray(draw_scene(scene, size)).transpose(2, 0, 1)
    return images, [caption_scene(s, split) for s in scenes]

# ---------------------------------------------------------------- judging
NOUNS = {**{k: k for k in KINDS}, **{v.plural: k for k, v in KINDS.items()}}
COUNTS = {'a': 1, 'an': 1, 'one': 1, 'the': 1, 'two': 2, 'three': 3, 'four': 4}

def named_things(
    caption: str,
) -> list[tuple]:   # (count, color, kind); None for what is not said
    "The things that a caption names, read from its words alone."
    found, count, color = [], None, None
    for word in tokenize(caption):
        if word in COUNTS: count, color = COUNTS[word], None
        elif word in COLORS: color = word
        elif word in NOUNS:
            found.append((count, color, NOUNS[word]))
            count = color = None
    return found

PLACE_WORDS = dict(meadow='meadow', grass='meadow', sea='sea', water='sea', street='street', road='street',
                   snow='snow', field='snow', night='night', hill='night')

def named_places(caption: str) -> set:
    "The places that a caption speaks of."
    return {PLACE_WORDS[word] for word in tokenize(caption) if word in PLACE_WORDS}

def _right(named, groups):
    "Whether a named thing is in one of the groups as said."
    count, color, kind = named
    return any(kind == g[0].kind and color in (None, g[0].color) and count in (None, len(g)) for g in groups)

def judge_caption(
    caption: str,
    scene: Scene,
) -> dict:   # kind, color, count of the main thing; others, place; told: whether its colour is said
    "Is the main thing named, and is what the caption says of it and of the rest true?"
    main, named = scene.groups[0], named_things(caption)
    mine = [n for n in named if n[2] == main[0].kind]
    return dict(kind=bool(mine), color=bool(mine) and all(c in (None, main[0].color) for _, c, _ in mine),
                count=bool(mine) and all(n in (None, len(main)) for n, _, _ in mine),
                others=all(_right(n, scene.groups) for n in named if n[2] != main[0].kind),
                place=named_places(caption) <= {scene.place}, told=any(c for _, c, _ in mine))
