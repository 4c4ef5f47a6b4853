"""List the images of an extraction: each image once, with all its keys, and the given boxes of each key.

The folder is a data folder, whose layout determines the keys, or a plain folder of images. Paper: section 3.1, image
region features; given boxes are the original project's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twelvefold import boxes as box_functions
from twelvefold.datasets import task_names
from twelvefold.datasets.reading.image_files import (
    CandidateBoxes,
    ImageFiles,
    candidate_boxes,
    key_of_path,
    scan_image_files,
)
from twelvefold.datasets.reading.image_sizes import SizeCheck
from twelvefold.datasets.reading.records import BadRecords
from twelvefold.image_folder import SkippedFile, scan_image_folder, skipped_lines
from twelvefold.images import ImageError, digest_image, upright_size
from twelvefold.parsing.bounds import short_repr
from twelvefold.parsing.json_text import read_json
from twelvefold.printable import printable_name
from twelvefold.schema import Example, ImageKey, Pair, Regions, Size, TwelvefoldError, did_you_mean

Boxes = NDArray[np.float32]
TaskOptions = Mapping[str, Mapping[str, Any]]
"""Options of the dataset reader, by task."""


@dataclass(frozen=True, slots=True)
class ListedImage:
    """One image: a file, its digest, its keys, and the given boxes of each key (None: the key has none).

    ``stated_sizes``: the size of the image that the boxes of each key refer to, if it is not that of the file.
    """

    path: Path
    digest: str
    keys: tuple[ImageKey, ...]
    given_boxes: tuple[Boxes | None, ...]
    stated_sizes: tuple[Size | None, ...] = ()


@dataclass(frozen=True, slots=True)
class ImageList:
    """The images of an extraction, sorted by their first key. ``unreadable``: files that are not among them, by key or
    path, with the reason. ``skipped``: what is no image. ``other_sizes``: why given boxes were left out, by key.
    ``num_scaled``: keys of resized copies whose boxes are scaled."""

    images: list[ListedImage]
    unreadable: dict[str, str]
    skipped: list[SkippedFile]
    other_sizes: dict[str, str]
    num_scaled: int


def list_images(
    root: Path,
    tasks: TaskOptions | None = None,
    bad: BadRecords | None = None,
    boxes: Path | None = None,
    *,
    scale_boxes: bool = False,
) -> ImageList:
    """Return every image of a folder. Files with the same content are one image.

    A folder with ``images/`` in it is a data folder; any other is a plain folder, where ``trip/day1/boat.jpg`` has the
    key ``trip/day1/boat``. ``boxes``: a JSON file of given boxes (:func:`read_boxes`), used instead of the tasks'.
    ``scale_boxes``: keep the boxes of resized copies.

    Raises:
        TwelvefoldError: there is no image, two files have the same key, or ``boxes`` is not valid.
    """
    root = Path(root)
    is_plain = not (root / "images").is_dir()
    content = scan_plain_folder(root) if is_plain else scan_image_files(root)
    files, unreadable = content.files, dict(content.unreadable)
    if not files:
        raise TwelvefoldError(f"no images in {root / 'images'}; write a world there, or copy the datasets' images")
    boxes_by_key: Mapping[ImageKey, CandidateBoxes] = {}
    if boxes is not None:
        boxes_by_key = {key: CandidateBoxes(each) for key, each in read_boxes(boxes, files, root).items()}
    elif not is_plain:
        all_tasks: TaskOptions = {name: {} for name in task_names() if (root / name).is_dir()}
        boxes_by_key = candidate_boxes(root, all_tasks if tasks is None else tasks, bad=bad)
    keys_by_digest: dict[str, list[ImageKey]] = {}
    for key in sorted(files):
        if str(key) not in unreadable:
            try:
                keys_by_digest.setdefault(digest_image(files[key]), []).append(key)
            except ImageError as error:
                unreadable[str(key)] = str(error)
    sizes = _check_sizes(boxes_by_key, files, scale_boxes=scale_boxes)
    used = {key: candidates for key, candidates in boxes_by_key.items() if key not in sizes.other}
    images = [
        ListedImage(
            path=files[keys[0]],
            digest=digest,
            keys=tuple(keys),
            given_boxes=tuple(_to_float32(used[key].boxes_px) if key in used else None for key in keys),
            stated_sizes=tuple(used[key].stated_size if key in sizes.scaled else None for key in keys),
        )
        for digest, keys in keys_by_digest.items()
    ]
    other_sizes = {str(key): reason for key, reason in sorted(sizes.other.items())}
    return ImageList(images, unreadable, content.skipped, other_sizes, len(sizes.scaled))


def _check_sizes(
    given: Mapping[ImageKey, CandidateBoxes], files: Mapping[ImageKey, Path], *, scale_boxes: bool
) -> SizeCheck:
    """Compare the sizes that given boxes refer to with those of the files; boxes must be inside of an image."""

    def size_of(key: ImageKey) -> Size | None:
        try:
            return upright_size(files[key]) if key in files else None
        except ImageError:
            return None  # extraction will say so

    check = SizeCheck([size_of], scale_boxes)
    for key, (boxes_px, stated_size) in given.items():
        check.add(Example(str(key), (Pair(key, "", tuple(map(tuple, boxes_px.tolist())), stated_size),), None))
    return check


def scan_plain_folder(root: Path) -> ImageFiles:
    """Return the images of a plain folder by key: the folder's name, and the path in it without suffix.

    Raises:
        TwelvefoldError: there is no image, or two files differ in their suffix only.
    """
    content = scan_image_folder(root)
    result = ImageFiles(unreadable=content.problems, skipped=content.skipped)
    source = root.resolve().name or "photographs"
    for path in [*content.images, *content.unreadable]:
        key, name = key_of_path(source, path, root), printable_name(path.relative_to(root))
        if key in result.files and path not in content.unreadable:
            raise TwelvefoldError(f"{result.files[key]} and {path} would both be {key}; rename one of them")
        if path in content.unreadable:
            result.unreadable[name if key in result.files else str(key)] = f"{name}: {content.unreadable[path]}"
        result.files.setdefault(key, path)
    if not result.files:
        raise TwelvefoldError(
            f"no images in {root}: expected a data folder (with a folder images in it) or a folder of images; "
            + "; ".join(skipped_lines(content.skipped, problems=True) or ["it is empty"])
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


def _to_float32(boxes: NDArray[Any]) -> Boxes:
    return np.asarray(boxes, np.float32).reshape(-1, 4)


def concat_boxes(image: ListedImage, size: Size) -> Boxes:
    """Return the given boxes of all keys of an image, (n, 4), in the pixels of the file. ``size``: of the file."""
    listed = [np.zeros((0, 4), np.float32)]
    for boxes_px, stated in zip(image.given_boxes, image.stated_sizes, strict=True):
        if boxes_px is not None:
            factors = None if stated is None else box_functions.scale_factors(stated, size)
            listed.append(boxes_px if factors is None else box_functions.scale(boxes_px, factors).astype(np.float32))
    return np.concatenate(listed)


def split_by_key(image: ListedImage, given: Regions) -> Iterator[Regions | None]:
    """Yield the regions of each key, from those at the boxes of :func:`concat_boxes`; None if the key has no boxes.

    Boxes and size are those of the annotations, also where the file is a resized copy.
    """
    start = 0
    for boxes_px, stated in zip(image.given_boxes, image.stated_sizes, strict=True):
        if boxes_px is None:
            yield None
            continue
        rows = slice(start, start + len(boxes_px))
        probabilities = None if given.class_probs is None else given.class_probs[rows]
        width, height = stated or (given.width, given.height)
        stored_px = given.boxes_px[rows] if stated is None else boxes_px
        yield Regions(stored_px, given.features[rows], width, height, probabilities)
        start += len(boxes_px)
