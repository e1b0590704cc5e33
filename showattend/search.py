from __future__ import annotations
from dataclasses import dataclass
import torch
from torch import Tensor
from showattend.captions import START, END, PAD, UNK, InputError

@dataclass
class Hypothesis:
    "A caption that the search found."
    ids: list[int]         # without <start>; the last is <end> when it is finished
    score: float           # log-probability / length ** length_penalty, <end> counted
    weights: Tensor        # (T, P), α for each id
    beta: Tensor           # (T,), β for each id
    finished: bool = True  # False: cut off at the longest length

FORBIDDEN = (PAD, START, UNK)

def log_probs(
    logits: Tensor,                     # (N, V)
    forbidden: tuple[int, ...],         # ids that may not be said
) -> Tensor:                            # (N, V)
    "Log-probabilities of the next word, among the words that may be said."
    logits = logits.float().clone()
    logits[:, list(forbidden)] = -torch.inf
    return logits.log_softmax(-1)

@torch.inference_mode()
def greedy_search(
    model,                  # anything with `start` and `step`
    features: Tensor,       # (I, P, D)
    max_length: int = 30,   # ids at most, <end> included
) -> list[list[int]]:       # one caption an image, without <start>, cut after <end>
    "The likeliest word, again and again. Returns ids alone: this is what training validates with."
    state, ids = model.start(features), []
    tokens = torch.full((len(features),), START, device=features.device)
    ended = torch.zeros_like(tokens, dtype=torch.bool)
    while len(ids) < max_length and not ended.all():
        logits, state = model.step(tokens, state)
        tokens = log_probs(logits, FORBIDDEN if ids else (*FORBIDDEN, END)).argmax(-1)
        ids.append(tokens)
        ended |= tokens == END
    return [cut(row) for row in torch.stack(ids, 1).tolist()]

def cut(ids: list[int]) -> list[int]:
    "The ids up to the first `<end>`."
    return ids[:ids.index(END) + 1] if END in ids else ids

@dataclass
class Finished:
    "The best K captions of each image that have ended so far: where each ended, not its words."
    score: Tensor   # (I, K), best first; −∞ where there is none yet
    step: Tensor    # (I, K), the step at which it said <end>
    beam: Tensor    # (I, K), the beam that said it

    def add(self, score: Tensor, step: int, beam: Tensor) -> Finished:
        "Keeps the best K of the old ones and the new ones (I, M)."
        K = self.score.shape[1]
        score, best = torch.cat([self.score, score], 1).topk(K, 1)
        pick = lambda old, new: torch.cat([old, new], 1).gather(1, best)
        return Finished(score, pick(self.step, torch.full_like(beam, step)), pick(self.beam, beam))

@dataclass
class Trace:
    "The search as it happened: what each beam said at each step, and from which beam it came."
    tokens: list[Tensor]    # of (I, K)
    parents: list[Tensor]   # of (I, K), the beam of the step before
    weights: list[Tensor]   # of (I, K, P), α by the beam of the step before
    beta: list[Tensor]      # of (I, K)
    scores: Tensor | None = None  # (I, K), log-probability of what is still going on

    def record(self, state, shape: tuple[int, int]):
        "Where the beams looked before this step's words."
        self.weights.append(state.weights.view(*shape, -1))
        self.beta.append(state.beta.view(shape))

    def cpu(self) -> Trace:
        "One copy to the CPU at the end, none on the way."
        move = lambda parts: torch.stack(parts).float().cpu() if parts else parts
        return Trace(torch.stack(self.tokens).cpu(), torch.stack(self.parents).cpu(), move(self.weights),
                     move(self.beta), self.scores.cpu())

def check_beam(features: Tensor, beam_size: int, max_length: int):
    "Raises `InputError` on sizes that can't be searched with."
    if beam_size < 1: raise InputError(f"A beam needs at least one caption; beam_size is {beam_size}.")
    if max_length < 2: raise InputError(f"A caption needs a word and <end>; max_length is {max_length}.")
    if features.dim() != 3: raise InputError(f"Features are (I, P, D); these are {tuple(features.shape)}.")

@torch.inference_mode()
def beam_search(
    model,                        # anything with `start` and `step`
    features: Tensor,             # (I, P, D)
    beam_size: int = 5,           # K, captions kept at each step
    max_length: int = 30,         # ids at most, <end> included
    length_penalty: float = 1.0,  # 0 ranks by log-probability, 1 by log-probability a word
) -> list[list[Hypothesis]]:      # for each image at most K, best first
    "The K likeliest captions that a beam of K finds, for all images at once."
    check_beam(features, beam_size, max_length)
    I, K = len(features), beam_size
    state = model.start(features).repeat(K)
    tokens = torch.full((I, K), START, device=features.device)
    live = torch.full((I, K), -torch.inf, device=features.device)
    live[:, 0] = 0                                         # all beams begin alike: one of them is enough
    done = Finished(torch.full_like(live, -torch.inf), torch.zeros_like(tokens), torch.zeros_like(tokens))
    trace = Trace([], [], [], [])
    for t in range(max_length):
        logits, state = model.step(tokens.flatten(), state)
        trace.record(state, (I, K))
        words = log_probs(logits, FORBIDDEN if t else (*FORBIDDEN, END)).view(I, K, -1)
        score, beam, word = best_extensions(live, words)
        done = done.add(ended_scores(score, word, (t + 1) ** length_penalty), t, beam)
        live, beam, tokens = going_on(score, beam, word, K)
        trace.tokens.append(tokens); trace.parents.append(beam)
        if settled(done, live, max_length ** length_penalty): break
        state = state.select((beam + K * torch.arange(I, device=beam.device)[:, None]).flatten())
    trace.scores = live
    return read_out(trace.cpu(), done, length_penalty)

def best_extensions(
    live: Tensor,   # (I, K) log-probabilities of the beams
    words: Tensor,  # (I, K, V) log-probabilities of the next words
) -> tuple[Tensor, Tensor, Tensor]:  # score, beam and word of the best 2K, each (I, 2K)
    "Twice as many as there are beams, so that K go on even if K end."
    I, K, V = words.shape
    score, flat = (live[..., None] + words).view(I, -1).topk(min(2 * K, K * V), 1)
    return score, flat // V, flat % V

def ended_scores(score: Tensor, word: Tensor, divisor: float) -> Tensor:
    "Scores of the extensions that end the caption, among the best K; −∞ for the others."
    rank = torch.arange(score.shape[1], device=score.device)
    ended = (word == END) & (rank < score.shape[1] // 2)
    return (score / divisor).masked_fill(~ended, -torch.inf)

def going_on(score: Tensor, beam: Tensor, word: Tensor, K: int) -> tuple[Tensor, Tensor, Tensor]:
    "Score, parent and word of the best K extensions that don't end."
    live, pick = score.masked_fill(word == END, -torch.inf).topk(K, 1)
    return live, beam.gather(1, pick), word.gather(1, pick)

def settled(done: Finished, live: Tensor, divisor: float) -> bool:
    "Whether no beam can still enter the best K: a log-probability only falls, and is divided by this at most."
    return bool((live[:, 0] / divisor <= done.score[:, -1]).all())

def read_out(trace: Trace, done: Finished, length_penalty: float) -> list[list[Hypothesis]]:
    "Hypotheses from the trace; an image where nothing ended gets its unfinished beams."
    score, step, beam = done.score.cpu(), done.step.tolist(), done.beam.tolist()
    length = len(trace.tokens)
    found = []
    for i, row in enumerate(score.tolist()):
        ended = [trace_back(trace, i, step[i][k], beam[i][k], [END], s) for k, s in enumerate(row) if s > -torch.inf]
        going = [trace_back(trace, i, length, k, [], s / length ** length_penalty, False)
                 for k, s in enumerate(trace.scores[i].tolist()) if s > -torch.inf]
        found.append(ended or going)
    return found

def trace_back(trace: Trace, i: int, step: int, beam: int, last: list[int], score: float, finished=True) -> Hypothesis:
    "Walks from a caption's last word to its first. `beam` is the beam after the steps before `step`."
    ids, seen = last, [(step, beam)] if finished else []
    for t in range(step - 1, -1, -1):
        ids = [int(trace.tokens[t, i, beam]), *ids]
        beam = int(trace.parents[t, i, beam])
        seen.insert(0, (t, beam))
    steps, beams = map(list, zip(*seen))
    return Hypothesis(ids, score, trace.weights[steps, i, beams], trace.beta[steps, i, beams], finished)
