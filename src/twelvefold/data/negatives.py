"""Which pictures look most alike: the hard negatives of retrieval, found off-line with an index.

Paper: section 3.2. The original project takes the 100 nearest by Euclidean distance between mean region features.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from twelvefold.progress import progress_bar

VERSION = 1
"""Version of what this module computes. Increase it when a change gives other results: files made from it are then
made again."""

NEIGHBOURS = 99
"""The original keeps 100, the first being the picture itself."""

EXACT_BELOW = 20_000
"""Up to so many pictures everything is compared with everything (some seconds); above, within the index."""

PROBES = 16
"""Cells of the index that are searched for a picture. Ours."""

_ROWS = 1024
"""Pictures compared at once: with 100,000 others, 400 MB of distances."""

Floats = NDArray[np.float32]
Places = NDArray[np.int32]


def nearest(
    features: Floats, count: int = NEIGHBOURS, *, exact_below: int = EXACT_BELOW, probes: int = PROBES
) -> Places:
    """(N, min(count, N - 1)) int32: for every row of (N, D) ``features`` the places of the rows nearest to it.

    Nearest first, the row itself left out; which of equally near rows comes is not said. Above ``exact_below``
    rows only the ``probes`` cells around a row's own are searched, so a far cell's member may be missed.

    Differs: the original searches a ball tree, which in so many dimensions compares all with all.
    """
    total = len(features)
    count = max(min(count, total - 1), 0)
    found = np.zeros((total, count), dtype=np.int32)
    if not count:
        return found
    centred = np.asarray(features - features.mean(axis=0), dtype=np.float32)  # near zero, squares lose less
    squares = np.einsum("nd,nd->n", centred, centred)
    cells, near = _index(centred, 1 if total <= exact_below else round(total**0.5))
    with progress_bar(description="hard negatives", total=total) as bar:
        for cell, members in enumerate(cells):
            others = _candidates(cells, near[cell], probes, count)
            for start in range(0, len(members), _ROWS):
                rows = members[start : start + _ROWS]
                distances = squares[others] - 2 * centred[rows] @ centred[others].T  # but for the row's own square
                distances[rows[:, None] == others[None, :]] = np.inf
                found[rows] = others[_least(distances, count)]
                bar.advance(len(rows))
    return found


def _index(features: Floats, cells: int, rounds: int = 6) -> tuple[list[Places], Places]:
    """The members of every cell of a k-means, and (cells, cells): for each cell all cells, nearest first."""
    random = np.random.Generator(np.random.PCG64(0))
    centres = features[random.choice(len(features), cells, replace=False)]
    own = np.zeros(len(features), dtype=np.int32)
    for _ in range(rounds if cells > 1 else 1):
        for start in range(0, len(features), _ROWS):
            own[start : start + _ROWS] = _distances(features[start : start + _ROWS], centres).argmin(axis=1)
        order = np.argsort(own, kind="stable")
        starts = np.searchsorted(own[order], np.arange(cells + 1))
        members = [order[a:b].astype(np.int32) for a, b in pairwise(starts)]
        centres = np.stack([features[m].mean(axis=0) if len(m) else c for m, c in zip(members, centres, strict=True)])
    return members, np.argsort(_distances(centres, centres), axis=1, kind="stable").astype(np.int32)


def _candidates(cells: list[Places], near: Places, probes: int, count: int) -> Places:
    """Members of the ``probes`` nearest cells, and of further ones until there are more than ``count``; sorted."""
    chosen: list[Places] = []
    for place, cell in enumerate(near):
        if place >= probes and sum(map(len, chosen)) > count:
            break
        chosen.append(cells[cell])
    return np.sort(np.concatenate(chosen))


def _distances(rows: Floats, others: Floats) -> Floats:
    squares: Floats = np.einsum("nd,nd->n", others, others) - 2 * rows @ others.T
    return squares


def _least(distances: Floats, count: int) -> NDArray[np.intp]:
    """(N, count): places of the ``count`` least of every row, ascending."""
    if count < distances.shape[1] // 4:
        places = np.sort(np.argpartition(distances, count, axis=1)[:, :count], axis=1)
    else:
        places = np.broadcast_to(np.arange(distances.shape[1]), distances.shape)
    order = np.argsort(np.take_along_axis(distances, places, axis=1), axis=1, kind="stable")[:, :count]
    return np.take_along_axis(places, order, axis=1)
