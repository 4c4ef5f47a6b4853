"""Unpickling the publishers' old files without running anything that they might hold.

The refer toolkit's lists and the original project's answer lists are Python 2 pickles of lists, dicts, strings and
numbers. Such data needs no global name at all, but for one: bytes that Python 3 wrote at protocol 2.
"""

from __future__ import annotations

import io
import pickle  # only behind find_class below
from pathlib import Path
from typing import Any

from twelvefold.schema import TwelvefoldError


def _latin1(text: str, encoding: str) -> bytes:
    """What ``_codecs.encode`` does in a pickle of bytes at protocol 2, and nothing else that it can do."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"expected bytes as 'latin1', got {encoding!r}")
    return text.encode("latin1")


ALLOWED = {("_codecs", "encode"): _latin1}
"""Every global name that a pickle of plain data may ask for, by full name; never a prefix such as ``numpy.``."""


class _PlainData(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"expected plain data, got a pickle that asks for {module}.{name}") from None


def load_plain(path: Path) -> Any:
    """The lists, dicts, strings and numbers of a pickle; Python 2 byte strings as UTF-8, or else Latin-1.

    Raises:
        TwelvefoldError: the file is truncated, no pickle, or asks for anything but plain data.
    """
    data = path.read_bytes()
    try:
        try:
            return _PlainData(io.BytesIO(data), encoding="utf-8").load()
        except UnicodeDecodeError:  # a byte string of a Western code page: never wrong about ASCII
            return _PlainData(io.BytesIO(data), encoding="latin1").load()
    except pickle.UnpicklingError as error:
        raise TwelvefoldError(f"{path} is not loaded: {error}") from None
    except (EOFError, ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError, MemoryError) as error:
        raise TwelvefoldError(f"{path} is truncated or no pickle ({type(error).__name__}: {error})") from None
