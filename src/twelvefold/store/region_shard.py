"""A shard of a region store: the regions of consecutive images in one file.

A header (magic, version, lengths, checksum of the rest) and eight flat arrays, each aligned to 64 bytes: features,
boxes, class probabilities, mean features, widths, heights, offsets, keys.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from twelvefold.schema import TwelvefoldError
from twelvefold.store.map_file import map_file

VERSION = 1
_MAGIC = b"12FOLDRG"
_HEADER = struct.Struct("<8s I I Q Q Q Q Q 16s")  # magic, version, the fields of ShardHeader, checksum
HEADER_BYTES = 128  # reserved for the header
_ALIGNMENT = 64
_HALF, _FLOAT, _INT, _LONG, _BYTE = map(np.dtype[Any], (np.float16, np.float32, np.int32, np.int64, np.uint8))

HEADER_KEYS = {
    "bytes_per_number": "number_bytes",
    "num_images": "pictures",
    "num_regions": "regions",
    "num_categories": "kinds",
}
"""Attribute of ``ShardHeader`` -> key in ``store.json``, whose digest depends on the keys."""


class ShardHeader(msgspec.Struct, frozen=True, rename=HEADER_KEYS):
    """A shard's header.

    ``bytes_per_number``: of the features, 2 (float16) or 4 (float32). ``num_categories``: C, 0 if class probabilities
    are not kept. ``checksum``: xxh3_128 of everything after the header, in hexadecimal.
    """

    bytes_per_number: int
    num_images: int
    num_regions: int
    feature_size: int
    num_categories: int
    key_bytes: int
    checksum: str

    def layout(self) -> list[tuple[int, np.dtype[Any], tuple[int, ...]]]:
        """Return (offset in bytes, dtype, shape) of the eight arrays, in file order."""
        number = _HALF if self.bytes_per_number == _HALF.itemsize else _FLOAT
        arrays: list[tuple[np.dtype[Any], tuple[int, ...]]] = [
            (number, (self.num_regions, self.feature_size)),
            (_FLOAT, (self.num_regions, 4)),
            (number, (self.num_regions, self.num_categories)),
            (_FLOAT, (self.num_images, self.feature_size)),
            (_INT, (self.num_images,)),
            (_INT, (self.num_images,)),
            (_LONG, (self.num_images + 1,)),
            (_BYTE, (self.key_bytes,)),
        ]
        layout, offset = [], HEADER_BYTES
        for dtype, shape in arrays:
            layout.append((offset, dtype, shape))
            offset += -(-dtype.itemsize * math.prod(shape) // _ALIGNMENT) * _ALIGNMENT
        return layout

    @property
    def file_bytes(self) -> int:
        """Length of the whole file."""
        offset, dtype, shape = self.layout()[-1]
        return offset + -(-dtype.itemsize * math.prod(shape) // _ALIGNMENT) * _ALIGNMENT

    def to_bytes(self) -> bytes:
        """Return the first bytes of the shard."""
        sizes = (self.bytes_per_number, self.num_images, self.num_regions, self.feature_size, self.num_categories)
        return _HEADER.pack(_MAGIC, VERSION, *sizes, self.key_bytes, bytes.fromhex(self.checksum))

    def to_json(self, file: str) -> dict[str, Any]:
        """Return the shard's entry in ``store.json``."""
        return {"file": file, **msgspec.to_builtins(self)}


def read_shard_header(path: Path) -> ShardHeader:
    """Read a shard's header and check magic, version and file length; fast for a shard of any size.

    Raises:
        TwelvefoldError: the file is not a shard, has another version, or is truncated.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            data = file.read(_HEADER.size)
        size = path.stat().st_size
    except OSError as error:
        raise TwelvefoldError(f"cannot read region shard {path}: {error.strerror}") from error
    if len(data) < _HEADER.size or not data.startswith(_MAGIC):
        raise TwelvefoldError(f"{path} is not a region shard: it does not begin with {_MAGIC!r}; extract it again")
    _, version, number, images, regions, features, categories, keys, checksum = _HEADER.unpack(data)
    if version != VERSION:
        raise TwelvefoldError(f"{path} is a region shard of version {version}, this program reads {VERSION}")
    header = ShardHeader(number, images, regions, features, categories, keys, checksum.hex())
    if size != header.file_bytes:
        raise TwelvefoldError(
            f"{path} has {size:,} bytes, its header states {header.file_bytes:,}: it was truncated or changed; "
            "remove it and extract again"
        )
    return header


def check_shard(path: str, header: ShardHeader) -> None:
    """Check that a shard has this header, and the length that it states, with as few calls as possible: a store of a
    million images may have 8,000 shards.

    Raises:
        TwelvefoldError: it has not.
    """
    try:
        file = os.open(path, os.O_RDONLY)
        try:
            is_listed = os.read(file, _HEADER.size) == header.to_bytes()
            is_listed = is_listed and os.fstat(file).st_size == header.file_bytes
        finally:
            os.close(file)
    except OSError:
        is_listed = False
    if not is_listed:
        read_shard_header(Path(path))  # says what is wrong, if the file is not a complete shard
        raise TwelvefoldError(f"{path} is not the shard that the manifest of the store lists")


def map_arrays(path: Path, header: ShardHeader) -> list[NDArray[Any]]:
    """Map a shard and return its eight arrays."""
    raw = map_file(path)
    if len(raw) != header.file_bytes:
        raise TwelvefoldError(f"{path} was changed while it was in use; extract again")
    arrays = []
    for offset, dtype, shape in header.layout():
        arrays.append(raw[offset : offset + dtype.itemsize * math.prod(shape)].view(dtype).reshape(shape))
    return arrays


def split_names(keys: NDArray[np.uint8]) -> list[bytes]:
    """Return the keys of a shard's images as texts, from their array."""
    return keys.tobytes().split(b"\n") if len(keys) else []


def read_names(path: Path, header: ShardHeader) -> list[bytes]:
    """Read the keys of a shard's images as texts, and nothing else of the file."""
    offset, _, _ = header.layout()[-1]
    return split_names(np.fromfile(path, dtype=np.uint8, count=header.key_bytes, offset=offset))


def aligned(parts: Sequence[NDArray[Any]]) -> list[memoryview]:
    """Return the bytes of an array given in parts, followed by zeros up to the alignment."""
    flat = [part.reshape(-1).view(np.uint8).data for part in parts]
    return [*flat, memoryview(b"\0" * (-sum(map(len, flat)) % _ALIGNMENT))]
