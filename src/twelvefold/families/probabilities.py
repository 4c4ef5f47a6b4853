"""From logits to probabilities, for all four families: the one place where a task's temperature comes in.

A temperature is fitted on val so that a probability says how often it is right (``twelvefold calibrate``). It moves
probabilities alone: what is likeliest, and in which order, is told by the logits. Source of the method: Guo et al.,
"On calibration of modern neural networks", ICML 2017; it is not in the paper.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def chances(logits: Tensor, temperature: float = 1.0, *, own: bool = False) -> Tensor:
    """Float32 of the logits' shape: each output's probability, soft-max over a row, or ``own``: a sigmoid each."""
    warmed = logits.float() / temperature
    return torch.sigmoid(warmed) if own else F.softmax(warmed, dim=1)


def likeliest(
    logits: Tensor, top: int, temperature: float = 1.0, *, own: bool = False
) -> tuple[list[list[float]], list[list[int]]]:
    """The probabilities of every row's ``top`` outputs and their places, in the order of the logits: probabilities
    that round to one would tie."""
    places = logits.float().topk(min(top, logits.shape[1]), dim=1).indices
    values: list[list[float]] = chances(logits, temperature, own=own).gather(1, places).tolist()
    return values, places.tolist()
