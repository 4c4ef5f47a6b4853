"""Records of the original project's Conceptual Captions LMDBs, written by TensorPack: MessagePack with NumPy arrays.

A record is a list of eight: features, class probabilities, boxes (corners in pixels), number of boxes, height, width,
image name, caption. The LMDB's keys are running numbers, so the name in the record identifies the image. The caption is
not used here. Paper: section 3.1, pretraining.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np

from twelvefold.features.formats.record import RecordError
from twelvefold.parsing.bounds import short_repr
from twelvefold.store.safe_pickle import DTYPE, MAX_DIMENSIONS

FIELDS = ("features", "cls_prob", "boxes", "num_boxes", "image_h", "image_w", "image_id", "caption")
FIRST_BYTE = 0x90 | len(FIELDS)
"""First byte of a MessagePack list of eight; no pickle begins with it."""


def decode_record(data: bytes | memoryview) -> dict[str, Any]:
    """Return the fields of a record by name.

    Raises:
        RecordError: it is not MessagePack, truncated, or a different list.
    """
    values = decode_value(data)
    if not isinstance(values, list) or len(values) != len(FIELDS):
        raise RecordError(f"expected a list of {', '.join(FIELDS)}")
    return {name: _to_numpy(value) for name, value in zip(FIELDS, values, strict=True)}


def decode_value(data: bytes | memoryview) -> Any:
    """Decode MessagePack; arrays stay maps.

    Raises:
        RecordError: it is not MessagePack, or truncated.
    """
    try:
        return msgspec.msgpack.decode(data)
    except (ValueError, TypeError, RecursionError) as error:
        raise RecordError(f"expected TensorPack's MessagePack, which this is not, or truncated ({error})") from None


def _to_numpy(value: Any) -> Any:
    """Convert a map with the keys ``nd``, ``type``, ``shape``, ``data`` to an array or a number."""
    if not isinstance(value, dict):
        return value
    entries = {key.decode(errors="replace") if isinstance(key, bytes) else key: item for key, item in value.items()}
    code, data, shape = entries.get("type"), entries.get("data"), entries.get("shape", [])
    code = code.decode(errors="replace") if isinstance(code, bytes) else code
    if not isinstance(code, str) or not DTYPE.fullmatch(code) or "O" in code:
        raise RecordError(f"expected an array of plain numbers, got the type {short_repr(code, 80)}")
    if (
        not isinstance(shape, list)
        or len(shape) > MAX_DIMENSIONS
        or not all(type(side) is int and side >= 0 for side in shape)
    ):
        raise RecordError(f"expected the shape of an array, got {short_repr(shape, 80)}")
    num_bytes = np.dtype(code).itemsize * math.prod(shape)
    if not isinstance(data, bytes) or len(data) != num_bytes:
        raise RecordError(f"expected {num_bytes:,} bytes for an array of shape {tuple(shape)}")
    values = np.frombuffer(data, code)
    if not entries.get("nd") and len(values) != 1:
        raise RecordError(f"expected a number, got {len(values):,}")
    return values.reshape(shape) if entries.get("nd") else values[0].item()
