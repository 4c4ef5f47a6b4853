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
import xxhash
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
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


def mean_cross_entropy(confidences: ArrayLike, scores: ArrayLike) -> float:
    """Return the mean binary cross-entropy of best confidences with scores in 0..1, in nats; NaN without answers."""
    p = np.clip(np.asarray(confidences, dtype=np.float64), EPSILON, 1 - EPSILON)
    s = np.asarray(scores, dtype=np.float64)
    return float(-(s * np.log(p) + (1 - s) * np.log1p(-p)).mean()) if len(s) else math.nan


def split_by_image(images: Sequence[Sequence[str]], seed: int) -> NDArray[np.bool_]:
    """Return which examples are in the first of two halves: (N,). No image is in both.

    ``images``: the images of each example. Examples that share an image stay together: these groups, in an order drawn
    from ``seed`` and the names of their images, go to the half with fewer examples.
    """
    keys = {key: column for column, key in enumerate(sorted({key for row in images for key in row}))}
    rows = np.repeat(np.arange(len(images)), [len(row) for row in images])
    columns = len(images) + np.array([keys[key] for row in images for key in row], dtype=np.int64)
    size = len(images) + len(keys)
    edges = coo_array((np.ones(len(rows), dtype=np.int8), (rows, columns)), shape=(size, size))
    labels = connected_components(edges, directed=False)[1]
    groups: dict[int, list[int]] = {}
    for example, label in enumerate(labels[: len(images)].tolist()):
        groups.setdefault(label, []).append(example)

    def draw(members: list[int]) -> int:
        name = min(key for example in members for key in images[example])
        return xxhash.xxh3_64_intdigest(f"{seed}/{name}".encode())

    first, sizes = np.zeros(len(images), dtype=np.bool_), [0, 0]
    for members in sorted(groups.values(), key=draw):
        half = int(sizes[0] > sizes[1])
        sizes[half] += len(members)
        first[members] = half == 0
    return first
