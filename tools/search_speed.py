"""Beam search against the plain one.  `python tools/search_speed.py [--out data/results/speed/search.json]`

On the CPU, or on a GPU with `--device cuda`. Features are given: no encoder runs. The decoder has random weights of the
usual sizes, except that one unit of its LSTM counts the words and `<end>` listens to it, so that captions end after
about thirteen words, as a trained model's do. The plain search takes one image at a time and projects the features to
keys again for each beam at each step; it stops by the same exact rule as the fast one, and both use 32-bit numbers.
`beams_together` is the plain search with an image's beams in one batch, as well-known programs do it. All searches run
in turn in one process; times and ratios are medians over the rounds. On a machine that does other work at the same
time, take the ratio of processor times.
"""
import argparse, json, os, sys
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
import torch
from showattend.captions import END, START
from showattend.decoder import AttentionDecoder, DecoderConfig
from showattend.search import beam_search, log_probs
from showattend.reproduce import environment, save_record

V, D, SIZE, BEAMS = 9490, 2048, 512, 5

def make_decoder(words=11., seed=0):
    "Random weights; hidden unit 0 counts, and <end> gets likely when it has counted to about `words`."
    torch.manual_seed(seed)
    model, n = AttentionDecoder(DecoderConfig(V, D, SIZE, SIZE, SIZE)).eval(), SIZE
    gates = [0, n, 2 * n, 3 * n]                            # unit 0's input, forget, candidate and output
    with torch.no_grad():
        for layer in (model.word_gates, model.context_gates, model.hidden_gates): layer.weight[gates] = 0
        model.word_gates.bias[gates] = torch.tensor([20., 20., .05, 20.])        # open, keep, add .05, open
        model.init_cell.weight[0] *= .2                      # images begin to count at slightly different numbers
        model.word_from_hidden.weight[0] = 0
        model.word_from_hidden.weight[0, 0] = 8.
        model.word_from_hidden.bias[0] = -8 * torch.tanh(torch.tensor(.05 * words))
        model.word_from_context.weight[0] = 0; model.embedding.weight[:, 0] = 0
        model.output.weight *= 8.                            # opinions about as strong as a trained model's
        model.output.weight[:, 0] = 0; model.output.weight[END, 0] = 30.; model.output.bias[END] = -10
    return model

def make_features(images, seed=1):
    "Random features on 8×8, (I, 64, D), and the same pooled up to 14×14, (I, 196, D)."
    torch.manual_seed(seed)
    grid = torch.randn(images, D, 8, 8) + torch.randn(images, D, 1, 1)
    up = torch.nn.functional.adaptive_avg_pool2d(grid, 14)
    return [f.flatten(2).mT.contiguous() for f in (grid, up)]

def stops(done, going, divisor): return len(done) == BEAMS and going[0][0] / divisor <= done[-1][0]

@torch.inference_mode()
def plain(model, image, power, max_length=30):
    "One image (1, P, D), one beam at a time."
    beams, done = [(0., [START], model.start(image))], []
    for t in range(1, max_length + 1):
        longer = []
        for score, ids, state in beams:
            state = replace(state, keys=model.attention.prepare(image))          # every beam, every step
            logits, state = model.step(torch.tensor(ids[-1:], device=image.device), state)
            best = log_probs(logits, first=t == 1)[0].topk(2 * BEAMS)            # no beam can give more
            longer += [(score + s, [*ids, w], state) for s, w in zip(best.values.tolist(), best.indices.tolist())]
        longer.sort(key=lambda beam: -beam[0])
        done += [(s / t ** power, ids[1:]) for s, ids, _ in longer[:BEAMS] if ids[-1] == END]
        done = sorted(done, reverse=True)[:BEAMS]
        beams = [beam for beam in longer[:2 * BEAMS] if beam[1][-1] != END][:BEAMS]
        if stops(done, beams, max_length ** power): break
    return done

@torch.inference_mode()
def beams_together(model, image, power, max_length=30):
    "One image (1, P, D), its beams as one batch."
    features, done = image.expand(BEAMS, -1, -1), []
    live, said = torch.tensor([0.] + [-torch.inf] * (BEAMS - 1), device=image.device), [[START]] * BEAMS
    state = model.start(image).repeat(BEAMS)
    for t in range(1, max_length + 1):
        state = replace(state, keys=model.attention.prepare(features))           # every beam, every step
        logits, state = model.step(torch.tensor([s[-1] for s in said], device=image.device), state)
        score, flat = (live[:, None] + log_probs(logits, first=t == 1)).flatten().topk(2 * BEAMS)
        longer = [(s, x // V, x % V) for s, x in zip(score.tolist(), flat.tolist())]
        done += [(s / t ** power, [*said[b][1:], w]) for s, b, w in longer[:BEAMS] if w == END]
        done = sorted(done, reverse=True)[:BEAMS]
        going = [x for x in longer if x[2] != END][:BEAMS]
        if stops(done, going, max_length ** power): break
        live = torch.tensor([x[0] for x in going], device=image.device)
        said = [[*said[b], w] for _, b, w in going]
        state = state.select(torch.tensor([b for _, b, _ in going], device=image.device))
    return done

def timed(run, device):
    "Seconds by the clock and of processor time, and what came of it."
    wait = torch.cuda.synchronize if device.type == 'cuda' else (lambda: None)
    wait(); start = perf_counter(), process_time(); found = run(); wait()
    return (perf_counter() - start[0], process_time() - start[1]), found

def fast(model, features, power, block):
    "All images, so many at a time."
    return [h for part in features.split(block) for h in beam_search(model, part, BEAMS, length_penalty=power)]

def one_by_one(search, model, features, power): return [search(model, image[None], power) for image in features]

def measure(args, device):
    "Rounds of: plain on a share of the images, the same with beams together on some of them, fast on all."
    model = make_decoder().to(device)
    small, large = [f.to(device) for f in make_features(args.images)]
    run = {'fast_14x14': lambda s: fast(model, large, args.power, args.block),
           'fast_8x8': lambda s: fast(model, small, args.power, args.block),
           'plain_14x14': lambda s: one_by_one(plain, model, large[s], args.power),
           'beams_together_14x14': lambda s: one_by_one(beams_together, model, large[s][:args.few], args.power)}
    share = args.images // args.rounds
    count = {'plain_14x14': share, 'beams_together_14x14': args.few}
    times, found = {k: [] for k in run}, {k: [] for k in run}
    fast(model, small[:20], args.power, args.block), plain(model, large[:1], args.power)     # warm up
    for r in range(args.rounds):
        for name, search in run.items():
            seconds, captions = timed(lambda: search(slice(r * share, (r + 1) * share)), device)
            times[name].append([1e3 * x / count.get(name, args.images) for x in seconds]); found[name].append(captions)
            print(f'round {r + 1}: {name:22} {times[name][-1][0]:8.2f} ms an image', file=sys.stderr, flush=True)
    slow = [d for part in found['plain_14x14'] for d in part]
    lists = [([ids for _, ids in d], [h.ids for h in hs]) for d, hs in zip(slow, found['fast_14x14'][0])]
    eight = one_by_one(plain, model, small[:args.few], args.power)
    same8 = [d[0][1] == hs[0].ids for d, hs in zip(eight, found['fast_8x8'][0])]
    return times, dict(
        words_a_caption=sum(len(hs[0].ids) - 1 for hs in found['fast_14x14'][0]) / args.images,
        compared_14x14=len(lists), identical_captions_14x14=sum(a[0] == b[0] for a, b in lists),
        identical_lists_14x14=sum(a == b for a, b in lists),
        compared_8x8=len(same8), identical_captions_8x8=sum(same8))

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--device', default='cpu'); p.add_argument('--images', type=int, default=200)
    p.add_argument('--rounds', type=int, default=5); p.add_argument('--few', type=int, default=10)
    p.add_argument('--block', type=int, default=100, help='images at a time in the fast search')
    p.add_argument('--power', type=float, default=0., help='length penalty'); p.add_argument('--out', type=Path)
    args = p.parse_args(); device = torch.device(args.device)
    times, checks = measure(args, device)
    def ratios(kind):
        return {f'{slow} / {quick}': median(a[kind] / b[kind] for a, b in zip(times[slow], times[quick]))
                for slow in ('plain_14x14', 'beams_together_14x14') for quick in ('fast_14x14', 'fast_8x8')}
    ms = {k: dict(clock=median(a for a, _ in v), processor=median(b for _, b in v)) for k, v in times.items()}
    sizes = dict(images=args.images, beam_size=BEAMS, length_penalty=args.power, V=V, D=D, A=SIZE, H=SIZE, E=SIZE,
                 block=args.block, rounds=args.rounds, threads=torch.get_num_threads(), dtype='float32', seed=0)
    record = dict(command=' '.join(['python', *sys.argv]), about=__doc__.strip(), environment=environment(), sizes=sizes,
                  median_ms_an_image=ms, ratio_by_clock=ratios(0), ratio_by_processor_time=ratios(1),
                  clock_and_processor_ms_an_image_by_round=times, load_average=os.getloadavg(), **checks)
    print(json.dumps(record, indent=1))
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True); save_record(args.out, record)

if __name__ == '__main__': main()
