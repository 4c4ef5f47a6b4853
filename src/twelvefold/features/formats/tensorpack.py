"""Records of the original project's Conceptual Captions LMDBs, written by TensorPack: MessagePack with NumPy arrays.

A record is a list of eight: features, class probabilities, boxes (corners in pixels), number of boxes, height, width,
the picture's name, the caption. Keys are running numbers, so the name in the record counts; the caption is left to
whoever reads captions. Paper: section 3.1, pretraining.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np

from twelvefold.datasets.reading.safe_pickle import DTYPE
from twelvefold.features.formats.record import RecordError

FIELDS = ("features", "cls_prob", "boxes", "num_boxes", "image_h", "image_w", "image_id", "caption")
FIRST_BYTE = 0x90 | len(FIELDS)
"""How MessagePack begins a list of eight; no pickle begins so."""


def fields_of(data: bytes | memoryview) -> dict[str, Any]:
    """The fields of a record by name.

    Raises:
        RecordError: no MessagePack, cut short, or another list.
    """
    parts = value_of(data)
    if not isinstance(parts, list) or len(parts) != len(FIELDS):
        raise RecordError(f"expected a list of {', '.join(FIELDS)}")
    return {name: _plain(part) for name, part in zip(FIELDS, parts, strict=True)}


def value_of(data: bytes | memoryview) -> Any:
    """What a value holds, arrays not yet made.

    Raises:
        RecordError: no MessagePack, or cut short.
    """
    try:
        return msgspec.msgpack.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, TypeError) as error:
        raise RecordError(f"expected TensorPack's MessagePack, got what is none or cut short ({error})") from None


def _plain(part: Any) -> Any:
    """A part, arrays and NumPy's single numbers as such: a map with the keys ``nd``, ``type``, ``shape``, ``data``."""
    if not isinstance(part, dict):
        return part
    said = {key.decode(errors="replace") if isinstance(key, bytes) else key: value for key, value in part.items()}
    code, data, shape = said.get("type"), said.get("data"), said.get("shape", [])
    code = code.decode(errors="replace") if isinstance(code, bytes) else code
    if not isinstance(code, str) or not DTYPE.fullmatch(code) or "O" in code:
        raise RecordError(f"expected an array of plain numbers, got the type {code!r:.80}")
    if not isinstance(shape, list) or not all(type(side) is int and side >= 0 for side in shape):
        raise RecordError(f"expected the shape of an array, got {shape!r:.80}")
    wanted = np.dtype(code).itemsize * math.prod(shape)
    if not isinstance(data, bytes) or len(data) != wanted:
        raise RecordError(f"expected {wanted:,} bytes for an array of shape {tuple(shape)}")
    values = np.frombuffer(data, code)
    return values.reshape(shape) if said.get("nd") else values[0].item()
