"""What an LMDB that was cut short still holds, by reading its pages one after the other.

The library maps the whole file and would kill the process at the first page that isn't there. A cut file may have lost
the root of its tree, which is written last, but its leaves lie between the values they name: every page of what is left
is looked at, and those that are leaves say which records there are and where. Layout: LMDB 0.9, 64 bits.
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
HEAD = struct.Struct("<Q H H H H")  # page number, padding, flags, lower, upper; or number, ..., pages of an overflow
META = struct.Struct(
    "<I I Q Q 48s I H H Q Q Q Q Q Q Q"
)  # magic ... main tree: ..., entries, root; last page, transaction
NODE = struct.Struct("<H H H H")  # low and high half of the data's size, flags, size of the key
PAGE_SIZE_AT = HEAD.size + 24  # where the free list's tree notes the size of a page
BRANCH, LEAF, OVERFLOW = 1, 2, 4
BIG_DATA = 1
NO_PAGE = (1 << 64) - 1
PAGE_BYTES = frozenset(1 << power for power in range(9, 17))


class Meta(NamedTuple):
    """page_bytes, and what the last finished transaction left: records, root page, last page."""

    page_bytes: int
    entries: int
    root: int
    last_page: int
    transaction: int


class Place(NamedTuple):
    """A record's key, and where its value lies: from ``start`` to ``end``; past the file's end where it was cut off."""

    key: bytes
    start: int
    end: int


class Pages:
    """The pages of a ``data.mdb``, whole or not. Use in a ``with`` block."""

    def __init__(self, file: Path) -> None:
        """Look at the head of the file.

        Raises:
            TwelvefoldError: too little is left to tell anything, or it is of another version of LMDB.
        """
        self.size = file.stat().st_size
        with file.open("rb") as stream:
            head = stream.read(HEAD.size + META.size)
            if len(head) < HEAD.size + META.size or struct.unpack_from("<I", head, HEAD.size)[0] != MAGIC:
                raise TwelvefoldError(f"{file} is no LMDB, or next to nothing is left of it")
            version = struct.unpack_from("<I", head, HEAD.size + 4)[0]
            if version != VERSION:
                raise TwelvefoldError(f"{file} is an LMDB of version {version}; version {VERSION} is read")
            page = struct.unpack_from("<I", head, PAGE_SIZE_AT)[0]
            if page not in PAGE_BYTES:
                raise TwelvefoldError(f"{file} is damaged: it says that a page has {page:,} bytes")
            self.data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        metas = [self._meta(start, page) for start in (0, page) if start + HEAD.size + META.size <= self.size]
        self.meta = max(metas, key=lambda meta: meta.transaction)

    def __enter__(self) -> Pages:
        return self

    def __exit__(self, *_: object) -> None:
        self.data.close()

    def whole(self) -> bool:
        """Whether everything that the tree names lies within the file (pages at its end may never have been used)."""
        if (self.meta.last_page + 1) * self.meta.page_bytes <= self.size or self.meta.root == NO_PAGE:
            return True
        pages, seen = [self.meta.root], set[int]()
        while pages:
            number = pages.pop()
            if number in seen or (number + 1) * self.meta.page_bytes > self.size:
                return False
            seen.add(number)
            flags = self._head(number)[2]
            if flags & BRANCH:
                pages += [low | high << 16 | more << 32 for low, high, more, _, _ in self._nodes(number)]
            elif any(place.end > self.size for place in self._leaf(number)):
                return False
        return True

    def places(self) -> list[Place]:
        """Every record that a leaf in the file names, by key."""
        found: dict[bytes, Place] = {}
        number, last = 2, min(self.size // self.meta.page_bytes - 1, self.meta.last_page)
        while number <= last:
            own, _, flags, lower, upper = self._head(number)
            if own == number and flags & OVERFLOW:
                number += max(lower | upper << 16, 1)  # the pages of one long value
                continue
            if own == number and flags & LEAF:
                found |= {place.key: place for place in self._leaf(number)}
            number += 1
        return [found[key] for key in sorted(found)]

    def _meta(self, start: int, page: int) -> Meta:
        parts = META.unpack_from(self.data, start + HEAD.size)
        return Meta(page, parts[11], parts[12], parts[13], parts[14])

    def _head(self, number: int) -> tuple[int, int, int, int, int]:
        own, pad, flags, lower, upper = HEAD.unpack_from(self.data, number * self.meta.page_bytes)
        return own, pad, flags, lower, upper

    def _nodes(self, number: int) -> Iterator[tuple[int, int, int, int, int]]:
        """(low, high, flags, size of the key, byte in the file) of every node of a page."""
        start, page = number * self.meta.page_bytes, self.meta.page_bytes
        lower = self._head(number)[3]
        if not HEAD.size <= lower <= page:
            return
        for (offset,) in struct.iter_unpack("<H", self.data[start + HEAD.size : start + lower - lower % 2]):
            if HEAD.size <= offset <= page - NODE.size:
                low, high, flags, key = NODE.unpack_from(self.data, start + offset)
                yield low, high, flags, key, start + offset

    def _leaf(self, number: int) -> Iterator[Place]:
        for low, high, flags, length, at in self._nodes(number):
            data = at + NODE.size + length
            if data + 8 > self.size or not length:
                continue
            key, size = self.data[at + NODE.size : data], low | high << 16
            if flags & BIG_DATA:
                data = struct.unpack_from("<Q", self.data, data)[0] * self.meta.page_bytes + HEAD.size
            yield Place(key, data, data + size)
