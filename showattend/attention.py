from __future__ import annotations
from typing import NamedTuple
import torch
from torch import Tensor, nn

class Keys(NamedTuple):
    "What attention needs of an image, computed once: its features, and what queries are compared with."
    features: Tensor   # (I, P, D)
    keys: Tensor       # (I, P, A)

def pool(
    weights: Tensor,   # (N, P), N a multiple of I
    features: Tensor,  # (I, P, D)
) -> Tensor:           # (N, D)
    "Means of each image's features under its captions' weights, in one product an image."
    I, P, D = features.shape
    return (weights.view(I, -1, P).to(features.dtype) @ features).view(-1, D)

class UniformAttention(nn.Module):
    "Looks everywhere alike: the baseline that doesn't look."
    def __init__(self, feature_size: int, hidden_size: int, attention_size: int):
        super().__init__()

    def prepare(self, features: Tensor) -> Keys:
        "Nothing to compute."
        return Keys(features, features[..., :0])

    def forward(self, keys: Keys, hidden: Tensor) -> tuple[Tensor, Tensor]:
        "The mean feature for everyone."
        P = keys.features.shape[1]
        weights = hidden.new_full((len(hidden), P), 1 / P)
        return pool(weights, keys.features), weights

class AdditiveAttention(nn.Module):
    "Scores each position by a one-layer network on key plus query (Bahdanau et al. 2015; Xu et al. 2015, eq. 4–6)."
    def __init__(self,
                 feature_size: int,     # D, size of an encoder feature
                 hidden_size: int,      # H, size of the decoder's hidden state
                 attention_size: int):  # A, size of the space in which key and query meet
        super().__init__()
        self.key = nn.Linear(feature_size, attention_size)
        self.query = nn.Linear(hidden_size, attention_size, bias=False)  # the key's bias serves both
        self.score = nn.Linear(attention_size, 1, bias=False)            # a bias would cancel in the softmax

    def prepare(self,
                features: Tensor,  # (I, P, D) from the encoder
               ) -> Keys:
        "Once an image: projects its features to keys."
        keys = self.key(features)
        return Keys(features.to(keys.dtype), keys)   # cast once here, not at every step

    def scores(self, keys: Tensor, hidden: Tensor) -> Tensor:
        "e: (N, P) from keys (I, P, A) and hidden states (N, H); the captions of an image share its keys."
        I, P, A = keys.shape
        query = self.query(hidden).view(I, -1, 1, A)
        return self.score(torch.tanh(keys[:, None] + query)).view(-1, P)

    def forward(self,
                keys: Keys,      # from `prepare`
                hidden: Tensor,  # (N, H), N a multiple of I: the captions of the first image first
               ) -> tuple[Tensor, Tensor]:  # context (N, D), weights (N, P)
        "Once a step: where to look, and what is seen there."
        weights = self.scores(keys.keys, hidden).float().softmax(-1)
        return pool(weights, keys.features), weights

ATTENTIONS = {'additive': AdditiveAttention, 'uniform': UniformAttention}
