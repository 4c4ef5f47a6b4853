"""Decode a file that several splits are read from once, while they are read one after the other.

Visual Genome's questions, Karpathy's captions, RefCOCO's references and Visual7W's boxes are one file for all splits;
VQA's and GQA's validation files are a part of train and of val. A reader wraps what it does with the whole of such a
file in :func:`decode_once`; who reads several splits does so inside of :func:`share_decoded_files`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import Any, TypeVar

from twelvefold.datasets.reading.records import BadRecords, RecordReader

T = TypeVar("T")

_decoded: ContextVar[dict[Any, tuple[Any, BadRecords]] | None] = ContextVar("decoded", default=None)
"""What was decoded in the present block, and the records that were rejected meanwhile."""


@contextmanager
def share_decoded_files() -> Iterator[None]:
    """Keep what :func:`decode_once` returns to the end of the ``with`` block."""
    token = _decoded.set({})
    try:
        yield
    finally:
        _decoded.reset(token)


def decode_once(reader: RecordReader, part: str, decode: Callable[[RecordReader], T]) -> T:
    """Return ``decode(reader)``, which is the same for all splits; inside of a block only the first call computes it.

    ``part``: what of the file it is, and all that it depends on besides the file. The result must not be changed.
    Records that are rejected meanwhile are rejected in every call.
    """
    decoded = _decoded.get()
    if decoded is None:
        return decode(reader)
    info = reader.path.stat()
    key = (reader.task, reader.path, info.st_size, info.st_mtime_ns, part, reader.bad.skip)
    if key not in decoded:
        bad = BadRecords(reader.bad.skip)
        decoded[key] = decode(replace(reader, bad=bad)), bad
    value, bad_records = decoded[key]
    reader.bad.extend(bad_records)
    return value  # type: ignore[no-any-return]
