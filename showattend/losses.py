from __future__ import annotations
import torch
from torch import Tensor
from torch.nn import functional as F
from showattend.decoder import DecoderOutput

def word_loss(
    logits: Tensor,                # (valid, V)
    targets: Tensor,               # (valid,)
    label_smoothing: float = 0.0,  # share of the target spread over all words
) -> Tensor:                       # nats a word
    "Cross-entropy over the real words."
    return F.cross_entropy(logits.float(), targets, label_smoothing=label_smoothing)

def doubly_stochastic(
    weights: Tensor,  # (N, T, P), zero on padding
) -> Tensor:
    "Mean of (1 − Σ_t α_ti)² over captions and positions: look at every part about once (Xu et al. 2015, eq. 14)."
    return (1 - weights.sum(1)).square().mean()

def caption_loss(
    output: DecoderOutput,
    label_smoothing: float = 0.0,
    attention_penalty: float = 0.0,  # λ
) -> Tensor:
    "What training minimises: word loss plus λ times the doubly stochastic penalty."
    loss = word_loss(output.logits, output.targets, label_smoothing)
    if not attention_penalty: return loss
    said = output.valid.any(1)          # an image with fewer captions leaves rows that say nothing
    return loss + attention_penalty * doubly_stochastic(output.weights[said])
