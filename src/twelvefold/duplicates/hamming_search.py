"""Find all pairs of similar hashes among a million without comparing every pair. Paper: section 2.2.

Two 64-bit hashes that differ in at most ``r`` bits, cut into ``r + k`` blocks, agree in at least ``k`` whole blocks. So
the hashes are sorted by each choice of ``k`` blocks, and only hashes that agree in those blocks are compared. Every
close pair occurs in some table (Manku et al., "Detecting near-duplicates for web crawling", 2007).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, pairwise
from math import comb
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from twelvefold.progress import track

Hashes = NDArray[np.uint64]
Indices = NDArray[np.int64]

NUM_BITS = 64
_ROW_COST, _PAIR_COST = 14.0, 1.0
"""Cost of a row in a table (key, sort and gather: 180 ns) in units of a comparison (13 ns)."""

FREE_COMPARISONS = 5_000_000
"""Comparisons that a table may always make: all pairs of 3,000 hashes."""
MAX_NEIGHBORS = 64
"""Rows that a row may be compared with in a table, beyond twice the number expected of evenly spread hashes. Only a
crowd of almost equal hashes reaches this limit; a million of them then take at most three times as long."""
MAX_PAIRS = 500
"""Pairs kept for each hash. Without a limit, a hundred thousand blank images would give five billion pairs."""


class CloseHashes(NamedTuple):
    """``pairs``: (M, 2) int64 row indices, the smaller first, sorted and unique. ``crowded``: (C,) int64 indices of
    rows with so many close rows that some of their pairs may be missing; usually empty."""

    pairs: Indices
    crowded: Indices


def find_close_pairs(
    hashes: Hashes,
    second_hashes: Hashes,
    radius: int,
    *,
    max_neighbors: int = MAX_NEIGHBORS,
    max_pairs: int = MAX_PAIRS,
) -> CloseHashes:
    """Return the pairs of rows whose ``hashes`` and ``second_hashes`` both differ in at most ``radius`` bits.

    ``hashes``, ``second_hashes``: (N,) uint64. The result is exact for all rows that are not ``crowded``.
    ``max_neighbors`` limits time (comparisons of a row in one table), ``max_pairs`` limits memory (pairs of a row).
    """
    num_rows = len(hashes)
    num_blocks, num_chosen = choose_blocks(num_rows, radius)
    bounds = [NUM_BITS * i // max(num_blocks, 1) for i in range(num_blocks + 1)]
    masks = [_low_bits(end) ^ _low_bits(start) for start, end in pairwise(bounds)]
    num_pairs = np.zeros(num_rows, dtype=np.int32)
    crowded = np.zeros(num_rows, dtype=bool)
    blocks: list[Indices] = []
    expected = num_rows / 2 ** (NUM_BITS * num_chosen / max(num_blocks, 1))
    max_distance = max(max_neighbors + int(2 * expected), FREE_COMPARISONS // max(num_rows, 1))
    tables = list(combinations(range(num_blocks), num_chosen))
    for table in track(tables, description="hash tables") if num_rows > 50_000 else tables:
        order, ends = _sort_by_blocks(hashes, second_hashes, [(bounds[b], bounds[b + 1]) for b in table])
        # A pair that agrees in more blocks than chosen occurs in several tables; only the first of them reports it.
        earlier = [masks[b] for b in range(max(table, default=0)) if b not in table]
        sorted_hashes = hashes[order], second_hashes[order]
        for left, right in _close_neighbors(*sorted_hashes, ends, radius, max_distance, earlier, order, crowded):
            is_full = (num_pairs[left] >= max_pairs) & (num_pairs[right] >= max_pairs)
            crowded[left[is_full]] = crowded[right[is_full]] = True
            left, right = left[~is_full], right[~is_full]
            np.add.at(num_pairs, left, 1)
            np.add.at(num_pairs, right, 1)
            blocks.append(np.stack([np.minimum(left, right), np.maximum(left, right)], axis=1))
    pairs = np.concatenate(blocks) if blocks else np.zeros((0, 2), dtype=np.int64)
    return CloseHashes(pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))], np.flatnonzero(crowded))


def choose_blocks(num_rows: int, radius: int) -> tuple[int, int]:
    """Return the number of blocks and how many of them a table is sorted by, at the lowest cost for evenly spread
    hashes. With zero blocks chosen, a single table compares every pair."""

    def cost(num_chosen: int) -> float:
        num_key_bits = NUM_BITS * num_chosen / (radius + num_chosen)
        comparisons = num_rows**2 / 2 / 2**num_key_bits
        return comb(radius + num_chosen, num_chosen) * (_ROW_COST * num_rows + _PAIR_COST * comparisons)

    return min(((radius + num_chosen, num_chosen) for num_chosen in range(7)), key=lambda choice: cost(choice[1]))


def _low_bits(count: int) -> int:
    return (1 << count) - 1


def _sort_by_blocks(hashes: Hashes, second_hashes: Hashes, blocks: list[tuple[int, int]]) -> tuple[Indices, Indices]:
    """Return the order of the rows by the bits of ``blocks``, and for each sorted row the end of the run that agrees in
    those bits. Ties are sorted by the second hash, so that in a crowd the most similar rows are adjacent."""
    key = np.zeros(len(hashes), dtype=np.uint64)
    width = 0
    for start, end in blocks:
        part = (hashes >> np.uint64(start)) & np.uint64(_low_bits(end - start))
        key = (key << np.uint64(end - start)) | part
        width += end - start
    rest = np.uint64(NUM_BITS - width)
    order = np.argsort((key << rest) | (second_hashes >> np.uint64(width)) if width else second_hashes)
    key = key[order]
    starts = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]]))
    lengths = np.diff(np.append(starts, len(key)))
    return order, np.repeat(starts + lengths, lengths)


def _close_neighbors(
    hashes: Hashes,
    second_hashes: Hashes,
    ends: Indices,
    radius: int,
    max_distance: int,
    earlier: list[int],
    order: Indices,
    crowded: NDArray[np.bool_],
) -> Iterator[tuple[Indices, Indices]]:
    """Yield close pairs within the runs of one table: first adjacent rows, then rows two apart, and so on.

    Stops at ``max_distance`` and marks the rows that this affects in ``crowded``.
    """
    rows = np.flatnonzero(ends - np.arange(len(ends)) > 1)
    distance = 1
    while len(rows):
        if distance > max_distance:
            crowded[order[rows]] = crowded[order[rows + distance]] = True
            return
        others = rows + distance
        differing_bits = hashes[rows] ^ hashes[others]
        close = np.flatnonzero(np.bitwise_count(differing_bits) <= radius)
        close = close[np.bitwise_count(second_hashes[rows[close]] ^ second_hashes[others[close]]) <= radius]
        for mask in earlier:
            close = close[(differing_bits[close] & np.uint64(mask)) != 0]
        if len(close):
            yield order[rows[close]], order[others[close]]
        distance += 1
        rows = rows[rows + distance < ends[rows]]
