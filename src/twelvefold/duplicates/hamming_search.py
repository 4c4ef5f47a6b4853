"""All pairs of close hashes among a million, without comparing all with all. Paper: section 2.2 knew ids only.

Two hashes that differ in at most ``r`` of 64 bits, cut into ``r + k`` blocks, agree in at least ``k`` whole blocks. So
for each choice of ``k`` blocks the hashes are sorted by those blocks alone, and only neighbours that agree in them are
compared: every close pair meets in some table (Manku et al., "Detecting near-duplicates for web crawling", 2007).
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
Places = NDArray[np.int64]

BITS = 64
_ROW_COST, _PAIR_COST = 14.0, 1.0
"""What a row costs in a table (its key, the sort, the gather) in comparisons: 180 ns and 13 ns here."""

ALWAYS = 5_000_000
"""Comparisons that a table may always take: all pairs of 3,000 hashes."""
PER_ROW = 64
"""Others that a row may be compared with in a table, beyond twice those that it meets where hashes are evenly spread:
only a crowd of hashes that are nearly the same is cut short. A million then take three times as long at worst."""
MOST = 500
"""Pairs that are kept of one hash: without a bound a hundred thousand blank pictures would have five billion."""


class Matches(NamedTuple):
    """``pairs``: (M, 2), places in the hashes, the lesser first, in order, each once. ``crowded``: (C,) places of
    hashes that have so many others close by that some of their pairs may be missing; usually empty."""

    pairs: Places
    crowded: Places


def close_pairs(hashes: Hashes, second: Hashes, radius: int, *, per_row: int = PER_ROW, most: int = MOST) -> Matches:
    """The pairs of rows whose ``hashes`` and whose ``second`` hashes both differ in at most ``radius`` bits.

    ``hashes``, ``second``: (N,) uint64. Exact for all that are not ``crowded``. ``per_row`` and ``most`` bound time and
    memory: comparisons of a row in a table, beyond what even hashes need, and pairs kept of a row.
    """
    total = len(hashes)
    blocks, chosen = plan(total, radius)
    cuts = [BITS * i // max(blocks, 1) for i in range(blocks + 1)]
    masks = [_ones(end) ^ _ones(start) for start, end in pairwise(cuts)]
    count = np.zeros(total, dtype=np.int32)
    crowded = np.zeros(total, dtype=bool)
    found: list[Places] = []
    even = total / 2 ** (BITS * chosen / max(blocks, 1))
    reach = max(per_row + int(2 * even), ALWAYS // max(total, 1))
    tables = list(combinations(range(blocks), chosen))
    for table in track(tables, description="tables of hashes") if total > 50_000 else tables:
        order, ends = _sorted(hashes, second, [(cuts[b], cuts[b + 1]) for b in table])
        # A pair that agrees in more blocks than chosen meets in several tables; the first of them reports it.
        earlier = [masks[b] for b in range(max(table, default=0)) if b not in table]
        for left, right in _neighbours(hashes[order], second[order], ends, radius, reach, earlier, order, crowded):
            full = (count[left] >= most) & (count[right] >= most)
            crowded[left[full]] = crowded[right[full]] = True
            left, right = left[~full], right[~full]
            np.add.at(count, left, 1)
            np.add.at(count, right, 1)
            found.append(np.stack([np.minimum(left, right), np.maximum(left, right)], axis=1))
    pairs = np.concatenate(found) if found else np.zeros((0, 2), dtype=np.int64)
    return Matches(pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))], np.flatnonzero(crowded))


def plan(total: int, radius: int) -> tuple[int, int]:
    """Into how many blocks to cut, and how many of them to choose for a table: what costs least with evenly spread
    hashes. One table of no block compares all with all."""

    def cost(chosen: int) -> float:
        kept = BITS * chosen / (radius + chosen)
        return comb(radius + chosen, chosen) * (_ROW_COST * total + _PAIR_COST * total**2 / 2 / 2**kept)

    return min(((radius + chosen, chosen) for chosen in range(7)), key=lambda it: cost(it[1]))


def _ones(count: int) -> int:
    return (1 << count) - 1


def _sorted(hashes: Hashes, second: Hashes, blocks: list[tuple[int, int]]) -> tuple[Places, Places]:
    """The rows in order of the bits of ``blocks``, then of the second hash, so that in a crowd the likest stand
    together; and for every place the end of the run that agrees in those bits."""
    key = np.zeros(len(hashes), dtype=np.uint64)
    width = 0
    for start, end in blocks:
        part = (hashes >> np.uint64(start)) & np.uint64(_ones(end - start))
        key = (key << np.uint64(end - start)) | part
        width += end - start
    rest = np.uint64(BITS - width)
    order = np.argsort((key << rest) | (second >> np.uint64(width)) if width else second)
    key = key[order]
    starts = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]]))
    lengths = np.diff(np.append(starts, len(key)))
    return order, np.repeat(starts + lengths, lengths)


def _neighbours(
    hashes: Hashes,
    second: Hashes,
    ends: Places,
    radius: int,
    reach: int,
    earlier: list[int],
    order: Places,
    crowded: NDArray[np.bool_],
) -> Iterator[tuple[Places, Places]]:
    """Close pairs of one table, the nearest in its order first: rows one apart, then two apart, ... within their run.

    Stops at ``reach``, and says in ``crowded`` whom that concerns.
    """
    here = np.flatnonzero(ends - np.arange(len(ends)) > 1)
    apart = 1
    while len(here):
        if apart > reach:
            crowded[order[here]] = crowded[order[here + apart]] = True
            return
        there = here + apart
        differ = hashes[here] ^ hashes[there]
        near = np.flatnonzero(np.bitwise_count(differ) <= radius)
        near = near[np.bitwise_count(second[here[near]] ^ second[there[near]]) <= radius]
        for mask in earlier:
            near = near[(differ[near] & np.uint64(mask)) != 0]
        if len(near):
            yield order[here[near]], order[there[near]]
        apart += 1
        here = here[here + apart < ends[here]]
