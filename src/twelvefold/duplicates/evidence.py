"""Collect the links between image keys that name the same image, from the most certain evidence to the least.

``ids``: publishers' id maps (``datasets.reading.same_image_links``). ``bytes``: files with equal bytes. ``pixels``:
files with equal decoded pixels. ``looks``: images that were resized, cropped, compressed, brightened or watermarked
(``duplicates.near_duplicates``). ``features``: images with almost equal features, on request. Paper: section
2.2; the original project compares ids only.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from twelvefold.datasets.reading import same_image_links
from twelvefold.datasets.reading.records import BadRecords
from twelvefold.duplicates import near_duplicates
from twelvefold.duplicates.feature_similarity import feature_links
from twelvefold.duplicates.hashes import ImageFingerprint, fingerprint_files, hash_version
from twelvefold.duplicates.image_groups import ImageGroups
from twelvefold.duplicates.near_duplicates import NearDuplicates, comparison_version, find_near_duplicates
from twelvefold.progress import track
from twelvefold.schema import Evidence, ImageKey, SameImageLink
from twelvefold.store import atomic_files
from twelvefold.store.region_store import RegionStore
from twelvefold.store.steps import StepCache

VERSION = 2
"""Version of what this module computes. Increase it when a change gives other results: files made from it are then
made again."""

DEFAULT_EVIDENCE: tuple[Evidence, ...] = ("ids", "bytes", "pixels", "looks")
"""Evidence that is collected unless other evidence is requested."""

DECODED_EVIDENCE: Final = frozenset[Evidence](("pixels", "looks"))
"""Evidence for which every image is decoded."""


@dataclass(frozen=True, slots=True)
class CollectedEvidence:
    """``links``: in order of evidence. ``unreadable``: images that could not be compared, with the reason.
    ``limitations``: what could not be found out, and what that hides, in sentences. ``uncompared``: images that were
    not compared by looks although that was requested, nor by features, with the reason."""

    links: list[SameImageLink]
    unreadable: dict[ImageKey, str] = field(default_factory=dict)
    limitations: list[str] = field(default_factory=list)
    uncompared: dict[ImageKey, str] = field(default_factory=dict)


def collect_evidence(
    root: Path,
    images: Mapping[ImageKey, Path],
    *,
    evidence: Sequence[Evidence] = DEFAULT_EVIDENCE,
    cache_dir: Path,
    bad: BadRecords,
    processes: int = 1,
    store: RegionStore | None = None,
    sources: Collection[str] = (),
) -> CollectedEvidence:
    """Return all links between the images of a data folder.

    Less certain evidence only links images that more certain evidence has not linked.

    Args:
        root: The data folder, for its id maps.
        images: The files to compare; may be empty.
        evidence: The evidence to collect.
        cache_dir: Folder that keeps comparisons; a second call compares only files that have changed.
        bad: Collects malformed records of id maps.
        processes: Number of processes that compare images.
        store: Features of the images, for the evidence ``features``.
        sources: Sources of the images that the tasks use: a missing id map is a limitation if it concerns them.

    Raises:
        TwelvefoldError: an id map is broken, or the cache is damaged.
    """
    result = CollectedEvidence([])
    if "ids" in evidence:
        result.limitations.extend(same_image_links.limitations(root, sources))
        result.links.extend(same_image_links.read_links(root, bad=bad))
    files = {key: path for key, path in images.items() if os.access(path, os.R_OK)}
    result.unreadable.update((key, "no such file, or no permission to read it") for key in images if key not in files)
    if "bytes" in evidence and files:
        result.links.extend(_cached_equal_files(files, cache_dir))
    if DECODED_EVIDENCE & set(evidence) and files:
        _compare_images(result, files, evidence, cache_dir, processes)
    if "features" in evidence:
        if store is None:
            result.limitations.append("there are no features of the images, so none were compared by features")
        else:
            result.links.extend(feature_links(store, ImageGroups(result.links)))
            for key in result.uncompared.keys() & set(store.keys()):
                del result.uncompared[key]
    return result


def _compare_images(
    result: CollectedEvidence,
    images: Mapping[ImageKey, Path],
    evidence: Sequence[Evidence],
    cache_dir: Path,
    processes: int,
) -> None:
    """Add the links by pixels and by looks, and the images that cannot be read."""
    fingerprints = fingerprint_files(images, cache_dir / "fingerprints", processes=processes)
    result.unreadable.update((key, each.problem) for key, each in fingerprints.items() if each.problem)
    if "pixels" in evidence:
        result.links.extend(equal_pixels(fingerprints, ImageGroups(result.links)))
    if "looks" in evidence:
        known = ImageGroups(result.links)
        find = partial(
            find_near_duplicates, fingerprints, images, known, cache_dir / "comparisons", processes=processes
        )
        pixels = [(str(key), each.pixels_digest) for key, each in sorted(fingerprints.items())]
        inputs = [
            hash_version(),
            comparison_version(),
            near_duplicates.MAX_DIFFERENCE,
            pixels,
            sorted(map(str, result.links)),
        ]
        similar = _cached(cache_dir, "lookalikes", inputs, find)
        result.links.extend(similar.links)
        result.limitations.extend(similar.limitations)
        result.uncompared.update((ImageKey.parse(key), reason) for key, reason in similar.uncompared.items())


def equal_pixels(fingerprints: Mapping[ImageKey, ImageFingerprint], known: ImageGroups) -> Iterator[SameImageLink]:
    """Yield links between images with equal decoded pixels, unless ``known`` has them in one group already."""
    digests = {key: each.pixels_digest for key, each in sorted(fingerprints.items()) if not each.problem}
    for link in _links_of_equal(digests, "pixels", "the decoded pixels are equal"):
        if not known.is_same(link.first, link.second):
            yield link


def equal_files(images: Mapping[ImageKey, Path]) -> Iterator[SameImageLink]:
    """Yield links between keys whose files have equal bytes. Empty files are ignored.

    Only files whose size occurs twice are read.

    Raises:
        TwelvefoldError: a file cannot be read.
    """
    sizes = {key: size for key, path in images.items() if (size := path.stat().st_size)}
    same_size = [key for keys in _keys_by_value(sizes) for key in keys]
    digests = {
        key: atomic_files.digest_file(images[key]) for key in track(same_size, description="images of equal size")
    }
    yield from _links_of_equal(digests, "bytes", "the files are equal")


def _links_of_equal(values: Mapping[ImageKey, object], evidence: Evidence, reason: str) -> Iterator[SameImageLink]:
    """Yield a link from the first key of each group with the same value to every other key of the group."""
    for first, *others in _keys_by_value(values):
        for key in others:
            yield SameImageLink(first, key, evidence, reason)


def _keys_by_value(values: Mapping[ImageKey, object]) -> list[list[ImageKey]]:
    """Return groups of two or more keys that have the same value."""
    groups: defaultdict[object, list[ImageKey]] = defaultdict(list)
    for key, value in values.items():
        groups[value].append(key)
    return [group for group in groups.values() if len(group) > 1]


def _cached_equal_files(images: Mapping[ImageKey, Path], cache_dir: Path) -> list[SameImageLink]:
    """Return :func:`equal_files`, from the cache while no file's size or time of change (``st_ctime_ns``) differs."""
    states = [(str(key), info.st_size, info.st_ctime_ns) for key, path in images.items() for info in (path.stat(),)]
    return _cached(cache_dir, "equal-pictures", states, lambda: NearDuplicates(list(equal_files(images)), [])).links


class _CacheEntry(msgspec.Struct, frozen=True):
    digest: str
    result: NearDuplicates = msgspec.field(name="found")


def _cached(cache_dir: Path, name: str, inputs: object, compute: Callable[[], NearDuplicates]) -> NearDuplicates:
    """Return the stored result of the same inputs, else compute it and store it."""
    digest = atomic_files.digest_value(inputs)
    cache = StepCache(cache_dir, _CacheEntry, lambda _, entry: entry.digest == digest)
    entry = cache.load(name)
    if entry is None:
        entry = _CacheEntry(digest, compute())
        cache.save(name, entry)
    return entry.result
