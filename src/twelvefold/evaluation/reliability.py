"""How far a model's confidence can be believed: the temperature that makes it so, and the error that is left.

Confidence is the probability that is shown for the best answer; what it is held against is that answer's score in
0..1 (of VQA a soft score). So a box that was never among the regions, or an answer outside the list, counts as the
mistake that a person sees. Not in the paper. Source: Guo et al., "On calibration of modern neural networks", ICML 2017.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.optimize import minimize_scalar
from torch import Tensor

from twelvefold.evaluation.scores import Bin, Reliability
from twelvefold.families.probabilities import chances

BINS = 15
"""Source: Guo et al.; here of equal mass (as many answers in each), so that none is nearly empty."""

RANGE = (0.05, 20.0)
"""Temperatures tried: a model that is always right on val would ask for 0, one that knows nothing for infinity."""

SUREST = 1e-6
"""Confidence is held this far from 0 and 1, where one mistake would outweigh everything."""


def reliability(
    temperature: float, confidences: Sequence[float], raw: Sequence[float], scores: Sequence[float]
) -> Reliability:
    """What is left of the error with a temperature; ``raw``: confidences without it."""
    with_it, without = bins(confidences, scores), bins(raw, scores)
    return Reliability(temperature, expected_error(with_it), expected_error(without), with_it, without)


def bins(confidences: ArrayLike, scores: ArrayLike) -> tuple[Bin, ...]:
    """At most ``BINS`` bins of equal mass."""
    both = np.stack([np.asarray(confidences, dtype=np.float64), np.asarray(scores, dtype=np.float64)], axis=1)
    ordered = both[np.argsort(both[:, 0], kind="stable")]
    parts = np.array_split(ordered, min(BINS, len(ordered))) if len(ordered) else []
    return tuple(
        Bin(round(float(part[:, 0].mean()), 4), round(float(part[:, 1].mean()), 4), len(part)) for part in parts
    )


def expected_error(of: Sequence[Bin]) -> float:
    """Expected calibration error in points: by how much confidence and score differ, over all answers."""
    total = sum(one.n for one in of)
    return round(100 * sum(one.n * abs(one.confidence - one.score) for one in of) / total, 2) if total else math.nan


def fitted_temperature(logits: Tensor, scores: Tensor, *, own: bool = False) -> float:
    """The temperature by which the best answers' confidences make their scores likeliest (binary cross-entropy).

    logits: (N, A), minus infinity where there is no output. scores: (N,) in 0..1, of each row's highest.
    """
    scores = scores.double()

    def surprise(log_temperature: float) -> float:
        sure = chances(logits, math.exp(log_temperature), own=own).amax(dim=1).double().clamp(SUREST, 1 - SUREST)
        return float(torch.nn.functional.binary_cross_entropy(sure, scores))

    low, high = map(math.log, RANGE)
    found = minimize_scalar(surprise, bounds=(low, high), method="bounded", options={"xatol": 1e-3})
    return round(math.exp(found.x), 4)
