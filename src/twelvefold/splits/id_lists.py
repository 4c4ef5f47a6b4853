"""Id lists of test pictures, as the original project had them: ``coco_test_ids.npy`` and its like.

A list is a one-dimensional NumPy array of whole numbers, or of such numbers written out, without pickles. Its file
name says whose pictures it names, or the caller does. Nobody published how the original's lists were made, so
:func:`compare` says what of ours is in them, and what isn't. Paper: section 2.2.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from twelvefold.schema import ImageKey, TwelvefoldError
from twelvefold.splits.manifest import Listed
from twelvefold.splits.policy import Protected
from twelvefold.store import atomic_files

SOURCES = {"coco_test_ids": "coco", "genome_test_ids": "vg", "flickr_test_ids": "flickr30k"}
"""How the original's list files begin, and whose pictures they name (VQA/cache, visual_genome/cache, ...)."""

SHOWN = 5
"""Examples of each kind of difference."""


@dataclass(frozen=True, slots=True)
class IdList:
    """An id list: its file's name, and the pictures it names."""

    about: Listed
    keys: frozenset[ImageKey]


def load(file: str | Path) -> IdList:
    """The id list of a ``.npy`` file. ``vg=lists/mine.npy`` says whose ids they are where the name doesn't.

    Raises:
        TwelvefoldError: there is no such file, it is no NumPy array, holds pickled objects, has more than one
            dimension, a value that is no whole number, or a name that says of no source.
    """
    stated, _, rest = str(file).partition("=")
    source, path = (stated, Path(rest)) if rest else ("", Path(file))
    source = source or next((source for name, source in SOURCES.items() if path.name.startswith(name)), "")
    if not source:
        raise TwelvefoldError(
            f"{path}: whose ids are these? The name begins with none of {', '.join(SOURCES)}; "
            f"say so before the path, as in vg={path}"
        )
    try:
        values = np.load(path, allow_pickle=False)
    except OSError as error:
        raise TwelvefoldError(f"can't read the id list {path}: {error.strerror or error}") from error
    except (ValueError, EOFError) as error:
        raise TwelvefoldError(
            f"{path} is no plain NumPy array of ids: {error}. Pickled objects are never loaded; save the ids again as "
            "whole numbers: np.save(path, np.array(ids, dtype=np.int64))"
        ) from error
    if not isinstance(values, np.ndarray) or values.ndim != 1:
        shape = getattr(values, "shape", "several arrays")
        raise TwelvefoldError(f"{path}: expected a one-dimensional array of ids, got {shape}")
    numbers = _numbers(values, path)
    keys = frozenset(ImageKey(source, str(number)) for number in numbers)
    digest = atomic_files.digest_value(sorted(map(str, keys)))
    return IdList(Listed(path.name, source, len(keys), digest), keys)


@dataclass(frozen=True, slots=True)
class Compared:
    """One id list beside ours: pictures in both, only in theirs, only in ours, and some of each.

    ``only_ours_by_task``: whose test sets the ones that they lack are in; a picture may be in several.
    """

    file: str
    source: str
    theirs: int
    ours: int
    both: int
    only_theirs: int
    only_ours: int
    both_by_task: dict[str, int]
    only_ours_by_task: dict[str, int]
    some_only_theirs: list[str]
    some_only_ours: list[str]


def compare(listed: IdList, protected: Protected) -> Compared:
    """What an id list and our protected photographs, under all their names in its source, have in common."""
    ours = {key for key in protected.names() if key.source == listed.about.source}
    both, only_theirs, only_ours = ours & listed.keys, listed.keys - ours, ours - listed.keys
    return Compared(
        file=listed.about.file,
        source=listed.about.source,
        theirs=len(listed.keys),
        ours=len(ours),
        both=len(both),
        only_theirs=len(only_theirs),
        only_ours=len(only_ours),
        both_by_task=_by_task(both, protected),
        only_ours_by_task=_by_task(only_ours, protected),
        some_only_theirs=[str(key) for key in _first(only_theirs)],
        some_only_ours=[
            f"{key} ({', '.join(place.owner[0] for place in protected.places(key))})" for key in _first(only_ours)
        ],
    )


def _by_task(keys: Collection[ImageKey], protected: Protected) -> dict[str, int]:
    return dict(sorted(Counter(owner for key in keys for owner, _ in protected.owners(key)).items()))


def _first(keys: Collection[ImageKey]) -> list[ImageKey]:
    return sorted(keys, key=lambda key: (len(key.id), key.id))[:SHOWN]


def _numbers(values: np.ndarray, path: Path) -> list[int]:
    """Every value as ``int()`` makes it, and none that it would cut or guess at."""
    if values.dtype.kind in "iu":
        numbers = [int(value) for value in values]
    elif values.dtype.kind in "US":
        texts = [value.decode("ascii", "replace") if isinstance(value, bytes) else str(value) for value in values]
        if wrong := [(place, text) for place, text in enumerate(texts) if not text.strip().isdecimal()]:
            raise TwelvefoldError(f"{path}: value {wrong[0][0]} is {wrong[0][1]!r}; an id is a whole number")
        numbers = [int(text) for text in texts]
    else:
        raise TwelvefoldError(
            f"{path} holds values of type {values.dtype}; expected whole numbers, or such numbers as text"
        )
    if negative := [number for number in numbers if number < 0]:
        raise TwelvefoldError(f"{path}: {negative[0]} is no picture's id")
    return numbers
