"""The pictures of a data folder by key, and the candidate boxes that some tasks give with them.

What ``extract`` looks at. Layout of ``images/``: docs/design.md.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from twelvefold.datasets import Dataset, load
from twelvefold.datasets.reading.records import BadRecords
from twelvefold.progress import track
from twelvefold.schema import Box, ImageKey, Pair, Split, TwelvefoldError

SUFFIXES = frozenset((".jpg", ".jpeg", ".png"))


def _number(source: str) -> Callable[[str], ImageKey]:
    return lambda id_: ImageKey(source, str(int(id_)))


def _word(source: str) -> Callable[[str], ImageKey]:
    return lambda id_: ImageKey(source, id_)


FOLDERS: dict[str, tuple[tuple[str, Callable[[str], ImageKey]], ...]] = {
    "coco": ((r"COCO_(?:train2014|val2014|test2015)_(\d{12})", _number("coco")),),
    "vg": ((r"(\d+)", _number("vg")),),
    # The publishers' folder for GQA holds Visual Genome's pictures as well, under Visual Genome's numbers.
    "gqa": ((r"(n\d+)", _word("gqa")), (r"(\d+)", _number("vg"))),
    "visual7w": ((r"v7w_(\d+)", _number("vg")),),
    "flickr30k": ((r"(\d+)", _word("flickr30k")),),
    "nlvr2": ((r"(\w+-\d+-\d+-img[01])", _word("nlvr2")),),
}
"""Folders under ``images/``: the names of their pictures (without suffix), and whose keys those are."""


def image_files(root: Path) -> dict[ImageKey, Path]:
    """Every picture of a data folder, searched at any depth, by key; of two files of one key the first.

    A folder that is not one of the publishers' is a source of its own: ``images/pets/rex.jpg`` is ``pets/rex``.
    Files that are no JPEG or PNG by name are passed over.

    Raises:
        TwelvefoldError: no picture folder is there, or a picture's name is not one of its folder's kind.
    """
    base = root / "images"
    there = sorted(path.name for path in base.iterdir() if path.is_dir()) if base.is_dir() else []
    if not there:
        wanted = ", ".join(str(base / folder) for folder in FOLDERS)
        raise TwelvefoldError(f"no pictures: expected at least one of the folders {wanted}, or one of your own")
    found: dict[ImageKey, Path] = {}
    for folder in [*FOLDERS, *(name for name in there if name not in FOLDERS)]:
        patterns = [(re.compile(pattern), key) for pattern, key in FOLDERS.get(folder, ())]
        for path in _pictures(base / folder):
            found.setdefault(_key(path, base / folder, patterns), path)
    return found


def _pictures(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            if Path(name).suffix.lower() in SUFFIXES and not name.startswith("."):
                yield Path(parent, name)


def _key(path: Path, folder: Path, patterns: list[tuple[re.Pattern[str], Callable[[str], ImageKey]]]) -> ImageKey:
    if not patterns:
        return ImageKey(folder.name, path.relative_to(folder).with_suffix("").as_posix())
    for pattern, key in patterns:
        match = pattern.fullmatch(path.stem)
        if match:
            return key(match[1])
    wanted = " or ".join(pattern.pattern for pattern, _ in patterns)
    raise TwelvefoldError(f"{path}: a picture in {folder} is named like {wanted}; rename it or move it away")


def given_boxes(
    root: Path, tasks: Mapping[str, Mapping[str, Any]], *, bad: BadRecords | None = None
) -> dict[ImageKey, NDArray[np.float32]]:
    """(N, 4) float32 pixel boxes of every picture for which one of ``tasks`` gives candidates, over all splits.

    A picture's boxes are the union over its questions and games, each once, in ascending order: exactly the boxes
    of ``Pair.candidates_px``, rounded to float32. ``tasks``: names as :func:`twelvefold.datasets.load` takes
    them, each with its reader's options; a task gives candidates with all its examples or with none.
    """
    bad = BadRecords() if bad is None else bad
    union: dict[ImageKey, set[Box]] = {}
    for name, options in tasks.items():
        for pair in track(
            _pairs_with_candidates(load(name), root, bad, options), description=f"candidate boxes of {name}"
        ):
            union.setdefault(pair.image, set()).update(pair.candidates_px)
    rounded = {key: np.array(sorted(boxes), dtype=np.float32) for key, boxes in sorted(union.items())}
    return {key: np.unique(boxes, axis=0) for key, boxes in rounded.items()}


def _pairs_with_candidates(dataset: Dataset, root: Path, bad: BadRecords, options: Mapping[str, Any]) -> Iterator[Pair]:
    if dataset.TASK.family != "grounding":
        return
    for split in get_args(Split):
        for example in dataset.read(root, split, bad=bad, **options):
            if not any(pair.candidates_px for pair in example.pairs):
                return  # RefCOCO's kind: the box meant is only told, there is nothing to choose from
            yield from example.pairs
