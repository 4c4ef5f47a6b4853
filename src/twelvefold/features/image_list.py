"""List the images of an extraction: each image once, with all its keys, and the given boxes of each key.

The folder is a data folder, whose layout determines the keys, or a plain folder of images. Paper: section 3, image
regions; section 4.1 for given boxes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twelvefold.datasets import task_names
from twelvefold.datasets.reading.image_files import ImageFiles, candidate_boxes, key_of_path, scan_image_files
from twelvefold.datasets.reading.records import BadRecords
from twelvefold.image_folder import SkippedFile, scan_image_folder, skipped_lines
from twelvefold.images import ImageError, digest_image
from twelvefold.parsing.bounds import short_repr
from twelvefold.parsing.json_text import read_json
from twelvefold.printable import printable_name
from twelvefold.schema import ImageKey, Regions, TwelvefoldError, did_you_mean

Boxes = NDArray[np.float32]
TaskOptions = Mapping[str, Mapping[str, Any]]
"""Options of the dataset reader, by task."""


@dataclass(frozen=True, slots=True)
class ListedImage:
    """One image: a file, its digest, its keys, and the given boxes of each key (None: the key has none)."""

    path: Path
    digest: str
    keys: tuple[ImageKey, ...]
    given_boxes: tuple[Boxes | None, ...]


@dataclass(frozen=True, slots=True)
class ImageList:
    """The images of an extraction, sorted by their first key. ``unreadable``: files that are not among them, by key or
    path, with the reason. ``skipped``: what is no image."""

    images: list[ListedImage]
    unreadable: dict[str, str]
    skipped: list[SkippedFile]


def list_images(
    root: Path, tasks: TaskOptions | None = None, bad: BadRecords | None = None, boxes: Path | None = None
) -> ImageList:
    """Return every image of a folder. Files with the same content are one image.

    A folder with ``images/`` in it is a data folder; any other is a plain folder, where ``trip/day1/boat.jpg`` has the
    key ``trip/day1/boat``. ``boxes``: a JSON file of given boxes (:func:`read_boxes`), used instead of the tasks'.

    Raises:
        TwelvefoldError: there is no image, two files have the same key, or ``boxes`` is not valid.
    """
    root = Path(root)
    is_plain = not (root / "images").is_dir()
    content = scan_plain_folder(root) if is_plain else scan_image_files(root)
    files, unreadable = content.files, dict(content.unreadable)
    if not files:
        raise TwelvefoldError(f"no images in {root / 'images'}; write a world there, or copy the datasets' images")
    given: Mapping[ImageKey, NDArray[Any]] = {}
    if boxes is not None:
        given = read_boxes(boxes, files, root)
    elif not is_plain:
        all_tasks: TaskOptions = {name: {} for name in task_names() if (root / name).is_dir()}
        given = candidate_boxes(root, all_tasks if tasks is None else tasks, bad=bad)
    keys_by_digest: dict[str, list[ImageKey]] = {}
    for key in sorted(files):
        if str(key) not in unreadable:
            try:
                keys_by_digest.setdefault(digest_image(files[key]), []).append(key)
            except ImageError as error:
                unreadable[str(key)] = str(error)
    images = [
        ListedImage(files[keys[0]], digest, tuple(keys), tuple(_to_float32(given.get(key)) for key in keys))
        for digest, keys in keys_by_digest.items()
    ]
    return ImageList(images, unreadable, content.skipped)


def scan_plain_folder(root: Path) -> ImageFiles:
    """Return the images of a plain folder by key: the folder's name, and the path in it without suffix.

    Raises:
        TwelvefoldError: there is no image, or two files differ in their suffix only.
    """
    content = scan_image_folder(root)
    result = ImageFiles(unreadable=content.problems, skipped=content.skipped)
    source = root.resolve().name or "photographs"
    for path in content.files:
        key = key_of_path(source, path, root)
        if key in result.files:
            raise TwelvefoldError(f"{result.files[key]} and {path} would both be {key}; rename one of them")
        result.files[key] = path
        if path in content.unreadable:
            result.unreadable[str(key)] = f"{printable_name(path.relative_to(root))}: {content.unreadable[path]}"
    if not result.files:
        raise TwelvefoldError(
            f"no images in {root}: expected a data folder (with a folder images in it) or a folder of images; "
            + "; ".join(skipped_lines(content.skipped) or ["it is empty"])
        )
    return result


def read_boxes(path: Path, files: Mapping[ImageKey, Path], root: Path) -> dict[ImageKey, Boxes]:
    """Read given boxes from JSON: ``{"day1/boat.jpg": [[x1, y1, x2, y2], ...], ...}``, corners in pixels.

    An image is named by its path in the folder, with or without suffix, or by its key; a path that is not UTF-8 as
    :func:`printable_name` writes it. Boxes keep their order.

    Raises:
        TwelvefoldError: the file is not such JSON, an image is missing or named twice, or a box is not valid.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise TwelvefoldError(f"{path}: expected images and their boxes, {{NAME: [[x1, y1, x2, y2], ...]}}")
    keys: dict[str, ImageKey] = {}
    for key, file in files.items():
        relative = file.relative_to(root)
        names = (str(key), relative.as_posix(), relative.with_suffix("").as_posix())
        keys |= {printable_name(name): key for name in names}
    boxes_by_key: dict[ImageKey, Boxes] = {}
    for name, boxes in content.items():
        if name not in keys:
            raise TwelvefoldError(f"{path}: no image {name!r} in {root}{did_you_mean(name, keys)}")
        if keys[name] in boxes_by_key:
            raise TwelvefoldError(f"{path}: the image {name!r} also has boxes under another name")
        boxes_by_key[keys[name]] = _parse_boxes(boxes, f"{path}: {name}")
    return boxes_by_key


def _parse_boxes(value: Any, location: str) -> Boxes:
    try:
        boxes = np.array(value, np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        raise TwelvefoldError(f"{location}: expected boxes [x1, y1, x2, y2], got {short_repr(value, 60)}") from error
    if boxes.size == 0:
        return np.zeros((0, 4), np.float32)
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not np.isfinite(boxes).all():
        raise TwelvefoldError(
            f"{location}: expected boxes [x1, y1, x2, y2] of finite numbers, got {short_repr(value, 60)}"
        )
    wrong = (boxes[:, 2:] <= boxes[:, :2]).any(axis=1)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise TwelvefoldError(
            f"{location}: box {row}, {boxes[row].tolist()}: expected x1 < x2 and y1 < y2; boxes are corners "
            "x1, y1, x2, y2, not x, y, width, height"
        )
    return boxes


def _to_float32(boxes: NDArray[Any] | None) -> Boxes | None:
    return None if boxes is None else np.asarray(boxes, np.float32).reshape(-1, 4)


def concat_boxes(image: ListedImage) -> Boxes:
    """Return the given boxes of all keys of an image, (n, 4)."""
    return np.concatenate([np.zeros((0, 4), np.float32), *(boxes for boxes in image.given_boxes if boxes is not None)])


def split_by_key(image: ListedImage, given: Regions) -> Iterator[Regions | None]:
    """Yield the regions of each key, from those at the boxes of :func:`concat_boxes`; None if the key has no boxes."""
    start = 0
    for boxes in image.given_boxes:
        if boxes is None:
            yield None
            continue
        rows = slice(start, start + len(boxes))
        probabilities = None if given.class_probs is None else given.class_probs[rows]
        yield Regions(given.boxes_px[rows], given.features[rows], given.width, given.height, probabilities)
        start += len(boxes)
