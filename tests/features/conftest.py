"""Write feature files in every supported format, as the original tools write them."""

from __future__ import annotations

import base64
import json
import pickle
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lmdb
import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

Array = NDArray[Any]
WIDTH, HEIGHT = 640, 480


@pytest.fixture
def writers() -> Any:
    """Return the functions of this module."""
    return sys.modules[__name__]


def image_record(seed: int, regions: int = 5, width: int = 2048) -> dict[str, Any]:
    """Return the original project's record of one image."""
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 200, (regions, 2))
    corners = np.concatenate([low, low + rng.uniform(1, 200, (regions, 2))], axis=1).astype(np.float32)
    features = rng.random((regions, width), dtype=np.float32)
    sizes = {"image_h": HEIGHT, "image_w": WIDTH, "num_boxes": regions}
    return {"image_id": str(seed), **sizes, "boxes": corners, "features": features}


def write_lmdb(folder: Path, records: Mapping[str, Any], *, protocol: int = 3, keys: list[bytes] | None = None) -> Path:
    """Write an LMDB like ``script/convert_to_lmdb.py``: one transaction, then the list of keys."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with lmdb.open(str(folder), map_size=1 << 30) as env, env.begin(write=True) as txn:
        for key, value in records.items():
            txn.put(key.encode(), value if isinstance(value, bytes) else pickle.dumps(value, protocol=protocol))
        listed = [key.encode() for key in records] if keys is None else keys
        txn.put(b"keys", pickle.dumps(listed, protocol=protocol))
    return folder


def to_msgpack(values: Array) -> dict[bytes, Any]:
    """Return an array as msgpack-numpy writes it."""
    header = {b"type": values.dtype.str, b"kind": b"", b"shape": values.shape}
    return {b"nd": True, **header, b"data": values.tobytes()}


def captions_record(name: str, seed: int, num_classes: int = 1601) -> bytes:
    """Return an image of Conceptual Captions as TensorPack serializes it."""
    row = image_record(seed, regions=36)
    probabilities = np.full((36, num_classes), 1 / num_classes, np.float32)
    arrays = [to_msgpack(row["features"]), to_msgpack(probabilities), to_msgpack(row["boxes"])]
    return msgspec.msgpack.encode([*arrays, "36", str(HEIGHT), str(WIDTH), name, "a boat on a lake"])


def write_captions(file: Path, records: list[bytes]) -> Path:
    """Write a single file like TensorPack's ``LMDBSerializer``, with running numbers as keys."""
    with lmdb.open(str(file), subdir=False, map_size=1 << 30) as env, env.begin(write=True) as txn:
        keys = [f"{n:08}".encode() for n in range(len(records))]
        for key, record in zip(keys, records, strict=True):
            txn.put(key, record)
        txn.put(b"__keys__", msgspec.msgpack.encode(keys))
    return file


def to_base64(values: Array) -> str:
    return base64.b64encode(values.tobytes()).decode()


def base64_record(seed: int) -> dict[str, Any]:
    """Return a record of the older LMDB: a row of the table, all of it text."""
    row = image_record(seed)
    texts = {name: to_base64(row[name]) for name in ("boxes", "features")}
    return {**{name: str(row[name]) for name in ("image_id", "image_w", "image_h", "num_boxes")}, **texts}


def mmf_record(name: str, seed: int, num_classes: int = 0) -> dict[str, Any]:
    row = image_record(seed)
    probabilities = np.full((5, num_classes), 1 / num_classes, np.float32) if num_classes else None
    more = {"objects": np.arange(5), "cls_prob": probabilities, "bbox": row["boxes"], "num_boxes": 5}
    return {"feature_path": name, "features": row["features"], "image_height": HEIGHT, "image_width": WIDTH, **more}


def tsv_line(name: str, row: Mapping[str, Any], columns: int = 6, num_classes: int = 7) -> str:
    arrays = [to_base64(row["boxes"]), to_base64(row["features"])]
    head = [name, str(row["image_w"]), str(row["image_h"]), str(len(row["boxes"]))]
    if columns == 7:
        arrays.append(to_base64(np.full((len(row["boxes"]), num_classes), 1 / num_classes, np.float32)))
    if columns == 10:
        ids, scores = to_base64(np.zeros(5, np.int64)), to_base64(np.ones(5, np.float32))
        head = [name, str(row["image_h"]), str(row["image_w"]), ids, scores, ids, scores, str(len(row["boxes"]))]
    return "\t".join([*head, *arrays]) + "\n"


def vinvl_features(row: Mapping[str, Any]) -> Array:
    """Return (N, 2054): the feature, and the box, width and height relative to the image size."""
    unit = row["boxes"] / np.array([WIDTH, HEIGHT, WIDTH, HEIGHT], np.float32)
    sides = unit[:, 2:] - unit[:, :2]
    return np.concatenate([row["features"], unit, sides], axis=1).astype(np.float32)


def vinvl_sizes(names: list[str]) -> str:
    return "".join(f"{name}\t{json.dumps([{'height': HEIGHT, 'width': WIDTH}])}\n" for name in names)


def npy_dict(row: Mapping[str, Any], name: str, num_classes: int = 1601) -> dict[str, Any]:
    """Return a dict like ``script/extract_features.py``, where ``num_boxes`` is not the number of rows."""
    count = len(row["boxes"])
    more = {"num_boxes": count - 1, "objects": np.arange(count - 1), "image_id": name}
    probabilities = np.full((count, num_classes), 1 / num_classes, np.float32)
    sizes = {"image_width": WIDTH, "image_height": HEIGHT}
    return {"bbox": row["boxes"], "features": row["features"], "cls_prob": probabilities, **more, **sizes}
