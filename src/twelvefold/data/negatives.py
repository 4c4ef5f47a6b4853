"""Find the nearest images of every image: the hard negatives of retrieval, computed before training.

Paper: section 3.2. The original project takes the 100 nearest by Euclidean distance between mean region features.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from twelvefold.progress import progress_bar

VERSION = 1
"""Version of the results of this module. Increase it when a change gives other results: files computed from them are
then computed again."""

NUM_NEIGHBORS = 99
"""The original keeps 100, of which the first is the image itself."""

MAX_EXACT = 20_000
"""Up to this many images all distances are computed (some seconds); above, an index is used."""

PROBES = 16
"""Cells of the index in which the neighbors of an image are searched. Our choice; the original has no index."""

_BLOCK_SIZE = 1024
"""Images compared at once: with 100,000 others this takes 400 MB of distances."""

Floats = NDArray[np.float32]
Indices = NDArray[np.int32]


def nearest(
    features: Floats, num_neighbors: int = NUM_NEIGHBORS, *, max_exact: int = MAX_EXACT, probes: int = PROBES
) -> Indices:
    """Return the indices of the rows nearest to each row of ``features`` (N, D), nearest first, without the row itself.

    The result is (N, min(num_neighbors, N - 1)) int32. Equally near rows come in any order. With more than
    ``max_exact`` rows only the ``probes`` nearest cells of an index are searched, so a row of a farther cell may be
    missed.

    Differs: the original searches a ball tree, which in so many dimensions compares all with all.
    """
    total = len(features)
    count = max(min(num_neighbors, total - 1), 0)
    result = np.zeros((total, count), dtype=np.int32)
    if not count:
        return result
    centered = np.asarray(features - features.mean(axis=0), dtype=np.float32)  # small values lose less when squared
    squares = np.einsum("nd,nd->n", centered, centered)
    cells, cell_order = _cluster(centered, 1 if total <= max_exact else round(total**0.5))
    with progress_bar(description="hard negatives", total=total) as bar:
        for cell, members in enumerate(cells):
            others = _candidates(cells, cell_order[cell], probes, count)
            for start in range(0, len(members), _BLOCK_SIZE):
                rows = members[start : start + _BLOCK_SIZE]
                # Squared distance without the row's own square, which does not change the order.
                distances = squares[others] - 2 * centered[rows] @ centered[others].T
                distances[rows[:, None] == others[None, :]] = np.inf
                result[rows] = others[_smallest(distances, count)]
                bar.advance(len(rows))
    return result


def _cluster(features: Floats, num_cells: int, rounds: int = 6) -> tuple[list[Indices], Indices]:
    """Cluster rows by k-means; return each cell's members, and for each cell all cells, nearest first."""
    random = np.random.Generator(np.random.PCG64(0))
    centers = features[random.choice(len(features), num_cells, replace=False)]
    cell_of = np.zeros(len(features), dtype=np.int32)
    for _ in range(rounds if num_cells > 1 else 1):
        for start in range(0, len(features), _BLOCK_SIZE):
            block = slice(start, start + _BLOCK_SIZE)
            cell_of[block] = _distances(features[block], centers).argmin(axis=1)
        order = np.argsort(cell_of, kind="stable")
        starts = np.searchsorted(cell_of[order], np.arange(num_cells + 1))
        members = [order[a:b].astype(np.int32) for a, b in pairwise(starts)]
        centers = np.stack([features[m].mean(axis=0) if len(m) else c for m, c in zip(members, centers, strict=True)])
    return members, np.argsort(_distances(centers, centers), axis=1, kind="stable").astype(np.int32)


def _candidates(cells: list[Indices], cell_order: Indices, probes: int, count: int) -> Indices:
    """Return the sorted members of the ``probes`` nearest cells, and of further ones until there are over ``count``."""
    chosen: list[Indices] = []
    for i, cell in enumerate(cell_order):
        if i >= probes and sum(map(len, chosen)) > count:
            break
        chosen.append(cells[cell])
    return np.sort(np.concatenate(chosen))


def _distances(rows: Floats, others: Floats) -> Floats:
    squares: Floats = np.einsum("nd,nd->n", others, others) - 2 * rows @ others.T
    return squares


def _smallest(distances: Floats, count: int) -> NDArray[np.intp]:
    """Return the column indices of the ``count`` smallest values of every row, ascending: (N, count)."""
    if count < distances.shape[1] // 4:
        columns = np.sort(np.argpartition(distances, count, axis=1)[:, :count], axis=1)
    else:
        columns = np.broadcast_to(np.arange(distances.shape[1]), distances.shape)
    order = np.argsort(np.take_along_axis(distances, columns, axis=1), axis=1, kind="stable")[:, :count]
    return np.take_along_axis(columns, order, axis=1)
