"""What shows that two keys name one photograph, gathered from a data folder: the surest evidence first.

``ids``: publishers' id maps (``datasets.identity``). ``bytes``: files that are equal. Nothing else is guessed.
Paper: section 2.2, which knew ids only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from twelvefold.datasets import identity
from twelvefold.datasets.records import BadRecords
from twelvefold.progress import track
from twelvefold.schema import Evidence, ImageKey, Join
from twelvefold.store import files

KINDS: tuple[Evidence, ...] = ("ids", "bytes")
"""What is gathered where nothing else is asked for."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """``joins`` in order of evidence; ``unreadable``: pictures that could not be compared, with the reason;
    ``hidden``: what could not be known, and what that hides, in sentences."""

    joins: list[Join]
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
) -> Gathered:
    """All joins of a data folder. ``pictures``: the files to compare, empty where there are none; ``notes``: a folder
    that remembers what has been compared, so that a second call compares only files that have changed.
    """
    joins: list[Join] = []
    if "ids" in kinds:
        joins += identity.joins(root, bad=bad)
    if "bytes" in kinds and pictures:
        joins += noted_equal_files(pictures, notes / "equal-pictures.json")
    return Gathered(joins, hidden=identity.hidden(root) if "ids" in kinds else [])


def equal_files(images: Mapping[ImageKey, Path]) -> Iterator[Join]:
    """Joins between keys whose picture files hold the same bytes.

    Only files of a size that occurs twice are read, so a folder without repeats costs one look at its sizes.

    Raises:
        TwelvefoldError: a file can't be read.
    """
    by_size = _groups(images, {key: path.stat().st_size for key, path in images.items()})
    suspects = [key for keys in by_size for key in keys]
    digests = {key: files.digest_file(images[key]) for key in track(suspects, what="pictures of equal size")}
    for keys in _groups(digests, digests):
        for key in keys[1:]:
            yield Join(keys[0], key, "bytes", "the files are equal")


def noted_equal_files(images: Mapping[ImageKey, Path], note: Path) -> list[Join]:
    """:func:`equal_files`, written down in ``note`` and taken from there while no file's size or time changes."""
    seen = [(str(key), info.st_size, info.st_mtime_ns) for key, path in images.items() for info in (path.stat(),)]
    digest = files.digest_value(seen)
    if not note.exists() or files.read_json(note)["digest"] != digest:
        files.write_json(note, {"digest": digest, "joins": msgspec.to_builtins(list(equal_files(images)))})
    return msgspec.convert(files.read_json(note)["joins"], list[Join])


def _groups(keys: Iterable[ImageKey], value: Mapping[ImageKey, object]) -> list[list[ImageKey]]:
    """Keys that share a value, where two or more do."""
    found: defaultdict[object, list[ImageKey]] = defaultdict(list)
    for key in keys:
        found[value[key]].append(key)
    return [group for group in found.values() if len(group) > 1]
