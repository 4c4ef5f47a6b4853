"""The index of a region store: the number of each image, in one file that is mapped and that processes share.

``store.index`` is computed from the shards, so it may be removed. It has a header (magic, version, number of images,
digest of the store, checksum of the rest), the start of each bucket (uint32) and one entry per image (three uint64: the
two halves of the digest of its key, its number), sorted by digest. A bucket holds the images whose digests begin with
the same bits, on average at most one image. So a look-up reads one bucket, however many images there are.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import xxhash
from numpy.typing import NDArray

from twelvefold.schema import ImageKey, TwelvefoldError
from twelvefold.store import atomic_files
from twelvefold.store.map_file import map_file

INDEX = "store.index"
VERSION = 1
_MAGIC = b"12FOLDIX"
_HEADER = struct.Struct("<8s I 4x Q 16s 16s")  # magic, version, number of images, digest of the store, checksum
_HEADER_BYTES = 64  # reserved for the header
_WORDS = 3  # of an entry
_LOW = (1 << 64) - 1


class RegionIndex:
    """The number of each image of a store, in the order of the store."""

    def __init__(self, content: NDArray[np.uint8], num_images: int) -> None:
        """``content`` (bytes,) uint8: the buckets and the entries, as :func:`index_content` returns them."""
        bits = _bucket_bits(num_images)
        size = _bucket_bytes(bits)
        # Reading one number from a memoryview is three times as fast as from a NumPy array.
        self._starts = content[:size].data.cast("I")
        self._entries = content[size:].data.cast("Q")
        self._shift = 64 - bits

    def find(self, key: ImageKey) -> int | None:
        """Return the number of an image, or None if the store does not have it."""
        digest = xxhash.xxh3_128_intdigest(str(key).encode())
        high, low, entries = digest >> 64, digest & _LOW, self._entries
        bucket = high >> self._shift
        for entry in range(self._starts[bucket] * _WORDS, self._starts[bucket + 1] * _WORDS, _WORDS):
            if entries[entry] == high and entries[entry + 1] == low:
                return entries[entry + 2]
        return None


class RepeatedKeyError(Exception):
    """A key occurs twice. ``first``, ``second``: the numbers of its images."""

    def __init__(self, first: int, second: int) -> None:
        self.first, self.second = first, second
        super().__init__(first, second)


def index_content(keys: Iterable[Sequence[bytes]]) -> NDArray[np.uint8]:
    """Return the bytes of an index without its header. ``keys``: those of the images, shard by shard.

    Raises:
        RepeatedKeyError: a key occurs twice.
    """
    digests = [np.frombuffer(b"".join(map(xxhash.xxh3_128_digest, shard)), dtype=">u8") for shard in keys]
    halves = np.concatenate([*digests, np.empty(0, dtype=">u8")]).astype(np.uint64).reshape(-1, 2)
    numbers = np.lexsort((halves[:, 1], halves[:, 0]))
    entries = np.column_stack([halves[numbers], numbers.astype(np.uint64)])
    repeated = np.flatnonzero((entries[1:, :2] == entries[:-1, :2]).all(axis=1))
    if len(repeated):
        raise RepeatedKeyError(*sorted(numbers[repeated[0] : repeated[0] + 2].tolist()))
    bits = _bucket_bits(len(entries))
    buckets = entries[:, 0] >> np.uint64(64 - bits) if bits else np.zeros(len(entries), dtype=np.uint64)
    starts = np.searchsorted(buckets, np.arange((1 << bits) + 1, dtype=np.uint64)).astype(np.uint32)
    padded = np.zeros(_bucket_bytes(bits), dtype=np.uint8)
    padded[: starts.nbytes] = starts.view(np.uint8)
    return np.concatenate([padded, entries.reshape(-1).view(np.uint8)])


def write_index(folder: Path, content: NDArray[np.uint8], num_images: int, digest: str) -> None:
    """Write the index of a store, atomically. ``digest``: of the store.

    Raises:
        TwelvefoldError: the file can't be written.
    """
    checksum = xxhash.xxh3_128_digest(content.data)
    header = _HEADER.pack(_MAGIC, VERSION, num_images, bytes.fromhex(digest), checksum)
    with atomic_files.atomic_file(folder / INDEX) as file:
        file.write(header.ljust(_HEADER_BYTES, b"\0"))
        file.write(content.data)


def read_index(folder: Path, num_images: int, digest: str) -> RegionIndex | None:
    """Map the index of a store; return None if there is none, or that of another store or version.

    Raises:
        TwelvefoldError: the file is damaged.
    """
    path = folder / INDEX
    try:
        raw = map_file(path)
    except TwelvefoldError as error:
        if isinstance(error.__cause__, FileNotFoundError):  # another process may have written it since
            return None
        raise
    header = raw[: _HEADER.size].tobytes()
    if len(header) < _HEADER.size or not header.startswith(_MAGIC):
        raise _damage_error(path, "it does not begin as an index does")
    _, version, count, store, checksum = _HEADER.unpack(header)
    if (version, count, store.hex()) != (VERSION, num_images, digest):
        return None
    expected = _HEADER_BYTES + _bucket_bytes(_bucket_bits(num_images)) + num_images * _WORDS * 8
    if len(raw) != expected:
        raise _damage_error(path, f"it has {len(raw):,} bytes, expected {expected:,}")
    if xxhash.xxh3_128_digest(raw[_HEADER_BYTES:].data) != checksum:
        raise _damage_error(path, "its checksum differs")
    return RegionIndex(raw[_HEADER_BYTES:], num_images)


def _damage_error(path: Path, problem: str) -> TwelvefoldError:
    return TwelvefoldError(
        f"{path} is damaged: {problem}. Remove it: it is computed from the shards again when the store is opened next. "
        "Other files on this disk may be damaged too"
    )


def _bucket_bits(num_images: int) -> int:
    """Return the number of bits that select a bucket: there are as many buckets as images, or up to twice as many."""
    return max(num_images - 1, 0).bit_length()


def _bucket_bytes(bits: int) -> int:
    """Return the length of the starts of all buckets and of their end, padded to 8 bytes."""
    return -(-((1 << bits) + 1) * 4 // 8) * 8
