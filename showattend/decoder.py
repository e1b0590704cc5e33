from __future__ import annotations
from dataclasses import dataclass, replace
from typing import NamedTuple
import torch
from torch import Tensor, nn
from showattend.captions import InputError
from showattend.attention import ATTENTIONS, Keys

@dataclass
class DecoderConfig:
    "Everything that fixes the decoder's shape."
    vocab_size: int                # V
    feature_size: int              # D
    embedding_size: int = 512      # E
    hidden_size: int = 512         # H
    attention_size: int = 512      # A
    attention: str = 'additive'    # a name in `ATTENTIONS`
    gate: bool = True              # β, how much of the image to let in
    dropout: float = 0.5           # on embeddings, and before the vocabulary layer

@dataclass
class State:
    "What the decoder remembers between two words."
    hidden: Tensor    # (N, H), h
    cell: Tensor      # (N, H), c
    keys: Keys        # of the I images; N is a multiple of I
    weights: Tensor | None = None   # (N, P), the last α
    beta: Tensor | None = None      # (N, 1), the last β

    def select(self, rows: Tensor) -> State:
        "The states of the given rows; as many for each image as before, so that the keys stay where they are."
        take = lambda t: None if t is None else t[rows]
        return replace(self, hidden=self.hidden[rows], cell=self.cell[rows],
                       weights=take(self.weights), beta=take(self.beta))

    def repeat(self, times: int) -> State:
        "Each row `times` times, one after the other: the captions or beams of an image stay together."
        rows = torch.arange(len(self.hidden), device=self.hidden.device).repeat_interleave(times)
        return self.select(rows)

class DecoderOutput(NamedTuple):
    "A teacher-forced pass. Only real words have logits; padding has none."
    logits: Tensor    # (valid, V), for each word to be said
    targets: Tensor   # (valid,), that word
    weights: Tensor   # (N, T, P), α at each step; zero on padding
    beta: Tensor      # (N, T), β at each step; zero on padding
    valid: Tensor     # (N, T), where there is a word to say

class AttentionDecoder(nn.Module):
    "The LSTM that looks at the image before every word (Xu et al. 2015, section 3.1)."
    def __init__(self, config: DecoderConfig):
        super().__init__()
        if config.attention not in ATTENTIONS:
            raise InputError(f"There is no attention {config.attention!r}; known: {', '.join(ATTENTIONS)}.")
        self.config = c = config
        V, D, E, H = c.vocab_size, c.feature_size, c.embedding_size, c.hidden_size
        self.embedding = nn.Embedding(V, E)
        self.attention = ATTENTIONS[c.attention](D, H, c.attention_size)
        self.init_hidden, self.init_cell = nn.Linear(D, H), nn.Linear(D, H)
        self.gate = nn.Linear(H, 1) if c.gate else None
        self.word_gates = nn.Linear(E, 4 * H)                  # the LSTM's input product in three parts:
        self.context_gates = nn.Linear(D, 4 * H, bias=False)   # the words' part is known before the loop,
        self.hidden_gates = nn.Linear(H, 4 * H, bias=False)    # and one bias serves all
        self.word_from_hidden, self.word_from_context = nn.Linear(H, E), nn.Linear(D, E, bias=False)
        self.output = nn.Linear(E, V)
        self.dropout = nn.Dropout(c.dropout)

    def start(self,
              features: Tensor,  # (I, P, D) from the encoder
             ) -> State:         # one row an image
        "The state before the first word, from the mean feature."
        mean = features.mean(1)
        hidden, cell = self.init_hidden(mean).tanh(), self.init_cell(mean).tanh()
        return State(hidden.float(), cell.float(), self.attention.prepare(features))

    def look(self, state: State) -> tuple[Tensor, State]:
        "Context z (N, D) for the next word; α and β stand in the state."
        context, weights = self.attention(state.keys, state.hidden)
        beta = torch.ones_like(context[:, :1]) if self.gate is None else self.gate(state.hidden).sigmoid()
        return beta * context, replace(state, weights=weights, beta=beta)

    def advance(self,
                words: Tensor,    # (N, 4H) the words' part of the gates
                context: Tensor,  # (N, D)
                state: State,
               ) -> State:
        "One step of the LSTM: input, forget, candidate and output gates, in PyTorch's order."
        gates = words + self.context_gates(context) + self.hidden_gates(state.hidden)
        i, f, g, o = gates.float().chunk(4, -1)
        cell = f.sigmoid() * state.cell + i.sigmoid() * g.tanh()
        return replace(state, hidden=o.sigmoid() * cell.tanh(), cell=cell)

    def say(self, embedded: Tensor, hidden: Tensor, context: Tensor) -> Tensor:
        "Logits (…, V): the deep output layer (eq. 7) on the last word, the state and what was seen."
        word = embedded + self.word_from_hidden(hidden) + self.word_from_context(context)
        return self.output(self.dropout(word.tanh()))

    def step(self,
             tokens: Tensor,  # (N,) the words said last
             state: State,
            ) -> tuple[Tensor, State]:  # logits (N, V) for the next word
        "One word: look, advance, say."
        embedded = self.dropout(self.embedding(tokens))
        context, state = self.look(state)
        state = self.advance(self.word_gates(embedded), context, state)
        return self.say(embedded, state.hidden, context), state

    def forward(self,
                features: Tensor,  # (I, P, D)
                captions: Tensor,  # (I, R, L) ids from <start> to <end>, then padding
                lengths: Tensor,   # (I, R)
               ) -> DecoderOutput:
        "Teacher forcing: each step gets the true word before, whatever it would have said itself."
        tokens, lengths = captions.flatten(0, 1), lengths.flatten()
        T = int(lengths.max()) - 1
        valid = torch.arange(T, device=lengths.device) < lengths[:, None] - 1
        embedded = self.dropout(self.embedding(tokens[:, :T]))
        hiddens, contexts, weights, betas = self.unroll(embedded, self.start(features).repeat(captions.shape[1]))
        logits = self.say(embedded[valid], hiddens[valid], contexts[valid])
        return DecoderOutput(logits, tokens[:, 1:T + 1][valid], weights * valid[..., None], betas * valid, valid)

    def unroll(self, embedded: Tensor, state: State) -> tuple[Tensor, ...]:
        "The time loop: only what depends on the step before is left in it."
        words, steps = self.word_gates(embedded), []
        for t in range(embedded.shape[1]):
            context, state = self.look(state)
            state = self.advance(words[:, t], context, state)
            steps.append((state.hidden, context, state.weights, state.beta.squeeze(-1)))
        return tuple(torch.stack(parts, 1) for parts in zip(*steps))
