"""Read files of text: any Unicode encoding that can only mean one thing, web pages and pointers named, sizes bounded.

A byte order mark at the start is no part of the text. Without one, text is UTF-8; JSON may also be UTF-16, whose second
or first byte is then zero.
"""

from __future__ import annotations

import codecs
import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from twelvefold.parsing.file_kind import describe_other_kind
from twelvefold.schema import TwelvefoldError

MAX_FILE_BYTES = 4 << 30
"""Largest file that is read whole; the largest official one has about a gigabyte."""
MAX_CONFIG_BYTES = 16 << 20
"""Largest file of settings that a person writes (TOML)."""
MAX_TEXT_LENGTH = 10_000
"""Characters of a question or caption: 20 times what the longest task reads (256 word pieces)."""
MAX_LINE_BYTES = 64 << 20
"""Longest line, and longest record, that is decoded; official ones have a few kilobytes."""

BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins like UTF-16's
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_bytes(path: Path, *, max_bytes: int = MAX_FILE_BYTES, kind: str = "") -> bytes:
    """Return the bytes of a file. ``kind``: what errors call it (``the recipe``).

    Raises:
        TwelvefoldError: the file cannot be read, is a web page or a pointer, or has more than ``max_bytes``.
    """
    path = Path(path)
    name = f"{kind} {path}".lstrip()
    try:
        if (size := path.stat().st_size) > max_bytes:
            raise TwelvefoldError(f"{name} has {size:,} bytes; expected at most {max_bytes:,} in such a file")
        data = path.read_bytes()
    except OSError as error:
        raise TwelvefoldError(f"cannot read {name}: {error.strerror or error}") from error
    except ValueError as error:  # a zero byte in the name
        raise TwelvefoldError(f"cannot read {str(path)!r}: {error}") from error
    if description := describe_other_kind(data):
        raise TwelvefoldError(f"{path} {description}")
    return data


def to_utf8(data: bytes) -> bytes:
    """Return text as UTF-8 without a byte order mark.

    Raises:
        UnicodeError: the data ends within a character of UTF-16 or UTF-32. UTF-8 is not checked.
    """
    for bom, encoding in BOMS:
        if data.startswith(bom):
            return data[len(bom) :] if encoding == "utf-8" else data.decode(encoding).encode()
    if len(data) > 1 and (data[0] == 0) != (data[1] == 0):
        return data.decode("utf-16-le" if data[1] == 0 else "utf-16-be").encode()
    return data


def read_text(path: Path, *, max_bytes: int = MAX_FILE_BYTES, kind: str = "") -> str:
    """Return the text of a file. ``kind``: what errors call it.

    Raises:
        TwelvefoldError: as :func:`read_bytes`, or the file is not text in UTF-8, or in UTF-16 with a byte order mark.
    """
    data = read_bytes(path, max_bytes=max_bytes, kind=kind)
    try:
        return to_utf8(data).decode()
    except UnicodeError as error:
        line = data[: error.start].count(b"\n") + 1 if isinstance(error, UnicodeDecodeError) else 1
        raise TwelvefoldError(f"{path}, line {line}, is not text in UTF-8 ({error}); save it as UTF-8") from error


def iter_lines(stream: IO[bytes] | gzip.GzipFile, *, max_bytes: int = MAX_LINE_BYTES) -> Iterator[bytes]:
    """Yield the lines of a stream with their line breaks, without a byte order mark.

    A longer line is cut after ``max_bytes + 1`` bytes, which shows that it is too long; the rest of it is skipped
    without being kept in memory. Lines in UTF-16 or UTF-32 are converted, which reads the whole stream.

    Raises:
        UnicodeError: as :func:`to_utf8`.
    """
    first = stream.readline(max_bytes + 1)
    if first.startswith(tuple(bom for bom, encoding in BOMS if encoding != "utf-8")) or b"\0" in first[:2]:
        yield from to_utf8(first + stream.read(MAX_FILE_BYTES)).splitlines(keepends=True)
        return
    line = first.removeprefix(codecs.BOM_UTF8)
    while line:
        yield line
        rest = line
        while len(line) > max_bytes and rest and not rest.endswith(b"\n"):
            rest = stream.readline(1 << 20)
        line = stream.readline(max_bytes + 1)
