"""Bootstrap confidence intervals of a mean score, resampled by image because questions share images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 2_000
"""Enough to keep the second digit of a percentage the same from seed to seed."""

_MAX_INDICES_IN_MEMORY = 4_000_000


def bootstrap95(
    values: ArrayLike, clusters: Sequence[str], *, seed: int = 0, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """Return the central 95 % interval of the mean of ``values`` (n,) under resampling of whole clusters.

    ``clusters`` names the cluster of each value, usually its image. Questions about one image tend to be right or
    wrong together; resampling questions instead would make the interval too narrow. Percentile bootstrap. The result
    is NaN for no values, and has no width for constant ones.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.size == 0:
        return (float("nan"), float("nan"))
    _, cluster_ids = np.unique(np.asarray(clusters), return_inverse=True)
    sums = np.bincount(cluster_ids, weights=values).astype(np.float64)
    counts = np.bincount(cluster_ids).astype(np.float64)
    rng = np.random.default_rng(seed)
    means: list[NDArray[np.float64]] = []
    block = max(1, _MAX_INDICES_IN_MEMORY // len(sums))
    for start in range(0, resamples, block):
        indices = rng.integers(len(sums), size=(min(block, resamples - start), len(sums)))
        means.append(sums[indices].sum(axis=1) / counts[indices].sum(axis=1))
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5])
    return (float(low), float(high))
