"""What a record says of a picture, whatever each project calls it, as :class:`~twelvefold.schema.Regions`.

The original project keeps N boxes and N features, without a row for the whole picture: that row (IMG) is the mean of
the N, which our stores keep ready. So the rows that a model reads are the same. Every feature row counts, as in the
original, whatever the file's own ``num_boxes`` says (its extraction script writes there how many had a confidence
above 0).
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twelvefold import boxes as geometry
from twelvefold.features.formats.record import Boxes, Reading, RecordError
from twelvefold.schema import Regions

WIDTH, HEIGHT = ("image_w", "image_width", "img_w"), ("image_h", "image_height", "img_h")
BOXES, FEATURES, PROBABILITIES = ("boxes", "bbox"), ("features",), ("cls_prob",)
NAME = ("image_id", "img_id", "feature_path")
LARGEST = 1_000_000
"""No picture is wider or higher: a size beyond is a damaged record."""
SLACK_PX = 1.0
"""So far a box may reach past the picture's edge without being remarked upon (true boxes begin at -1)."""

Found = tuple[Regions, tuple[str, ...]]


def regions_of(fields: Mapping[str, Any], reading: Reading) -> Found:
    """The regions of a record, and what was odd about them but let through.

    Raises:
        RecordError: something is missing, of a wrong shape or size, not a number, or no box of this picture.
    """
    width, height = (_side(fields, names) for names in (WIDTH, HEIGHT))
    count = _count(fields)
    features = _matrix(fields, FEATURES, count)
    corners = _matrix(fields, BOXES, count, columns=4)
    if len(features) != len(corners):
        raise RecordError(f"expected as many boxes as features, got {len(corners)} and {len(features)}")
    if not len(features):
        raise RecordError("expected regions, got none")
    probabilities = None
    if reading.probabilities:
        probabilities = _matrix(fields, PROBABILITIES, count)
        if len(probabilities) != len(features):
            raise RecordError(f"expected {len(features)} rows of class probabilities, got {len(probabilities)}")
    return checked(Regions(corners, features, width, height, probabilities), reading.boxes or "corners")


def checked(regions: Regions, convention: Boxes) -> Found:
    """``regions`` with boxes as corners in pixels, and what is odd about them.

    Raises:
        RecordError: a number that isn't finite, a box whose corners stand the wrong way round or that lies outside.
    """
    parts = (("boxes", regions.boxes_px), ("features", regions.features), ("cls_prob", regions.class_probs))
    for name, values in parts:
        if values is not None and not np.isfinite(values).all():
            row = int(np.argwhere(~np.isfinite(values))[0][0])
            raise RecordError(f"{name} of region {row} hold a number that is not finite")
    pixels, notes = _pixels(regions, convention)
    made = Regions(pixels, regions.features, regions.width, regions.height, regions.class_probs)
    return made, notes


def name_of(fields: Mapping[str, Any]) -> str:
    """The picture's name in the record itself, or nothing."""
    value = next((fields[name] for name in NAME if fields.get(name) is not None), "")
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def decoded(text: bytes | str, what: str, dtype: str = "<f4") -> NDArray[Any]:
    """The numbers of a base64 text, flat.

    Raises:
        RecordError: it is no base64, or cut inside a number.
    """
    try:
        plain = text.encode("ascii") if isinstance(text, str) else text
        if plain.startswith(b"b'"):  # str() of Python 3's bytes, which some conversions left
            plain = plain[2:].removesuffix(b"'")
        data = binascii.a2b_base64(plain.replace(b"\n", b""), strict_mode=True)
    except (binascii.Error, ValueError) as error:
        raise RecordError(f"{what}: expected base64, got what is none or cut short ({error})") from None
    size = np.dtype(dtype).itemsize
    if len(data) % size:
        raise RecordError(f"{what}: expected numbers of {size} bytes, got {len(data):,} bytes: cut short")
    return np.frombuffer(data, dtype=dtype)


def _pick(fields: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    for name in names:
        if fields.get(name) is not None:
            return fields[name]
    raise RecordError(f"expected {' or '.join(names)}, got only {', '.join(map(str, fields)) or 'nothing'}")


def _side(fields: Mapping[str, Any], names: tuple[str, ...]) -> int:
    value = _pick(fields, names)
    try:
        side = int(value)
    except (TypeError, ValueError):
        side = 0
    if not 0 < side <= LARGEST:
        raise RecordError(f"{names[0]}: expected a number of pixels, got {value!r:.40}")
    return side


def _count(fields: Mapping[str, Any]) -> int | None:
    """``num_boxes``, which base64 needs to know its shape."""
    value = fields.get("num_boxes")
    try:
        return None if value is None else int(value)
    except (TypeError, ValueError):
        raise RecordError(f"num_boxes: expected a number, got {value!r:.40}") from None


def _matrix(fields: Mapping[str, Any], names: tuple[str, ...], count: int | None, columns: int = 0) -> NDArray[Any]:
    """A field as (N, ``columns``) float32; 0 columns: as many as there are."""
    value = _pick(fields, names)
    if isinstance(value, str | bytes):
        flat = decoded(value, names[0])
        if count is None or count < 0 or (flat.size and not count) or (count and flat.size % count):
            raise RecordError(f"{names[0]}: expected a multiple of num_boxes ({count}) numbers, got {flat.size:,}")
        value = flat.reshape(count, -1) if count else flat.reshape(0, columns or 1)
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu":
        raise RecordError(f"{names[0]}: expected an array of numbers, got {type(value).__name__}")
    shape = value.shape
    if columns:
        value = value.reshape(-1, columns) if value.size % columns == 0 else value
    if value.ndim != 2 or (columns and value.shape[1] != columns) or not value.shape[1]:
        raise RecordError(f"{names[0]}: expected the shape (regions, {columns or 'numbers'}), got {shape}")
    matrix: NDArray[np.float32] = value.astype(np.float32, copy=False)
    return matrix


def _pixels(regions: Regions, convention: Boxes) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    boxes, width, height = regions.boxes_px, regions.width, regions.height
    if convention == "xywh":
        boxes = np.asarray(geometry.xywh_to_xyxy(boxes), dtype=np.float32)
    elif convention == "unit":
        boxes = boxes * np.array([width, height, width, height], dtype=np.float32)
    elif min(width, height) > 2 and boxes.min() >= 0 and boxes.max() <= 1:
        raise RecordError("boxes lie between 0 and 1: shares of the picture and not pixels? then say --boxes unit")
    x1, y1, x2, y2 = boxes.T
    if (wrong := (x2 < x1) | (y2 < y1)).any():
        row = int(np.argmax(wrong))
        advice = "" if convention == "xywh" else "; x, y, width, height? then say --boxes xywh"
        raise RecordError(f"box {row}: expected x1 <= x2 and y1 <= y2, got {boxes[row].tolist()}{advice}")
    if (wrong := (x2 < 0) | (y2 < 0) | (x1 > width) | (y1 > height)).any():
        row = int(np.argmax(wrong))
        raise RecordError(f"box {row} lies outside the picture ({width} x {height}): {boxes[row].tolist()}")
    past = (x1 < -SLACK_PX) | (y1 < -SLACK_PX) | (x2 > width + SLACK_PX) | (y2 > height + SLACK_PX)
    flat = (x2 == x1) | (y2 == y1)
    notes = [
        f"{int(odd.sum())} box{'es' if odd.sum() > 1 else ''} {what}, such as {boxes[int(np.argmax(odd))].tolist()}"
        for odd, what in ((flat, "without area"), (past, f"past the edge of the picture ({width} x {height})"))
        if odd.any()
    ]
    return boxes, tuple(notes)
