"""Convert logits to probabilities and ranked outputs, for all families.

A task's temperature is fitted on val so that probabilities match how often a prediction is right (``twelvefold
calibrate``). It changes probabilities only; the ranking follows from the logits. Source: Guo et al., "On calibration of
modern neural networks", ICML 2017; not in the paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from twelvefold.schema import ExamplePrediction, Ranked


def probabilities(logits: Tensor, temperature: float = 1.0, *, independent: bool = False) -> Tensor:
    """Return float32 probabilities of the logits' shape: softmax over each row, or sigmoid if ``independent``."""
    scaled = logits.float() / temperature
    return torch.sigmoid(scaled) if independent else F.softmax(scaled, dim=1)


def top_k(
    logits: Tensor, k: int, temperature: float = 1.0, *, independent: bool = False
) -> tuple[list[list[float]], list[list[int]]]:
    """Return the probabilities and the indices of each row's ``k`` greatest logits, greatest first.

    Ranks by logits, because probabilities that round to 1 would tie.
    """
    indices = logits.float().topk(min(k, logits.shape[1]), dim=1).indices
    values: list[list[float]] = probabilities(logits, temperature, independent=independent).gather(1, indices).tolist()
    return values, indices.tolist()


def decode_names(
    logits: Tensor,
    example_ids: Sequence[str],
    names: Sequence[str],
    task: str,
    top: int = 5,
    temperature: float = 1.0,
    *,
    independent: bool = False,
) -> list[ExamplePrediction]:
    """Return the ``top`` most probable outputs of each example by name.

    ``logits``: (examples, outputs). ``names``: of the outputs; for a search in a pool of images their keys.
    """
    values, indices = top_k(logits, top, temperature, independent=independent)
    return [
        ExamplePrediction(id_, task, tuple(Ranked(p, name=names[i]) for p, i in zip(row, outputs, strict=True)))
        for id_, row, outputs in zip(example_ids, values, indices, strict=True)
    ]


def lower_probabilities(ranked: Sequence[Ranked], weight: float, chance: float) -> tuple[Ranked, ...]:
    """Return the outputs with probabilities ``weight * p + (1 - weight) * chance``, in the same order.

    For inputs that are unlike the training data, about which temperatures say nothing. ``weight``: 1 for usual inputs.
    """
    return tuple(replace(rank, probability=weight * rank.probability + (1 - weight) * chance) for rank in ranked)
