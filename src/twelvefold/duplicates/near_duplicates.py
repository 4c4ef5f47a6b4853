"""Find near-duplicate images: two hashes propose candidates, and each candidate pair is compared by its pixels.

Hashes are not enough: of images with one object changed, four in five are as close by both hashes as true copies are
(docs/results/lookalikes.md). Paper: section 2.2; the original project compares ids only.
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

from twelvefold.duplicates.align_and_compare import (
    MAX_ASPECT_DIFFERENCE,
    MIN_COMPARED_CELLS,
    compare_images,
    make_thumbnail,
)
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
MAX_DIFFERENCE = 0.105
"""Largest local difference of linked images. Chosen on one seed; on two others the precision is 99.8 % and the recall
99.6 % (docs/results/lookalikes.md)."""
MIN_CORRELATION = 0.85
"""Least correlation of the gray levels of linked images; planted copies have 0.95 and more. It separates images of low
contrast, whose differences are small everywhere."""
MIN_DETAIL, MIN_DETAIL_SMALL = 0.4, 0.8
"""Images that have detail in a smaller fraction are not compared by looks: icons, diagrams, screens, nearly empty or
blank images. Small images need more, because noise of compression looks like detail there. Of the drawn world's images
all have 0.7 and more, of 29 photographs one had less; of 5,000 drawings of single shapes none had more than 0.25."""
SMALL_SIDE_PX, TINY_SIDE_PX = 112, 64
"""Images whose long side is shorter are small, or too small to be compared by looks."""

BLOCK_SIZE = 64
"""Pairs in a block of comparisons: about a second of work."""
_VERSION = 5
"""Increase it when a comparison gives another result."""


class PairComparison(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The result of comparing two images, each named by the digest of its pixels. ``is_mirrored``: with the mirror
    image of the second."""

    first: str
    second: str
    is_mirrored: bool
    difference: float
    correlation: float


class CandidatePair(NamedTuple):
    """Two images whose hashes are close, and the number of bits in which each hash differs. ``is_mirrored``: one of
    them to the mirror image of the other."""

    first: ImageFingerprint
    second: ImageFingerprint
    is_mirrored: bool
    phash_distance: int
    dhash_distance: int


class NearDuplicates(msgspec.Struct, frozen=True, array_like=True):
    """``links``: between near-duplicates. ``limitations``: what could not be compared, in sentences. ``uncompared``:
    the images of which a copy may be missed, by key, with the reason."""

    links: list[SameImageLink]
    limitations: list[str]
    uncompared: dict[str, str] = {}


def find_near_duplicates(
    fingerprints: Mapping[ImageKey, ImageFingerprint],
    images: Mapping[ImageKey, Path],
    known: ImageGroups,
    cache_dir: Path,
    *,
    processes: int = 1,
) -> NearDuplicates:
    """Return links between images that look alike, unless ``known`` has them in one group already.

    ``cache_dir`` keeps the results of comparisons. Images with little detail are not compared; they are counted in the
    limitations and named in ``uncompared``.
    """
    readable = [each for each in fingerprints.values() if not each.problem]
    candidates, crowded = candidate_pairs(readable, known)
    paths = {str(key): path for key, path in images.items()}
    comparisons = compare_candidates(candidates, paths, cache_dir, processes=processes)
    links: dict[
        tuple[str, str], SameImageLink
    ] = {}  # of images that are alike both ways, the link that is not mirrored
    for pair, result in zip(candidates, comparisons, strict=True):
        if result.difference <= MAX_DIFFERENCE and result.correlation >= MIN_CORRELATION:
            first, second = (ImageKey.parse(each.key) for each in (pair.first, pair.second))
            link = SameImageLink(first, second, "looks", _reason(pair, result))
            links.setdefault((pair.first.key, pair.second.key), link)
    simple = [each.key for each in readable if not has_detail(each)]
    uncompared = dict.fromkeys(crowded, "looks like hundreds of others, and was compared with the nearest only")
    uncompared |= dict.fromkeys(simple, "has too little detail to be compared by looks")
    return NearDuplicates(list(links.values()), _limitations(simple, crowded), uncompared)


def has_detail(image: ImageFingerprint) -> bool:
    """Return whether a readable image has enough detail to be compared by looks."""
    side = max(image.width, image.height)
    return side >= TINY_SIDE_PX and image.detail >= (MIN_DETAIL_SMALL if side < SMALL_SIDE_PX else MIN_DETAIL)


def is_blown_out(image: ImageFingerprint) -> bool:
    """Return whether an image may lack detail only because much of it is white, as in a copy with more light."""
    rest = 1 - image.white
    return (
        max(image.width, image.height) >= SMALL_SIDE_PX
        and MIN_COMPARED_CELLS <= rest < 1
        and image.detail >= MIN_DETAIL * rest
    )


def is_comparable(first: ImageFingerprint, second: ImageFingerprint) -> bool:
    """Return whether two readable images can be compared by looks: one has detail, and the other has it too where it is
    not white."""
    return (has_detail(first) and (has_detail(second) or is_blown_out(second))) or (
        has_detail(second) and is_blown_out(first)
    )


def _limitations(simple: Sequence[str], crowded: Sequence[str]) -> list[str]:
    limitations = []
    if simple:
        limitations.append(
            f"images with too little detail to be compared by looks (drawings, blank pages, tiny images ...): "
            f"{len(simple):,}, the first being {min(simple)}; copies of them are only found by equal bytes or pixels"
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
        if not each.problem and (has_detail(each) or is_blown_out(each)):
            by_pixels.setdefault(each.pixels_digest, each)
    rows = list(by_pixels.values())
    log_aspects = np.log(np.array([row.width / row.height for row in rows]))
    candidates = []
    pairs, crowded = _close_images(rows)
    for (i, j, is_mirrored), distances in sorted(pairs.items()):
        is_known = known is not None and known.is_same(ImageKey.parse(rows[i].key), ImageKey.parse(rows[j].key))
        if (
            not is_known
            and is_comparable(rows[i], rows[j])
            and abs(log_aspects[i] - log_aspects[j]) < np.log1p(MAX_ASPECT_DIFFERENCE)
        ):
            candidates.append(CandidatePair(rows[i], rows[j], is_mirrored, *distances))
    return candidates, [rows[i].key for i in crowded if has_detail(rows[i])]


def _close_images(rows: Sequence[ImageFingerprint]) -> tuple[dict[tuple[int, int, bool], tuple[int, int]], list[int]]:
    """Return the numbers of bits in which the hashes of two images differ, by the images' numbers and whether one of
    them is mirrored; and the numbers of images some of whose pairs may be missing.

    Each image has three rows of hashes: itself, its center and its mirror image. One row of a pair is an image itself.
    """
    total = len(rows)
    phashes, dhashes = (
        np.array([getattr(row.hashes[view], name) for view in range(3) for row in rows], dtype=np.uint64)
        for name in ("phash", "dhash")
    )
    close = find_close_pairs(phashes, dhashes, MAX_HASH_DISTANCE)
    left, right = close.pairs[(close.pairs[:, 0] < total) & (close.pairs[:, 0] != close.pairs[:, 1] % max(total, 1))].T
    distances = [np.bitwise_count(hashes[left] ^ hashes[right]).tolist() for hashes in (phashes, dhashes)]
    pairs: dict[tuple[int, int, bool], tuple[int, int]] = {}
    for i, j, *bits in zip(left.tolist(), right.tolist(), *distances, strict=True):
        view, j = divmod(j, total)
        key = (min(i, j), max(i, j), view == 2)
        pairs[key] = min(pairs.get(key, (64, 64)), (bits[0], bits[1]))
    return pairs, sorted({i % total for i in close.crowded.tolist()})


def compare_candidates(
    candidates: Sequence[CandidatePair], paths: Mapping[str, Path], cache_dir: Path, *, processes: int = 1
) -> list[PairComparison]:
    """Return the comparison of every candidate pair, in order. Pairs that ``cache_dir`` knows are not opened again."""
    with ResumableRows.open(cache_dir, PairComparison, comparison_version()) as cache:
        known = {(row.first, row.second, row.is_mirrored): row for row in cache.rows}
        requested = {_cache_key(pair): pair for pair in candidates}
        todo = [
            (key, paths[pair.first.key], paths[pair.second.key]) for key, pair in requested.items() if key not in known
        ]
        if todo:
            steps = block_steps(todo, BLOCK_SIZE)
            run_steps(_compare_block, steps, store=cache, description="image pairs compared", processes=processes)
            known = {(row.first, row.second, row.is_mirrored): row for row in cache.rows}
            cache.compact(list(known.values()))
    return [known[_cache_key(pair)] for pair in candidates]


def _cache_key(pair: CandidatePair) -> tuple[str, str, bool]:
    return pair.first.pixels_digest, pair.second.pixels_digest, pair.is_mirrored


def _reason(pair: CandidatePair, comparison: PairComparison) -> str:
    how = "look alike if one is mirrored" if pair.is_mirrored else "look alike"
    return (
        f"they {how}: hashes differ in {pair.phash_distance} and {pair.dhash_distance} of 64 bits, and after "
        f"alignment the largest local difference is {100 * comparison.difference:.0f} %"
    )


def comparison_version() -> str:
    """Return the version of the comparisons, which depend on how images are decoded and scaled."""
    return (
        f"{_VERSION} {MAX_HASH_DISTANCE} {MIN_CORRELATION} {MIN_DETAIL} {MIN_DETAIL_SMALL} pillow {version('pillow')}"
    )


def _compare_block(block: Sequence[tuple[tuple[str, str, bool], Path, Path]]) -> list[PairComparison]:
    comparisons = []
    for (first, second, is_mirrored), first_path, second_path in block:
        other = _open_thumbnail(second_path)
        if is_mirrored:
            other = other.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        similarity = compare_images(_open_thumbnail(first_path), other)
        comparisons.append(PairComparison(first, second, is_mirrored, *similarity))
    return comparisons


@lru_cache(maxsize=64)
def _open_thumbnail(path: Path) -> Image.Image:
    return make_thumbnail(open_image(path))
