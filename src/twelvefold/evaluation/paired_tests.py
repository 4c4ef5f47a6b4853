"""Test whether two models differ on the same examples: by image for two runs, by seed for several runs a side.

Pure statistics on NumPy arrays. Differences are ``other - baseline``, in the unit of the scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twelvefold.evaluation.bootstrap import bootstrap95

ALPHA = 0.05
"""Two-sided level of all tests and intervals."""

POWER = 0.80
"""Power at which the smallest detectable difference is stated."""

PERMUTATIONS = 10_000
"""Random sign flips: the smallest p-value is 1/10,001, below 0.05 after correction for hundreds of tasks."""

_MAX_SIGNS_IN_MEMORY = 8_000_000

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class DifferenceTest:
    """A difference, its 95 % interval, its p-value (two-sided), and the smallest difference that a test with this
    standard error detects with a power of 80 % at the 5 % level; None if the standard error is 0."""

    difference: float
    ci95: tuple[float, float]
    p: float
    detectable: float | None


@dataclass(frozen=True, slots=True)
class ImageSums:
    """Differences of one task, added up by image.

    images: names of the images, sorted, (m,). sums: sums of the differences of an image's examples, (m,). counts: its
    examples, (m,). Images tend to be right or wrong as a whole, so an image is the unit, not an example.
    """

    images: NDArray[np.str_]
    sums: Numbers
    counts: Numbers

    @classmethod
    def of(cls, differences: ArrayLike, images: Sequence[str]) -> ImageSums:
        """Add up the differences of examples, (n,), by image."""
        names, ids = np.unique(np.asarray(images, dtype=np.str_), return_inverse=True)
        values = np.asarray(differences, dtype=np.float64)
        return cls(names, np.bincount(ids, weights=values).astype(np.float64), np.bincount(ids).astype(np.float64))

    @property
    def mean(self) -> float:
        """Return the mean difference over examples."""
        return float(self.sums.sum() / self.counts.sum())


def paired_image_test(differences: ArrayLike, images: Sequence[str], *, seed: int = 0) -> DifferenceTest:
    """Test the mean difference of paired examples, (n,), that are of at least two images.

    Interval: percentile bootstrap of whole images. p-value: all differences of an image change their sign together
    (the models' answers are exchangeable if they do not differ). Standard error: of a ratio, clustered by image.
    """
    task = ImageSums.of(differences, images)
    interval = bootstrap95(differences, images, seed=seed)
    deviations = (task.sums - task.mean * task.counts) / task.counts.sum()
    return DifferenceTest(
        task.mean, interval, sign_flip_p(task.sums, seed=seed), _detectable_by_image(_clustered_error(deviations))
    )


def average_image_test(tasks: Sequence[ImageSums], *, seed: int = 0) -> DifferenceTest:
    """Test the mean of several tasks' mean differences, each task with equal weight.

    An image that several tasks share is one unit for all of them. The interval resamples what each image adds to the
    difference, with the number of examples of each task held fixed.
    """
    images, ids = np.unique(np.concatenate([task.images for task in tasks]), return_inverse=True)
    weighted = [task.sums / (task.counts.sum() * len(tasks)) for task in tasks]
    deviations = [(task.sums - task.mean * task.counts) / (task.counts.sum() * len(tasks)) for task in tasks]
    sums, errors = (
        np.bincount(ids, weights=np.concatenate(values)).astype(np.float64) for values in (weighted, deviations)
    )
    difference = float(np.mean([task.mean for task in tasks]))
    low, high = bootstrap95(difference + len(images) * errors, images.tolist(), seed=seed)
    return DifferenceTest(
        difference, (low, high), sign_flip_p(sums, seed=seed), _detectable_by_image(_clustered_error(errors))
    )


def seed_test(baseline: ArrayLike, other: ArrayLike, *, paired: bool) -> DifferenceTest | None:
    """Test the difference of the mean scores of several runs a side, (s,) and (t,), of at least two each.

    ``paired``: ``baseline[i]`` and ``other[i]`` have the same seed (paired t-test); else Welch's t-test. The result is
    None if the scores have no spread although the means differ: then nothing can be tested.
    """
    from scipy import stats

    first, second = (np.round(np.asarray(scores, dtype=np.float64), 9) for scores in (baseline, other))
    difference = float(second.mean() - first.mean())
    if paired:
        variances, sizes = [float((second - first).var(ddof=1))], [len(first)]
    else:
        variances, sizes = [float(side.var(ddof=1)) for side in (first, second)], [len(first), len(second)]
    parts = np.array(variances) / sizes  # squared standard error of each sample
    standard_error = float(np.sqrt(parts.sum()))
    if standard_error < 1e-8:
        return DifferenceTest(0.0, (0.0, 0.0), 1.0, None) if abs(difference) < 1e-8 else None
    degrees = parts.sum() ** 2 / (parts**2 / (np.array(sizes) - 1)).sum()  # Welch-Satterthwaite
    critical = float(stats.t.ppf(1 - ALPHA / 2, degrees))
    half, p = critical * standard_error, float(2 * stats.t.sf(abs(difference) / standard_error, degrees))
    detectable = standard_error * (critical + float(stats.t.ppf(POWER, degrees)))
    return DifferenceTest(difference, (difference - half, difference + half), p, detectable)


def sign_flip_p(sums: ArrayLike, *, permutations: int = PERMUTATIONS, seed: int = 0) -> float:
    """Return the two-sided p-value of the sum of ``sums``, (m,), under random changes of their signs.

    The observed signs count as one of the permutations, so the p-value is never 0.
    """
    values = np.asarray(sums, dtype=np.float64)
    values = values[values != 0]
    if not values.size:
        return 1.0
    observed, random, extreme = abs(values.sum()), np.random.default_rng(seed), 0
    tolerance = 1e-9 * np.abs(values).sum()  # sums of the same numbers in another order
    block = max(1, _MAX_SIGNS_IN_MEMORY // len(values))
    for start in range(0, permutations, block):
        count = min(block, permutations - start)
        signs = random.integers(2, size=(count, len(values)), dtype=np.int8)  # (count, m): 1 changes the sign
        flipped = values.sum() - 2 * (signs @ values)
        extreme += int((np.abs(flipped) >= observed - tolerance).sum())
    return (extreme + 1) / (permutations + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number by Holm's method, in the same order.

    Source: Holm (1979), A simple sequentially rejective multiple test procedure. The chance of any false finding is at
    most the level, whatever the dependence between the tests.
    """
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected


def _clustered_error(deviations: Numbers) -> float:
    """Return the standard error of a mean from what each of m images adds to its deviation, (m,)."""
    count = len(deviations)
    return float(np.sqrt(count / (count - 1) * np.square(deviations).sum()))


def _detectable_by_image(standard_error: float) -> float | None:
    from scipy.special import ndtri

    factor = float(ndtri(1 - ALPHA / 2) + ndtri(POWER))
    return factor * standard_error if standard_error > 1e-12 else None
