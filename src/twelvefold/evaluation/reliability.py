"""Fit the temperature of a task and measure how well its confidences match its scores.

Confidence is the probability shown for the best answer. It is compared with that answer's score in 0..1 (a soft score
for VQA). An answer outside the vocabulary, or a box outside the detected regions, counts as the mistake that a user
sees. Not in the paper. Source: Guo et al., "On calibration of modern neural networks", ICML 2017.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.optimize import minimize_scalar
from torch import Tensor

from twelvefold.evaluation.scores import CalibrationBin, Reliability
from twelvefold.families.shared.probabilities import probabilities as to_probabilities

NUM_BINS = 15
"""Source: Guo et al.; here of equal mass (as many answers in each), so that no bin is nearly empty."""

TEMPERATURE_RANGE = (0.05, 20.0)
"""A model that is always right on val would get temperature 0, a model that is never right infinity."""

EPSILON = 1e-6
"""Distance of confidences from 0 and 1, where one mistake would outweigh all other answers."""


def measure_reliability(
    temperature: float, confidences: Sequence[float], raw: Sequence[float], scores: Sequence[float]
) -> Reliability:
    """Compare confidences with scores in 0..1. ``raw``: the confidences without the temperature."""
    bins, bins_raw = calibration_bins(confidences, scores), calibration_bins(raw, scores)
    return Reliability(
        temperature, expected_calibration_error(bins), expected_calibration_error(bins_raw), bins, bins_raw
    )


def calibration_bins(confidences: ArrayLike, scores: ArrayLike) -> tuple[CalibrationBin, ...]:
    """Sort answers by confidence into at most ``NUM_BINS`` bins of equal mass."""
    both = np.stack([np.asarray(confidences, dtype=np.float64), np.asarray(scores, dtype=np.float64)], axis=1)
    ordered = both[np.argsort(both[:, 0], kind="stable")]
    parts = np.array_split(ordered, min(NUM_BINS, len(ordered))) if len(ordered) else []
    return tuple(
        CalibrationBin(round(float(part[:, 0].mean()), 4), round(float(part[:, 1].mean()), 4), len(part))
        for part in parts
    )


def expected_calibration_error(bins: Sequence[CalibrationBin]) -> float:
    """Return the mean difference between confidence and score over all answers, in points; NaN without answers."""
    total = sum(b.n for b in bins)
    return round(100 * sum(b.n * abs(b.confidence - b.score) for b in bins) / total, 2) if total else math.nan


def fit_temperature(logits: Tensor, scores: Tensor, *, independent: bool = False) -> float:
    """Return the temperature that minimizes the binary cross-entropy between best confidences and scores.

    logits: (N, A), minus infinity where there is no output. scores: (N,) in 0..1, of each row's best output.
    independent: every output has a probability of its own (sigmoid), else one distribution a row (softmax).
    """
    scores = scores.double()

    def cross_entropy(log_temperature: float) -> float:
        probabilities = to_probabilities(logits, math.exp(log_temperature), independent=independent)
        confidences = probabilities.amax(dim=1).double().clamp(EPSILON, 1 - EPSILON)
        return float(torch.nn.functional.binary_cross_entropy(confidences, scores))

    low, high = map(math.log, TEMPERATURE_RANGE)
    best = minimize_scalar(cross_entropy, bounds=(low, high), method="bounded", options={"xatol": 1e-3})
    return round(math.exp(best.x), 4)
