"""What an extraction looks at: every photograph once, under all its keys, with the boxes asked about under each.

From a data folder, whose layout says whose picture is whose, or from a plain folder of photographs. Paper: section 3,
image regions; section 4.1 for given boxes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twelvefold.datasets import task_names
from twelvefold.datasets.reading.image_files import candidate_boxes, image_files
from twelvefold.datasets.reading.records import BadRecords
from twelvefold.schema import ImageKey, Regions, TwelvefoldError, did_you_mean
from twelvefold.store.atomic_files import digest_file

PHOTOGRAPHS = frozenset((".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff"))
"""What is looked at in a plain folder, by suffix."""

Boxes = NDArray[np.float32]
Tasks = Mapping[str, Mapping[str, Any]]
Files = Mapping[ImageKey, Path]
Asked = Mapping[ImageKey, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Shot:
    """One photograph: a file, its digest, the keys it is known by, and the boxes asked about under each (or None)."""

    path: Path
    digest: str
    keys: tuple[ImageKey, ...]
    asked: tuple[Boxes | None, ...]


def plan(
    root: Path, tasks: Tasks | None = None, bad: BadRecords | None = None, boxes: Path | None = None
) -> list[Shot]:
    """Every photograph of a folder once, in the order of its first key.

    A folder with ``images/`` in it is a data folder, any other a folder of photographs: ``trip/day1/boat.jpg`` is
    ``trip/day1/boat``. ``boxes``: a JSON file of boxes to be asked about, by picture (:func:`boxes_of_file`); they
    come in place of what the tasks give.

    Raises: TwelvefoldError where there is no picture, two have one key, or ``boxes`` names none.
    """
    root = Path(root)
    plain = not (root / "images").is_dir()
    files = photographs(root) if plain else image_files(root)
    if not files:
        raise TwelvefoldError(
            f"no pictures under {root / 'images'}; make a world there, or bring the datasets' pictures"
        )
    if boxes is not None:
        asked: Asked = boxes_of_file(boxes, files, root)
    elif plain:
        asked = {}
    else:
        there: Tasks = {name: {} for name in task_names() if (root / name).is_dir()}
        asked = candidate_boxes(root, there if tasks is None else tasks, bad=bad)
    same: dict[str, list[ImageKey]] = {}
    for key in sorted(files):
        same.setdefault(digest_file(files[key]), []).append(key)
    return [
        Shot(files[keys[0]], digest, tuple(keys), tuple(_boxes(asked.get(key)) for key in keys))
        for digest, keys in same.items()
    ]


def photographs(root: Path) -> dict[ImageKey, Path]:
    """The pictures of a plain folder, at any depth, by key: the folder's name and the path in it without suffix.

    Raises: TwelvefoldError where there is none, or two files differ in their suffix alone.
    """
    found: dict[ImageKey, Path] = {}
    source = root.resolve().name or "photographs"
    for path in _pictures(root):
        key = ImageKey(source, path.relative_to(root).with_suffix("").as_posix())
        if key in found:
            raise TwelvefoldError(f"{found[key]} and {path} would both be {key}; rename one of them")
        found[key] = path
    if not found:
        raise TwelvefoldError(
            f"no pictures in {root}: expected a data folder (with a folder images in it) or a folder of photographs "
            f"({', '.join(sorted(PHOTOGRAPHS))})"
        )
    return found


def _pictures(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if Path(name).suffix.lower() in PHOTOGRAPHS and not name.startswith("."):
                yield Path(parent, name)


def boxes_of_file(path: Path, files: Files, root: Path) -> dict[ImageKey, Boxes]:
    """Boxes to be asked about, from JSON: ``{"day1/boat.jpg": [[x1, y1, x2, y2], ...], ...}``, corners in pixels.

    A picture is named by its path in the folder, with or without suffix, or by its key. Order and repeats are kept.

    Raises: TwelvefoldError where the file is no such JSON, a picture is not there or named twice, or a box is none.
    """
    try:
        content = json.loads(Path(path).read_bytes())
    except (OSError, ValueError) as error:
        raise TwelvefoldError(f"can't read boxes from {path}: {error}") from error
    if not isinstance(content, dict):
        raise TwelvefoldError(f"{path}: expected pictures and their boxes, {{NAME: [[x1, y1, x2, y2], ...]}}")
    names: dict[str, ImageKey] = {}
    for key, file in files.items():
        relative = file.relative_to(root)
        names |= {str(key): key, relative.as_posix(): key, relative.with_suffix("").as_posix(): key}
    found: dict[ImageKey, Boxes] = {}
    for name, boxes in content.items():
        if name not in names:
            raise TwelvefoldError(f"{path}: no picture {name!r} in {root}{did_you_mean(name, names)}")
        if names[name] in found:
            raise TwelvefoldError(f"{path}: the picture of {name!r} has boxes under another name too")
        found[names[name]] = _corners(boxes, f"{path}: {name}")
    return found


def _corners(boxes: Any, where: str) -> Boxes:
    try:
        corners = np.array(boxes, np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        raise TwelvefoldError(f"{where}: expected boxes [x1, y1, x2, y2], got {boxes!r:.60}") from error
    if corners.size == 0:
        return np.zeros((0, 4), np.float32)
    if corners.ndim != 2 or corners.shape[1] != 4 or not np.isfinite(corners).all():
        raise TwelvefoldError(f"{where}: expected boxes [x1, y1, x2, y2] of finite numbers, got {boxes!r:.60}")
    if (corners[:, 2:] <= corners[:, :2]).any():
        row = int(np.argwhere((corners[:, 2:] <= corners[:, :2]).any(axis=1))[0][0])
        raise TwelvefoldError(
            f"{where}: box {row}, {corners[row].tolist()}, ends before it begins; boxes are corners x1, y1, x2, y2, "
            "not x, y, width, height"
        )
    return corners


def _boxes(boxes: NDArray[Any] | None) -> Boxes | None:
    return None if boxes is None else np.asarray(boxes, np.float32).reshape(-1, 4)


def all_boxes(shot: Shot) -> Boxes:
    """The boxes of all keys of a photograph, one after the other."""
    return np.concatenate([np.zeros((0, 4), np.float32), *(boxes for boxes in shot.asked if boxes is not None)])


def parts(shot: Shot, given: Regions) -> Iterator[Regions | None]:
    """What was asked about under each key: the rows of :func:`all_boxes`, shared out again."""
    start = 0
    for boxes in shot.asked:
        if boxes is None:
            yield None
            continue
        rows = slice(start, start + len(boxes))
        probabilities = None if given.class_probs is None else given.class_probs[rows]
        yield Regions(given.boxes_px[rows], given.features[rows], given.width, given.height, probabilities)
        start += len(boxes)
