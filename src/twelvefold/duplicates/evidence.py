"""What shows that two keys name one photograph, gathered from a data folder: the surest evidence first.

``ids``: publishers' id maps (``datasets.identity``). ``bytes``: files that are equal. ``pixels``: files whose decoded
pixels are equal. ``looks``: pictures that look alike, one being scaled, cropped, compressed, brightened or marked
(``splits.lookalikes``). ``features``: pictures whose features lie close together, for those who ask for it. Paper:
section 2.2, which knew ids only.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from twelvefold.datasets.reading import same_image_links
from twelvefold.datasets.reading.records import BadRecords
from twelvefold.duplicates.feature_similarity import CLOSENESS, close_features
from twelvefold.duplicates.hashes import Fingerprint, fingerprints, hashed_by
from twelvefold.duplicates.image_groups import Identity
from twelvefold.duplicates.near_duplicates import DIFFERENCE, Looked, compared_by, lookalikes
from twelvefold.progress import track
from twelvefold.schema import Evidence, ImageKey, SameImageLink, TwelvefoldError
from twelvefold.store import atomic_files
from twelvefold.store.region_store import RegionStore

VERSION = 1
"""Version of what this module computes. Increase it when a change gives other results: files made from it are then
made again."""

KINDS: tuple[Evidence, ...] = ("ids", "bytes", "pixels", "looks")
"""What is gathered where nothing else is asked for."""

COMPARED: Final = frozenset[Evidence](("pixels", "looks"))
"""Kinds for which every picture is decoded."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """``joins`` in order of evidence; ``unreadable``: pictures that could not be compared, with the reason;
    ``hidden``: what could not be known, and what that hides, in sentences."""

    joins: list[SameImageLink]
    unreadable: dict[ImageKey, str] = field(default_factory=dict)
    hidden: list[str] = field(default_factory=list)


def gather(
    root: Path,
    pictures: Mapping[ImageKey, Path],
    *,
    kinds: Sequence[Evidence] = KINDS,
    notes: Path,
    bad: BadRecords,
    processes: int = 1,
    difference: float = DIFFERENCE,
    store: RegionStore | None = None,
    closeness: float = CLOSENESS,
) -> Gathered:
    """All joins of a data folder. ``pictures``: the files to compare, empty where there are none; ``notes``: a folder
    that remembers what has been compared, so that a second call compares only files that have changed.

    Evidence that is less sure joins only what surer evidence has not. ``difference``: the largest local one of
    pictures that look alike, 0..1. ``features`` needs a ``store`` of them; ``closeness``: the least cosine.

    Raises:
        TwelvefoldError: an id map is broken, or notes are damaged.
    """
    found = Gathered([], hidden=same_image_links.limitations(root) if "ids" in kinds else [])
    if "ids" in kinds:
        found.joins.extend(same_image_links.read_links(root, bad=bad))
    there = {key: path for key, path in pictures.items() if os.access(path, os.R_OK)}
    found.unreadable.update((key, "no such file, or one that may not be read") for key in pictures if key not in there)
    if "bytes" in kinds and there:
        found.joins.extend(noted_equal_files(there, notes / "equal-pictures.json"))
    if COMPARED & set(kinds) and there:
        _compare(found, there, kinds, notes, processes, difference)
    if "features" in kinds:
        if store is None:
            found.hidden.append("there are no features of the pictures, so none were compared by them")
        else:
            found.joins.extend(close_features(store, Identity(found.joins), closeness))
    return found


def _compare(
    found: Gathered,
    pictures: Mapping[ImageKey, Path],
    kinds: Sequence[Evidence],
    notes: Path,
    processes: int,
    difference: float,
) -> None:
    """Add the joins by pixels and by looks, and what can't be read."""
    prints = fingerprints(pictures, notes / "fingerprints", processes=processes)
    found.unreadable.update((key, seen.problem) for key, seen in prints.items() if seen.problem)
    if "pixels" in kinds:
        found.joins.extend(equal_pixels(prints, Identity(found.joins)))
    if "looks" in kinds:
        known = Identity(found.joins)

        def look() -> Looked:
            return lookalikes(
                prints, pictures, known, notes / "comparisons", processes=processes, difference=difference
            )

        pixels = [(str(key), seen.pixels) for key, seen in sorted(prints.items())]
        about = [hashed_by(), compared_by(), difference, pixels, sorted(map(str, found.joins))]
        looked = _noted(notes / "lookalikes.json", atomic_files.digest_value(about), look)
        found.joins.extend(looked.joins)
        found.hidden.extend(looked.hidden)


def equal_pixels(prints: Mapping[ImageKey, Fingerprint], known: Identity) -> Iterator[SameImageLink]:
    """Joins between pictures of equal decoded pixels that ``known`` doesn't join already."""
    readable = sorted(key for key, seen in prints.items() if not seen.problem)
    for keys in _groups(readable, {key: prints[key].pixels for key in readable}):
        for key in keys[1:]:
            if not known.same(keys[0], key):
                yield SameImageLink(keys[0], key, "pixels", "the decoded pixels are equal")


def equal_files(images: Mapping[ImageKey, Path]) -> Iterator[SameImageLink]:
    """Joins between keys whose picture files hold the same bytes, empty files apart.

    Only files of a size that occurs twice are read, so a folder without repeats costs one look at its sizes.

    Raises:
        TwelvefoldError: a file can't be read.
    """
    sizes = {key: size for key, path in images.items() if (size := path.stat().st_size)}
    suspects = [key for keys in _groups(sizes, sizes) for key in keys]
    digests = {
        key: atomic_files.digest_file(images[key]) for key in track(suspects, description="pictures of equal size")
    }
    for keys in _groups(digests, digests):
        for key in keys[1:]:
            yield SameImageLink(keys[0], key, "bytes", "the files are equal")


def noted_equal_files(images: Mapping[ImageKey, Path], note: Path) -> list[SameImageLink]:
    """:func:`equal_files`, written down in ``note`` and taken from there while no file's size or time changes."""
    seen = [(str(key), info.st_size, info.st_mtime_ns) for key, path in images.items() for info in (path.stat(),)]
    return _noted(note, atomic_files.digest_value(seen), lambda: Looked(list(equal_files(images)), [])).joins


class _Note(msgspec.Struct, frozen=True):
    digest: str
    found: Looked


def _noted(note: Path, digest: str, find: Callable[[], Looked]) -> Looked:
    """What ``find`` finds, written down in ``note`` and taken from there while the digest stays.

    A note that another version wrote, or that can't be read, says nothing: it is written anew.
    """
    try:
        noted: _Note | None = msgspec.convert(atomic_files.read_json(note), _Note)
    except (msgspec.ValidationError, TwelvefoldError):
        noted = None
    if noted is None or noted.digest != digest:
        noted = _Note(digest, find())
        atomic_files.write_json(note, msgspec.to_builtins(noted))
    return noted.found


def _groups(keys: Iterable[ImageKey], value: Mapping[ImageKey, object]) -> list[list[ImageKey]]:
    """Keys that share a value, where two or more do."""
    found: defaultdict[object, list[ImageKey]] = defaultdict(list)
    for key in keys:
        found[value[key]].append(key)
    return [group for group in found.values() if len(group) > 1]
