"""Read id lists of test images, as the original project has them (``coco_test_ids.npy``), and compare them with ours.

A list is a one-dimensional NumPy array of integers, or of integers as text, without pickles. Its file name, or the
caller, names the source of the ids. How the original's lists were made is not published, so :func:`compare_id_list`
reports which of our test images are in a list and which are not. Paper: section 2.2.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twelvefold.datasets.reading.image_sources import COCO, FLICKR30K, VG
from twelvefold.parsing.text import read_bytes
from twelvefold.schema import ImageKey, TwelvefoldError
from twelvefold.splits.manifest import IdListInfo
from twelvefold.splits.policy import ProtectedImages
from twelvefold.store import atomic_files
from twelvefold.store.npy_content import load_npy

SOURCES = {"coco_test_ids": COCO, "genome_test_ids": VG, "flickr_test_ids": FLICKR30K}
"""How the names of the original's list files begin, and the source of their ids."""

MAX_SAMPLES = 5
"""Number of sample images for each kind of difference."""


@dataclass(frozen=True, slots=True)
class IdList:
    """An id list and the keys of its images."""

    info: IdListInfo
    keys: frozenset[ImageKey]


def load_id_list(file: str | Path) -> IdList:
    """Load the id list of a ``.npy`` file. ``vg=lists/mine.npy`` names the source where the file name does not.

    Raises:
        TwelvefoldError: the file is missing, is not a NumPy array, contains pickled objects, has more than one
            dimension or a value that is not an integer, or its source is unknown.
    """
    prefix, _, rest = str(file).partition("=")
    source, path = (prefix, Path(rest)) if rest else ("", Path(file))
    source = source or next((source for name, source in SOURCES.items() if path.name.startswith(name)), "")
    if not source:
        raise TwelvefoldError(
            f"{path}: whose ids are these? The name begins with none of {', '.join(SOURCES)}; "
            f"put the source before the path, as in vg={path}"
        )
    values = load_flat_array(path)
    if values.dtype.kind not in "iuUS":
        raise TwelvefoldError(f"{path} contains values of type {values.dtype}; expected integers, or integers as text")
    numbers = [_to_id(index, value, path) for index, value in enumerate(values.tolist())]
    keys = frozenset(ImageKey(source, str(number)) for number in numbers)
    digest = atomic_files.digest_value(sorted(map(str, keys)))
    return IdList(IdListInfo(path.name, source, len(keys), digest), keys)


SAVE_AGAIN = "save the ids as integers: np.save(path, np.array(ids, dtype=np.int64))"


def load_flat_array(path: Path) -> NDArray[Any]:
    """Load a one-dimensional array without unpickling anything.

    Raises:
        TwelvefoldError: the file is missing, not a NumPy array, has pickled objects or more than one dimension.
    """
    try:
        values = load_npy(read_bytes(path, kind="the id list"), f"the id list {path}")
    except TwelvefoldError as error:
        raise TwelvefoldError(f"{error}; {SAVE_AGAIN}") from None
    if not isinstance(values, np.ndarray):
        raise TwelvefoldError(f"{path} is not a plain NumPy array of ids, it holds pickled objects; {SAVE_AGAIN}")
    if not isinstance(values, np.ndarray) or values.ndim != 1:
        shape = getattr(values, "shape", "several arrays")
        raise TwelvefoldError(f"{path}: expected a one-dimensional array of ids, got {shape}")
    return values


@dataclass(frozen=True, slots=True)
class IdListComparison:
    """Numbers of images in an id list (``theirs``) and of our protected images (``ours``), and samples of the
    differences. The counts by task state whose test sets the images are in; an image may be in several."""

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


def compare_id_list(id_list: IdList, protected: ProtectedImages) -> IdListComparison:
    """Compare an id list with our protected images, under all their keys of the list's source."""
    ours = {key for key in protected.all_keys() if key.source == id_list.info.source}
    both, only_theirs, only_ours = ours & id_list.keys, id_list.keys - ours, ours - id_list.keys
    return IdListComparison(
        file=id_list.info.file,
        source=id_list.info.source,
        theirs=len(id_list.keys),
        ours=len(ours),
        both=len(both),
        only_theirs=len(only_theirs),
        only_ours=len(only_ours),
        both_by_task=_count_by_task(both, protected),
        only_ours_by_task=_count_by_task(only_ours, protected),
        some_only_theirs=[str(key) for key in _first_keys(only_theirs)],
        some_only_ours=[
            f"{key} ({', '.join(name for name, _ in protected.owners_of(key))})" for key in _first_keys(only_ours)
        ],
    )


def _count_by_task(keys: Collection[ImageKey], protected: ProtectedImages) -> dict[str, int]:
    return dict(sorted(Counter(task for key in keys for task, _ in protected.owners_of(key)).items()))


def _first_keys(keys: Collection[ImageKey]) -> list[ImageKey]:
    return sorted(keys, key=lambda key: (len(key.id), key.id))[:MAX_SAMPLES]


def _to_id(index: int, value: int | str | bytes, path: Path) -> int:
    """Return a value as an integer, and refuse texts that ``int()`` would interpret."""
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)
    if not text.strip().isdecimal():
        raise TwelvefoldError(f"{path}: value {index} is {text!r}; an id is an integer, 0 or more")
    return int(text)
