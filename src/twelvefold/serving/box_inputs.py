"""Candidate boxes of a request: from lists, arrays, tensors, generators or dicts to pixels inside the image.

Boxes that can only be meant in another format than the stated one are refused, because features of a wrong place give
a wrong answer without any sign of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from decimal import Decimal
from numbers import Real
from typing import Any, Literal, get_args

import numpy as np

from twelvefold import boxes as box_geometry
from twelvefold.boxes import Floats
from twelvefold.images import InputImage
from twelvefold.schema import Box, TwelvefoldError, did_you_mean
from twelvefold.serving.request import Request, describe, parse_json

BoxFormat = Literal["xyxy", "xywh", "xyxy_unit", "xywh_unit"]
"""The four numbers of a box: two corners, or a corner with width and height; in pixels of the upright image, or with
``_unit`` in shares of its width and height."""
FORMATS: tuple[BoxFormat, ...] = get_args(BoxFormat)

CORNERS = ("xmin", "ymin", "xmax", "ymax")
"""Keys of a box that is a dict, as in Hugging Face's pipelines."""

TOLERANCE_PX = 1.0
"""Boxes may exceed the image by so much, as rounding does; they are clipped."""

EXPECTED = "a list of boxes [[x1, y1, x2, y2], ...], at least one"


def check_box_format(box_format: Any, boxes: Any = None) -> BoxFormat:
    """Return the format.

    Raises:
        TwelvefoldError: there is no such format, or ``boxes`` (torchvision's ``BoundingBoxes``) state another one.
    """
    own = getattr(getattr(boxes, "format", None), "value", None)
    if isinstance(own, str) and own.lower() != box_format:
        advice = f"give box_format={own.lower()!r}" if own.lower() in FORMATS else "convert them to xyxy"
        raise TwelvefoldError(f"boxes: they state the format {own}, but box_format is {box_format!r}; {advice}")
    if box_format not in FORMATS:
        close = did_you_mean(str(box_format), FORMATS)
        raise TwelvefoldError(f"box_format: expected one of {', '.join(FORMATS)}, got {describe(box_format)}{close}")
    result: BoxFormat = box_format
    return result


def read_boxes(value: Any, image: InputImage, box_format: BoxFormat = "xyxy") -> tuple[Box, ...]:
    """Return the boxes of one image as corners in pixels. ``value``: a list from :func:`split_boxes`.

    Raises:
        TwelvefoldError: a box is invalid, or can only be meant in another format.
    """
    corners = _corners(value)
    size = f"{image.width} x {image.height} pixels"
    if not box_format.endswith("_unit") and corners.min() >= 0 and corners.max() <= 1 < max(image.width, image.height):
        raise TwelvefoldError(
            f"boxes: all numbers are from 0 to 1, but boxes are in pixels, and the image has {size}; for shares of its "
            f"width and height give box_format='{box_format}_unit'"
        )
    if box_format.startswith("xywh") and any(isinstance(box, Mapping) for box in value):
        raise TwelvefoldError(f"boxes: dicts with {', '.join(CORNERS)} are corners, but box_format is {box_format!r}")
    if box_format.endswith("_unit"):
        if corners.min() < 0.0 or corners.max() > 1.0:
            index = int(np.argmax((corners.min(axis=1) < 0.0) | (corners.max(axis=1) > 1.0)))
            raise TwelvefoldError(
                f"boxes[{index}]: {box_format!r} takes numbers from 0 to 1, got {_text(corners[index])}; pixels "
                f"are box_format={box_format.removesuffix('_unit')!r}"
            )
        corners *= [image.width, image.height] * 2
    if box_format.startswith("xywh"):
        corners = box_geometry.xywh_to_xyxy(corners)
    return check_boxes(corners.tolist(), image, box_format)


def check_boxes(
    boxes_px: Sequence[Sequence[float]], image: InputImage, box_format: BoxFormat = "xyxy"
) -> tuple[Box, ...]:
    """Return corners in pixels, clipped to the image and rounded as the dataset readers' boxes are.

    ``box_format``: the format in which the caller gave the boxes, for advice.

    Raises:
        TwelvefoldError: a box is not four finite numbers, has no area, or is not inside the image.
    """
    corners = _corners(_to_lists(boxes_px))
    size = f"{image.width} x {image.height} pixels"
    limits = np.array([image.width, image.height], dtype=np.float64)
    clipped = box_geometry.clip(corners, image.width, image.height)
    advice = _advice(corners, limits, box_format)
    for i, (box, inside) in enumerate(zip(corners, clipped, strict=True)):
        if not (box[2] > box[0] and box[3] > box[1]):
            raise TwelvefoldError(
                f"boxes[{i}]: a box x1, y1, x2, y2 needs x2 > x1 and y2 > y1, got {_text(box)}{advice}"
            )
        if abs(box - inside).max() > TOLERANCE_PX or not (inside[2] > inside[0] and inside[3] > inside[1]):
            raise TwelvefoldError(f"boxes[{i}]: a box lies inside the image ({size}), got {_text(box)}{advice}")
    return tuple((x1, y1, x2, y2) for x1, y1, x2, y2 in clipped.astype(np.float32).tolist())


def parse_boxes(text: str) -> list[Any]:
    """Return the boxes of a JSON list [[x1, y1, x2, y2], ...], at least one; see :func:`read_boxes`."""
    boxes: list[Any] = parse_json(text, list[list[Any] | dict[str, Any]], "boxes", "of [x1, y1, x2, y2] in pixels")
    if not boxes:
        raise TwelvefoldError("boxes: expected at least one box; leave boxes out to choose among the detected regions")
    return boxes


def clip_boxes(request: Request) -> tuple[Box, ...]:
    """Return the boxes of a request that has some, clipped to its image as the dataset readers clip theirs.

    Raises:
        TwelvefoldError: as :func:`check_boxes`.
    """
    return check_boxes(request.boxes_px, request.images[0])


def split_boxes(value: Any, count: int | None) -> list[list[Any] | None]:
    """Return the boxes of each request as lists, None for one that chooses among the detected regions.

    ``value``: boxes for all requests, or for each request its boxes or None; in lists, arrays, tensors or
    generators. ``count``: the number of requests if they come from lists, None for a single request.

    Raises:
        TwelvefoldError: another nesting, a list without boxes, or a wrong number of lists.
    """
    listed = _to_lists(value)
    if listed == [] and count == 0:
        return []
    if not isinstance(listed, list) or not listed:
        raise TwelvefoldError(f"boxes: expected {EXPECTED}, got {describe(value)}; None means the detected regions")
    if all(isinstance(box, Real) for box in listed):
        raise TwelvefoldError(f"boxes: expected {EXPECTED}, got numbers; a single box is [[x1, y1, x2, y2]]")
    if not all(box is None or _holds_boxes(box) for box in listed):
        _corners(listed)  # also where there is no image to put them in
        return [listed] * (1 if count is None else count)
    if count is None:
        raise TwelvefoldError(f"boxes: expected {EXPECTED}; lists of boxes go with lists of images or texts")
    if len(listed) != count:
        raise TwelvefoldError(f"boxes: expected a list of boxes for each of {count} requests, got {len(listed)} lists")
    for i, boxes in enumerate(listed):
        if boxes is not None and not boxes:
            raise TwelvefoldError(f"boxes[{i}]: expected at least one box; None means the detected regions")
    return listed


def _to_lists(value: Any) -> Any:
    """Convert arrays, tensors and other iterables to lists, at every level; dicts and texts stay as they are."""
    if hasattr(value, "to_numpy"):  # tables of pandas
        value = value.to_numpy()
    if hasattr(value, "tolist"):
        try:
            value = value.tolist()
        except (RuntimeError, TypeError) as error:  # a tensor that is sparse or without data
            raise TwelvefoldError(f"boxes: a {type(value).__name__} without numbers: {error}") from error
    if isinstance(value, (str, bytes, Mapping, Set)) or not isinstance(value, Iterable):
        return value
    return [_to_lists(each) for each in value]


def _holds_boxes(value: Any) -> bool:
    """Return whether a value is a list of boxes and not a box."""
    return isinstance(value, list) and all(isinstance(each, (list, Mapping)) for each in value)


def _corners(boxes: Any) -> Floats:
    """Return (N, 4) numbers of a list of boxes, at least one."""
    if not boxes:
        raise TwelvefoldError(f"boxes: expected {EXPECTED}, got none")
    return np.array([_numbers(box, f"boxes[{i}]") for i, box in enumerate(boxes)], dtype=np.float64)


def _numbers(box: Any, argument: str) -> list[float]:
    """Return the four finite numbers of a box."""
    numbers = [_to_lists(box[key]) for key in CORNERS] if isinstance(box, Mapping) and set(box) == {*CORNERS} else box
    if not isinstance(numbers, list) or len(numbers) != 4 or not all(map(_is_finite, numbers)):
        expected = "four finite numbers [x1, y1, x2, y2] in pixels, or as box_format says"
        raise TwelvefoldError(f"{argument}: a box is {expected}, got {box!r}"[:400])
    return [float(number) for number in numbers]


def _is_finite(number: Any) -> bool:
    try:
        return not isinstance(number, bool) and isinstance(number, (Real, Decimal)) and math.isfinite(number)
    except OverflowError:  # an integer that no float can hold
        return False


def _advice(corners: Floats, limits: Floats, box_format: BoxFormat) -> str:
    """Return which format the boxes can only be meant in, if there is one."""
    if box_format != "xyxy":
        return f"; box_format is {box_format!r}, and these are the corners that follow from it"
    ends = corners[:, :2] + corners[:, 2:]
    fits = (corners >= -TOLERANCE_PX).all() and (corners[:, 2:] > 0).all() and (ends <= limits + TOLERANCE_PX).all()
    return "; they fit as x, y, width, height: give box_format='xywh'" if fits else "; clip it, or give its box_format"


def _text(box: Floats) -> str:
    return "[" + ", ".join(f"{number:g}" for number in box) + "]"
