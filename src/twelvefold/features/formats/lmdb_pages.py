"""Find the remaining records of a truncated LMDB by reading its pages one by one.

The library maps the whole file and would crash the process at the first missing page. A truncated file may have lost
the root of its tree, which is written last, but its leaf pages are stored among the values that they refer to: all
remaining pages are read, and the leaf pages among them give keys and positions of records. Layout: LMDB 0.9, 64 bits.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from twelvefold.schema import TwelvefoldError

MAGIC = 0xBEEFC0DE
VERSION = 1
# page number, padding, flags, lower, upper (of an overflow page: number of pages)
PAGE_HEADER = struct.Struct("<Q H H H H")
# magic, version, ..., page size (in the free list's tree), ..., main tree: ..., entries, root; last page, transaction
META = struct.Struct("<I I Q Q I 44s I H H Q Q Q Q Q Q Q")
NODE = struct.Struct("<H H H H")  # low and high half of the value's size, flags, size of the key
BRANCH, LEAF, OVERFLOW = 1, 2, 4
BIG_VALUE = 1
NO_PAGE = (1 << 64) - 1
PAGE_SIZES = frozenset(1 << power for power in range(9, 17))


class LmdbMeta(NamedTuple):
    """The page size in bytes, and the state after a transaction."""

    page_size: int
    num_entries: int
    root: int
    last_page: int
    transaction: int


class ValueSpan(NamedTuple):
    """A record's key and the bytes of its value, ``start`` to ``end``, which may be beyond the end of the file."""

    key: bytes
    start: int
    end: int


class LmdbPages:
    """The pages of a ``data.mdb``, which may be truncated. Use it in a ``with`` block."""

    def __init__(self, file: Path) -> None:
        """Read the header of the file.

        Raises:
            TwelvefoldError: too little of the file is left, or another version of LMDB wrote it.
        """
        self.size = file.stat().st_size
        with file.open("rb") as stream:
            header = stream.read(PAGE_HEADER.size + META.size)[PAGE_HEADER.size :]
            if len(header) < META.size or META.unpack(header)[0] != MAGIC:
                raise TwelvefoldError(f"{file} is not an LMDB, or almost nothing is left of it")
            _, version, _, _, page_size, *_ = META.unpack(header)
            if version != VERSION:
                raise TwelvefoldError(f"{file} is an LMDB of version {version}, but version {VERSION} is supported")
            if page_size not in PAGE_SIZES:
                raise TwelvefoldError(f"{file} is damaged: its header states a page size of {page_size:,} bytes")
            self.data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        starts = [start for start in (PAGE_HEADER.size, page_size + PAGE_HEADER.size) if start + META.size <= self.size]
        metas = [LmdbMeta(page_size, *META.unpack_from(self.data, start)[-4:]) for start in starts]
        self.meta = max(metas, key=lambda meta: meta.transaction)

    def __enter__(self) -> LmdbPages:
        return self

    def __exit__(self, *_: object) -> None:
        self.data.close()

    def is_complete(self) -> bool:
        """Return whether the file has all pages and values of the tree (unused pages at its end may be missing)."""
        if (self.meta.last_page + 1) * self.meta.page_size <= self.size or self.meta.root == NO_PAGE:
            return True
        pages, visited = [self.meta.root], set[int]()
        while pages:
            number = pages.pop()
            if number in visited or (number + 1) * self.meta.page_size > self.size:
                return False
            visited.add(number)
            flags = self._page_header(number)[2]
            if flags & BRANCH:
                pages += [low | high << 16 | more << 32 for low, high, more, _, _ in self._nodes(number)]
            elif any(span.end > self.size for span in self._read_leaf(number)):
                return False
        return True

    def find_values(self) -> list[ValueSpan]:
        """Return the records that the leaf pages in the file refer to, sorted by key."""
        spans: dict[bytes, ValueSpan] = {}
        number, last = 2, min(self.size // self.meta.page_size - 1, self.meta.last_page)
        while number <= last:
            stored_number, _, flags, lower, upper = self._page_header(number)
            if stored_number == number and flags & OVERFLOW:
                number += max(lower | upper << 16, 1)  # the pages of a long value
                continue
            if stored_number == number and flags & LEAF:
                spans |= {span.key: span for span in self._read_leaf(number)}
            number += 1
        return [spans[key] for key in sorted(spans)]

    def _page_header(self, number: int) -> tuple[int, ...]:
        return PAGE_HEADER.unpack_from(self.data, number * self.meta.page_size)

    def _nodes(self, number: int) -> Iterator[tuple[int, int, int, int, int]]:
        """Yield (low, high, flags, size of the key, byte in the file) of every node of a page."""
        start, page_size = number * self.meta.page_size, self.meta.page_size
        lower = self._page_header(number)[3]
        if not PAGE_HEADER.size <= lower <= page_size:
            return
        for (offset,) in struct.iter_unpack("<H", self.data[start + PAGE_HEADER.size : start + lower - lower % 2]):
            if PAGE_HEADER.size <= offset <= page_size - NODE.size:
                low, high, flags, key_size = NODE.unpack_from(self.data, start + offset)
                yield low, high, flags, key_size, start + offset

    def _read_leaf(self, number: int) -> Iterator[ValueSpan]:
        for low, high, flags, key_size, node in self._nodes(number):
            value = node + NODE.size + key_size
            if value + 8 > self.size or not key_size:
                continue
            key, size = self.data[node + NODE.size : value], low | high << 16
            if flags & BIG_VALUE:
                value = struct.unpack_from("<Q", self.data, value)[0] * self.meta.page_size + PAGE_HEADER.size
            yield ValueSpan(key, value, value + size)
