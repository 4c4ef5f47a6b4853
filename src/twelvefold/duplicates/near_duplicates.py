"""Pictures that look alike: candidates by two hashes that must agree, then each pair looked at itself.

Hashes alone can't do it: of pictures with one thing changed, four in five are as close by both hashes as true copies
are (docs/results/lookalikes.md). Paper: section 2.2 knew ids only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from PIL import Image

from twelvefold.duplicates.align_and_compare import SHAPES, compare, small
from twelvefold.duplicates.hamming_search import close_pairs
from twelvefold.duplicates.hashes import Fingerprint
from twelvefold.duplicates.image_groups import Identity
from twelvefold.images import open_image
from twelvefold.schema import ImageKey, SameImageLink
from twelvefold.store.resumable import Notes, in_blocks

RADIUS = 10
"""Bits of 64 that each hash may differ in for a pair to be looked at. Of planted copies 99 % are within; of pictures
that have nothing to do with each other, none of 11,175 pairs had both hashes within 12."""
DIFFERENCE = 0.10
"""The largest local difference of pictures that are joined: chosen on one seed, reported on two others with precision
99.8 % and recall 99.5 % (docs/results/lookalikes.md)."""
AGREEMENT = 0.85
"""The least correlation of light and shade of pictures that are joined: planted copies have 0.95 and more. It keeps
pictures of little contrast apart, whose differences are small everywhere."""
DETAIL = 4.0
"""Pictures whose levels of grey vary less than this (of 255, standard deviation) show too little to be told apart by
their looks: blank pages, black frames. They are compared by bytes and pixels alone."""

BLOCK = 64
"""Pairs in a block of comparisons: about a second of work."""
_VERSION = 2
"""Raised when a comparison finds something else than before."""


class Compared(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a comparison of two pictures, named by the digests of their pixels, has found."""

    one: str
    other: str
    difference: float
    agreement: float


class Candidate(NamedTuple):
    """Two pictures whose hashes are close: by how many bits each, and their prints."""

    one: Fingerprint
    other: Fingerprint
    waves: int
    slopes: int


class Looked(NamedTuple):
    """``joins``: those found. ``hidden``: what could not be compared, in sentences."""

    joins: list[SameImageLink]
    hidden: list[str]


def lookalikes(
    prints: Mapping[ImageKey, Fingerprint],
    pictures: Mapping[ImageKey, Path],
    known: Identity,
    notes: Path,
    *,
    processes: int = 1,
    difference: float = DIFFERENCE,
) -> Looked:
    """Joins between pictures that look alike and that ``known`` doesn't join already.

    ``notes``: a folder that remembers comparisons. Mirrored and grey copies are not found.
    """
    readable = [each for each in prints.values() if not each.problem]
    candidates, crowded = close(readable, known)
    found = compared(candidates, {str(key): path for key, path in pictures.items()}, notes, processes=processes)
    joins = [
        SameImageLink(ImageKey.parse(pair.one.key), ImageKey.parse(pair.other.key), "looks", why(pair, seen))
        for pair, seen in zip(candidates, found, strict=True)
        if alike(seen, difference)
    ]
    return Looked(joins, _hidden([each.key for each in readable if each.detail < DETAIL], crowded))


def _hidden(plain: Sequence[str], crowded: Sequence[str]) -> list[str]:
    hidden = []
    if plain:
        hidden.append(
            f"pictures that show too little to be recognised by looks (blank, black ...): {len(plain):,}, the first "
            f"being {min(plain)}; copies of them are recognised by equal bytes or pixels alone"
        )
    if crowded:
        hidden.append(
            f"pictures that look like hundreds of others: {len(crowded):,}, the first being {min(crowded)}; each was "
            f"compared with those nearest to it, so that a copy of one of them may be missed"
        )
    return hidden


def close(prints: Sequence[Fingerprint], known: Identity | None = None) -> tuple[list[Candidate], list[str]]:
    """The pairs to look at, in order of their keys: of pictures of equal pixels the one of the least key stands for
    all. Then the keys of pictures some of whose pairs may be missing."""
    seen: dict[str, Fingerprint] = {}
    for each in sorted(prints, key=lambda each: each.key):  # so that the order of pictures can't matter
        if not each.problem and each.detail >= DETAIL:
            seen.setdefault(each.pixels, each)
    rows = list(seen.values())
    waves, slopes = (np.array([getattr(row, name) for row in rows], dtype=np.uint64) for name in ("waves", "slopes"))
    shapes = np.log(np.array([row.width / row.height for row in rows]))
    pairs, crowded = close_pairs(waves, slopes, RADIUS)
    left, right = pairs[np.abs(shapes[pairs[:, 0]] - shapes[pairs[:, 1]]) < np.log1p(SHAPES)].T
    bits = [np.bitwise_count(hashes[left] ^ hashes[right]).astype(int) for hashes in (waves, slopes)]
    candidates = [
        Candidate(rows[i], rows[j], first, second)
        for i, j, first, second in zip(left.tolist(), right.tolist(), *(each.tolist() for each in bits), strict=True)
    ]
    if known is not None:
        candidates = [
            pair for pair in candidates if not known.same(ImageKey.parse(pair.one.key), ImageKey.parse(pair.other.key))
        ]
    return candidates, [rows[i].key for i in crowded.tolist()]


def compared(
    candidates: Sequence[Candidate], paths: Mapping[str, Path], notes: Path, *, processes: int = 1
) -> list[Compared]:
    """Every candidate pair looked at, in order, or remembered."""
    with Notes.open(notes, Compared, compared_by()) as book:
        before = {(row.one, row.other): row for row in book.rows}
        wanted = {(pair.one.pixels, pair.other.pixels): pair for pair in candidates}
        todo = [
            (names, paths[pair.one.key], paths[pair.other.key]) for names, pair in wanted.items() if names not in before
        ]
        if todo:
            in_blocks(_block, todo, BLOCK, book, what="pairs of pictures compared", processes=processes)
            before = {(row.one, row.other): row for row in book.rows}
            book.settle(list(before.values()))
    return [before[pair.one.pixels, pair.other.pixels] for pair in candidates]


def alike(seen: Compared, difference: float = DIFFERENCE) -> bool:
    """Whether two pictures that were compared are one photograph."""
    return seen.difference <= difference and seen.agreement >= AGREEMENT


def why(pair: Candidate, seen: Compared) -> str:
    """The reason for a join, for people."""
    return (
        f"they look alike: hashes differ in {pair.waves} and {pair.slopes} of 64 bits, laid over each other the "
        f"largest local difference is {100 * seen.difference:.0f} %"
    )


def compared_by() -> str:
    """The version of what is found here."""
    return f"{_VERSION} {RADIUS} {AGREEMENT} {DETAIL} pillow {version('pillow')}"


def _block(work: Sequence[tuple[tuple[str, str], Path, Path]]) -> list[Compared]:
    return [Compared(*names, *compare(_small(one), _small(other))) for names, one, other in work]


@lru_cache(maxsize=64)
def _small(path: Path) -> Image.Image:
    return small(open_image(path))
