"""How sure a mean score is: bootstrap intervals that resample pictures, because questions share them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 2_000
"""Enough for the second digit of a percentage to hold still between seeds."""

_RESAMPLED_AT_ONCE = 4_000_000  # draws held in memory together


def bootstrap95(
    values: ArrayLike, clusters: Sequence[str], *, seed: int = 0, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """The central 95 % of the mean of ``values`` (n,) when whole clusters are drawn again with replacement.

    ``clusters`` names what each value hangs on, usually its picture: several questions on one picture are right
    or wrong together, so resampling questions alone would call a score surer than it is. An empty or constant
    list gives an interval of no width. Percentile bootstrap.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.size == 0:
        return (float("nan"), float("nan"))
    sums, counts = _per_cluster(values, clusters)
    rng = np.random.default_rng(seed)
    means: list[NDArray[np.float64]] = []
    at_once = max(1, _RESAMPLED_AT_ONCE // len(sums))
    for start in range(0, resamples, at_once):
        drawn = rng.integers(len(sums), size=(min(at_once, resamples - start), len(sums)))
        means.append(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1))
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5])
    return (float(low), float(high))


def _per_cluster(
    values: NDArray[np.float64], clusters: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    _, place = np.unique(np.asarray(clusters), return_inverse=True)
    sums = np.bincount(place, weights=values).astype(np.float64)
    return sums, np.bincount(place).astype(np.float64)
