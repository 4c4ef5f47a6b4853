"""Convert a record's fields, whose names differ between projects, to :class:`~twelvefold.schema.Regions`.

The original project stores N boxes and N features, without a row for the whole image (IMG). Its reader adds the mean of
the N features, and so does our store: the rows that a model receives are the same. As in the original, all feature rows
count, whatever ``num_boxes`` says (its extraction script stores there how many had a confidence above 0).
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twelvefold import boxes as box_geometry
from twelvefold.config.extract import BoxFormat, ImportConfig
from twelvefold.features.formats.record import RecordError, RegionsWithWarnings
from twelvefold.parsing.bounds import short_repr
from twelvefold.schema import Regions

WIDTH, HEIGHT = ("image_w", "image_width", "img_w", "width"), ("image_h", "image_height", "img_h", "height")
BOXES, PROBABILITIES = ("boxes", "bbox", "bboxes", "image_bb"), ("cls_prob",)
FEATURES = ("features", "x", "feature", "feats", "image_features")
NAME = ("image_id", "img_id", "feature_path")
MAX_SIDE = 1_000_000
"""Largest width or height of an image; a larger one means that the record is damaged."""
MARGIN_PX = 1.0
"""How far a box may exceed the image without a warning (the datasets' boxes begin at -1)."""


def parse_regions(fields: Mapping[str, Any], config: ImportConfig) -> RegionsWithWarnings:
    """Return the regions of a record, and warnings about unusual content.

    Raises:
        RecordError: a field is missing, has a wrong shape or size or a number that is not finite, or a box is invalid.
    """
    width, height = (_side(fields, names) for names in (WIDTH, HEIGHT))
    num_boxes = _num_boxes(fields)
    features = _matrix(fields, FEATURES, num_boxes)
    boxes = _matrix(fields, BOXES, num_boxes, num_columns=4)
    if len(features) != len(boxes) == features.shape[1]:
        features = features.T  # MCAN's files have a column for each region
    if len(features) != len(boxes):
        raise RecordError(f"expected as many boxes as features, got {len(boxes)} and {len(features)}")
    if not len(features):
        raise RecordError("expected regions, got none")
    probabilities = None
    if config.class_probs:
        probabilities = _matrix(fields, PROBABILITIES, num_boxes)
        if len(probabilities) != len(features):
            raise RecordError(f"expected {len(features)} rows of class probabilities, got {len(probabilities)}")
    return validate_regions(Regions(boxes, features, width, height, probabilities), config.boxes or "corners")


def validate_regions(regions: Regions, box_format: BoxFormat) -> RegionsWithWarnings:
    """Return ``regions`` with boxes as corners in pixels, and warnings about unusual boxes.

    Raises:
        RecordError: a number is not finite, a box's corners are in the wrong order, or a box is outside the image.
    """
    arrays = (("boxes", regions.boxes_px), ("features", regions.features), ("cls_prob", regions.class_probs))
    for name, values in arrays:
        if values is not None and not np.isfinite(values).all():
            row = int(np.argwhere(~np.isfinite(values))[0][0])
            raise RecordError(f"{name} of region {row} contain a number that is not finite")
    boxes, warnings = _boxes_to_pixels(regions, box_format)
    return replace(regions, boxes_px=boxes), warnings


MAX_NAME = 1000
"""Characters of an image name; the rest cannot be part of one."""


def read_image_name(fields: Mapping[str, Any]) -> str:
    """Return the image's name stored in the record itself, or an empty string."""
    value = next((fields[name] for name in NAME if fields.get(name) is not None), "")
    if isinstance(value, bytes):
        return value.decode(errors="replace")[:MAX_NAME]
    return value[:MAX_NAME] if isinstance(value, str) else short_repr(value)


def decode_base64(text: bytes | str, field: str) -> NDArray[np.float32]:
    """Return the float32 numbers of a base64 text as a flat array.

    Raises:
        RecordError: it is not base64, or it ends within a number.
    """
    try:
        encoded = text.encode("ascii") if isinstance(text, str) else text
        if encoded.startswith(b"b'"):  # str() of Python 3 bytes, written by some conversion scripts
            encoded = encoded[2:].removesuffix(b"'")
        data = binascii.a2b_base64(encoded.replace(b"\n", b""), strict_mode=True)
    except (binascii.Error, ValueError) as error:
        raise RecordError(f"{field}: not valid base64, or truncated ({error})") from None
    if len(data) % 4:
        raise RecordError(f"{field}: expected numbers of 4 bytes, got {len(data):,} bytes: truncated")
    return np.frombuffer(data, dtype="<f4")


def _get(fields: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    for name in names:
        if fields.get(name) is not None:
            return fields[name]
    present = ", ".join(short_repr(name, 40).strip("'") for name in islice(fields, 20))
    raise RecordError(f"expected {' or '.join(names)}, got only {present or 'nothing'}")


def _side(fields: Mapping[str, Any], names: tuple[str, ...]) -> int:
    value = _get(fields, names)
    try:
        side = int(value)
    except (TypeError, ValueError, OverflowError):
        side = 0
    if not 0 < side <= MAX_SIDE:
        raise RecordError(f"{names[0]}: expected a number of pixels, got {short_repr(value, 40)}")
    return side


def _num_boxes(fields: Mapping[str, Any]) -> int | None:
    """Return ``num_boxes``, which gives the shape of base64 arrays."""
    value = fields.get("num_boxes")
    try:
        return None if value is None else int(value)
    except (TypeError, ValueError, OverflowError):
        raise RecordError(f"num_boxes: expected a number, got {short_repr(value, 40)}") from None


def _matrix(
    fields: Mapping[str, Any], names: tuple[str, ...], num_rows: int | None, num_columns: int = 0
) -> NDArray[np.float32]:
    """Return a field as (N, ``num_columns``) float32; 0 columns means any number."""
    value = _get(fields, names)
    if isinstance(value, str | bytes):
        flat = decode_base64(value, names[0])
        if num_rows is None or num_rows < 0 or (flat.size and not num_rows) or (num_rows and flat.size % num_rows):
            raise RecordError(f"{names[0]}: expected a multiple of num_boxes ({num_rows}) numbers, got {flat.size:,}")
        value = flat.reshape(num_rows, -1) if num_rows else flat.reshape(0, num_columns or 1)
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu":
        raise RecordError(f"{names[0]}: expected an array of numbers, got {type(value).__name__}")
    shape = value.shape
    if num_columns:
        value = value.reshape(-1, num_columns) if value.size % num_columns == 0 else value
    if value.ndim != 2 or (num_columns and value.shape[1] != num_columns) or not value.shape[1]:
        raise RecordError(f"{names[0]}: expected the shape (regions, {num_columns or 'numbers'}), got {shape}")
    matrix: NDArray[np.float32] = value.astype(np.float32, copy=False)
    return matrix


def _boxes_to_pixels(regions: Regions, box_format: BoxFormat) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    boxes, width, height = regions.boxes_px, regions.width, regions.height
    if box_format == "xywh":
        boxes = np.asarray(box_geometry.xywh_to_xyxy(boxes), dtype=np.float32)
    elif box_format == "unit":
        boxes = boxes * np.array([width, height, width, height], dtype=np.float32)
    elif min(width, height) > 2 and boxes.min() >= 0 and 0 < boxes.max() <= 1:
        raise RecordError("boxes are between 0 and 1: relative to the image size instead of pixels? then --boxes unit")
    x1, y1, x2, y2 = boxes.T
    if (wrong := (x2 < x1) | (y2 < y1)).any():
        row = int(np.argmax(wrong))
        advice = "" if box_format == "xywh" else "; x, y, width, height? then --boxes xywh"
        raise RecordError(f"box {row}: expected x1 <= x2 and y1 <= y2, got {boxes[row].tolist()}{advice}")
    if (wrong := (x2 < 0) | (y2 < 0) | (x1 > width) | (y1 > height)).any():
        row = int(np.argmax(wrong))
        raise RecordError(f"box {row} is outside the image ({width} x {height}): {boxes[row].tolist()}")
    exceeding = (x1 < -MARGIN_PX) | (y1 < -MARGIN_PX) | (x2 > width + MARGIN_PX) | (y2 > height + MARGIN_PX)
    empty = (x2 == x1) | (y2 == y1)
    warnings = [
        f"{int(odd.sum())} box{'es' if odd.sum() > 1 else ''} {problem}, such as {boxes[int(np.argmax(odd))].tolist()}"
        for odd, problem in ((empty, "without area"), (exceeding, f"exceeding the image ({width} x {height})"))
        if odd.any()
    ]
    return boxes, tuple(warnings)
