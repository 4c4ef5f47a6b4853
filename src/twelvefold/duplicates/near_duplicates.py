"""Find near-duplicate images: two hashes propose candidates, and each candidate pair is compared by its pixels.

Hashes are not enough: of images with one object changed, four in five are as close by both hashes as true copies are
(docs/results/lookalikes.md). Paper: section 2.2 compares ids only.
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

from twelvefold.duplicates.align_and_compare import MAX_ASPECT_DIFFERENCE, compare_images, make_thumbnail
from twelvefold.duplicates.hamming_search import find_close_pairs
from twelvefold.duplicates.hashes import ImageFingerprint
from twelvefold.duplicates.image_groups import ImageGroups
from twelvefold.images import open_image
from twelvefold.schema import ImageKey, SameImageLink
from twelvefold.store.resumable import ResumableRows
from twelvefold.store.steps import block_steps, run_steps

MAX_HASH_DISTANCE = 10
"""Bits of 64 that each hash of a candidate pair may differ in. 99 % of planted copies are within; of 11,175 pairs of
unrelated images, none had both hashes within 12."""
MAX_DIFFERENCE = 0.10
"""Largest local difference of linked images. Chosen on one seed; on two others the precision is 99.8 % and the recall
99.5 % (docs/results/lookalikes.md)."""
MIN_CORRELATION = 0.85
"""Least correlation of the gray levels of linked images; planted copies have 0.95 and more. It separates images of low
contrast, whose differences are small everywhere."""
MIN_CONTRAST = 4.0
"""Images whose gray levels have a lower standard deviation (of 255) show too little to be compared by looks: blank
pages, black frames. Only equal bytes or pixels link them."""

BLOCK_SIZE = 64
"""Pairs in a block of comparisons: about a second of work."""
_VERSION = 2
"""Increase it when a comparison gives another result."""


class PairComparison(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The result of comparing two images, each named by the digest of its pixels."""

    first: str
    second: str
    difference: float
    correlation: float


class CandidatePair(NamedTuple):
    """Two images whose hashes are close, and the number of bits in which each hash differs."""

    first: ImageFingerprint
    second: ImageFingerprint
    phash_distance: int
    dhash_distance: int


class NearDuplicates(NamedTuple):
    """``links``: between near-duplicates. ``limitations``: what could not be compared, in sentences."""

    links: list[SameImageLink]
    limitations: list[str]


def find_near_duplicates(
    fingerprints: Mapping[ImageKey, ImageFingerprint],
    images: Mapping[ImageKey, Path],
    known: ImageGroups,
    cache_dir: Path,
    *,
    processes: int = 1,
) -> NearDuplicates:
    """Return links between images that look alike, unless ``known`` has them in one group already.

    ``cache_dir`` keeps the results of comparisons. Mirrored and gray copies are not found.
    """
    readable = [each for each in fingerprints.values() if not each.problem]
    candidates, crowded = candidate_pairs(readable, known)
    paths = {str(key): path for key, path in images.items()}
    comparisons = compare_candidates(candidates, paths, cache_dir, processes=processes)
    links = [
        SameImageLink(ImageKey.parse(pair.first.key), ImageKey.parse(pair.second.key), "looks", _reason(pair, result))
        for pair, result in zip(candidates, comparisons, strict=True)
        if result.difference <= MAX_DIFFERENCE and result.correlation >= MIN_CORRELATION
    ]
    blank = [each.key for each in readable if each.contrast < MIN_CONTRAST]
    return NearDuplicates(links, _limitations(blank, crowded))


def _limitations(blank: Sequence[str], crowded: Sequence[str]) -> list[str]:
    limitations = []
    if blank:
        limitations.append(
            f"images that show too little to be compared by looks (blank, black ...): {len(blank):,}, the first "
            f"being {min(blank)}; copies of them are only found by equal bytes or pixels"
        )
    if crowded:
        limitations.append(
            f"images that look like hundreds of others: {len(crowded):,}, the first being {min(crowded)}; each was "
            f"compared with its nearest neighbors only, so a copy of one of them may be missed"
        )
    return limitations


def candidate_pairs(
    fingerprints: Sequence[ImageFingerprint], known: ImageGroups | None = None
) -> tuple[list[CandidatePair], list[str]]:
    """Return the pairs to compare, sorted by key, and the keys of images some of whose pairs may be missing.

    Of images with equal pixels, the one with the smallest key represents all.
    """
    by_pixels: dict[str, ImageFingerprint] = {}
    for each in sorted(fingerprints, key=lambda each: each.key):  # so that the order of images does not matter
        if not each.problem and each.contrast >= MIN_CONTRAST:
            by_pixels.setdefault(each.pixels_digest, each)
    rows = list(by_pixels.values())
    phashes, dhashes = (np.array([getattr(row, name) for row in rows], dtype=np.uint64) for name in ("phash", "dhash"))
    log_aspects = np.log(np.array([row.width / row.height for row in rows]))
    pairs, crowded = find_close_pairs(phashes, dhashes, MAX_HASH_DISTANCE)
    aspect_differences = np.abs(log_aspects[pairs[:, 0]] - log_aspects[pairs[:, 1]])
    left, right = pairs[aspect_differences < np.log1p(MAX_ASPECT_DIFFERENCE)].T
    distances = [np.bitwise_count(hashes[left] ^ hashes[right]).tolist() for hashes in (phashes, dhashes)]
    candidates = [
        CandidatePair(rows[i], rows[j], *bits)
        for i, j, *bits in zip(left.tolist(), right.tolist(), *distances, strict=True)
        if known is None or not known.is_same(ImageKey.parse(rows[i].key), ImageKey.parse(rows[j].key))
    ]
    return candidates, [rows[i].key for i in crowded.tolist()]


def compare_candidates(
    candidates: Sequence[CandidatePair], paths: Mapping[str, Path], cache_dir: Path, *, processes: int = 1
) -> list[PairComparison]:
    """Return the comparison of every candidate pair, in order. Pairs that ``cache_dir`` knows are not opened again."""
    with ResumableRows.open(cache_dir, PairComparison, comparison_version()) as cache:
        known = {(row.first, row.second): row for row in cache.rows}
        requested = {(pair.first.pixels_digest, pair.second.pixels_digest): pair for pair in candidates}
        todo = [
            (digests, paths[pair.first.key], paths[pair.second.key])
            for digests, pair in requested.items()
            if digests not in known
        ]
        if todo:
            steps = block_steps(todo, BLOCK_SIZE)
            run_steps(_compare_block, steps, store=cache, description="image pairs compared", processes=processes)
            known = {(row.first, row.second): row for row in cache.rows}
            cache.compact(list(known.values()))
    return [known[pair.first.pixels_digest, pair.second.pixels_digest] for pair in candidates]


def _reason(pair: CandidatePair, comparison: PairComparison) -> str:
    return (
        f"they look alike: hashes differ in {pair.phash_distance} and {pair.dhash_distance} of 64 bits, and after "
        f"alignment the largest local difference is {100 * comparison.difference:.0f} %"
    )


def comparison_version() -> str:
    """Return the version of the comparisons, which depend on how images are decoded and scaled."""
    return f"{_VERSION} {MAX_HASH_DISTANCE} {MIN_CORRELATION} {MIN_CONTRAST} pillow {version('pillow')}"


def _compare_block(block: Sequence[tuple[tuple[str, str], Path, Path]]) -> list[PairComparison]:
    return [
        PairComparison(*digests, *compare_images(_open_thumbnail(first), _open_thumbnail(second)))
        for digests, first, second in block
    ]


@lru_cache(maxsize=64)
def _open_thumbnail(path: Path) -> Image.Image:
    return make_thumbnail(open_image(path))
