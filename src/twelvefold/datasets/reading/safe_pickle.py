"""Unpickling the publishers' old files without running anything that they might hold.

The refer toolkit's lists and the original project's answer lists are Python 2 pickles of lists, dicts, strings and
numbers. Such data needs no global name at all, but for two: bytes that Python 3 wrote at protocol 2, and no bytes.

Feature files hold NumPy arrays besides. Even those are not made by NumPy's own unpickling, which believes whatever a
file says of an array's layout: a handful of full names stand for small classes of ours that only note what is asked
for, and an array is made of it afterwards, from plain numbers of a size that was checked.
"""

from __future__ import annotations

import io
import math
import pickle  # only behind find_class below
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from twelvefold.schema import TwelvefoldError


class _RefusedError(pickle.UnpicklingError):
    """A pickle that asks for what it may not have, where others are broken."""


def _latin1(text: str, encoding: str) -> bytes:
    """What ``_codecs.encode`` does in a pickle of bytes at protocol 2, and nothing else that it can do."""
    if encoding != "latin1":
        raise _RefusedError(f"expected bytes as 'latin1', got {encoding!r}")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """What ``bytes()`` does in a pickle of no bytes at protocol 2."""
    return b""


ALLOWED: Mapping[tuple[str, str], Any] = {("_codecs", "encode"): _latin1, ("__builtin__", "bytes"): _no_bytes}
"""Every global name that a pickle of plain data may ask for, by full name; never a prefix such as ``numpy.``."""

DTYPE = re.compile(r"[<>|=]?(?:b1|[iu][1248]|f[248]|S\d{1,4}|U\d{1,4}|O8?)")
"""Types of numbers, of short strings, and ``O``: an array of other plain data, as ``numpy.save`` wraps a dict."""


class _DType:
    """What a pickle says of a ``numpy.dtype``: a short code, and a byte order in the state that follows."""

    def __init__(self, code: Any = "", *_: Any) -> None:
        self.code = code

    def __setstate__(self, state: Any) -> None:
        order, shaped = state[1], any(part not in (None, ()) for part in state[2:5])
        if shaped or not isinstance(order, str):
            _refuse(f"an array of plain numbers, got a type with parts or a shape: {state!r:.80}")
        self.code = order + self.code.lstrip("<>|=") if isinstance(self.code, str) else self.code

    def plain(self) -> np.dtype[Any]:
        if not isinstance(self.code, str) or not DTYPE.fullmatch(self.code):
            _refuse(f"an array of plain numbers, got the type {self.code!r:.80}")
        return np.dtype(self.code.removesuffix("8") if "O" in self.code else self.code)


class _Array:
    """What a pickle says of an array: shape, type, order and bytes, or the items where the type is ``O``."""

    def __init__(self, *_: Any) -> None:
        self.state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state

    @classmethod
    def from_buffer(cls, data: Any, dtype: Any, shape: Any, order: Any) -> _Array:
        """Protocol 5's ``_frombuffer``."""
        if not isinstance(data, bytes | bytearray):
            _refuse(f"the bytes of an array, got {type(data).__name__}")
        made = cls()
        made.state = (1, shape, dtype, order == "F", bytes(data))
        return made

    def plain(self) -> Any:
        """The array, or the one item that an array without dimensions holds."""
        _, shape, dtype, fortran, data = self.state
        kind = dtype.plain() if isinstance(dtype, _DType) else _refuse(f"the type of an array, got {dtype!r:.80}")
        if not isinstance(shape, tuple) or not all(type(side) is int and side >= 0 for side in shape):
            _refuse(f"the shape of an array, got {shape!r:.80}")
        if kind.hasobject:
            if not isinstance(data, list) or len(data) != math.prod(shape):
                _refuse(f"{math.prod(shape)} items of an array of shape {shape}")
            return _plain(data[0] if shape == () else data)
        data = data.encode("latin1") if isinstance(data, str) else data  # a Python 2 byte string
        if not isinstance(data, bytes) or len(data) != kind.itemsize * math.prod(shape):
            size = len(data) if isinstance(data, bytes) else type(data).__name__
            _refuse(f"{kind.itemsize * math.prod(shape):,} bytes for an array of shape {shape}, got {size}")
        flat: NDArray[Any] = np.frombuffer(data, dtype=kind)
        return flat.reshape(shape, order="F" if fortran else "C")


class _Scalar:
    """What a pickle says of a single NumPy number."""

    def __init__(self, dtype: Any = None, data: Any = b"") -> None:
        self.array = _Array()
        self.array.state = (1, (), dtype, False, data)

    def plain(self) -> Any:
        value = self.array.plain()
        return value.item() if isinstance(value, np.ndarray) else value


def _refuse(wanted: str) -> NoReturn:
    raise _RefusedError(f"expected {wanted}")


ARRAYS: Mapping[tuple[str, str], Any] = {
    **ALLOWED,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _DType,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Array for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _Scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _Array.from_buffer for core in ("core", "_core")},
}
"""As ``ALLOWED``, for pickles that hold arrays: each name stands for a class of ours, none for NumPy's own."""


class _PlainData(pickle.Unpickler):
    allowed = ALLOWED

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self.allowed[module, name]
        except KeyError:
            raise _RefusedError(f"expected plain data, got a pickle that asks for {module}.{name}") from None


class _WithArrays(_PlainData):
    allowed = ARRAYS


_BROKEN = (EOFError, ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError, MemoryError)
"""What a truncated pickle, or none at all, may raise."""


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
    except _BROKEN as error:
        raise TwelvefoldError(f"{path} is truncated or no pickle ({type(error).__name__}: {error})") from None


def load_arrays(data: bytes | memoryview, what: str) -> Any:
    """The plain data and NumPy arrays of a pickle; numbers of NumPy's become Python's.

    Arrays are read-only views. ``what``: names the pickle in an error.

    Raises:
        TwelvefoldError: truncated, no pickle, or it asks for anything else, which is named and not run.
    """
    try:
        return _plain(_WithArrays(io.BytesIO(data), encoding="latin1").load())
    except _RefusedError as error:
        raise TwelvefoldError(f"{what} is not loaded: {error}") from None
    except (pickle.UnpicklingError, RecursionError, *_BROKEN) as error:
        raise TwelvefoldError(f"{what} is truncated or no pickle ({type(error).__name__}: {error})") from None


def _plain(value: Any) -> Any:
    """``value`` with our stand-ins made into what they stand for, all the way down."""
    if isinstance(value, _Array | _Scalar):
        return value.plain()
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_plain(item) for item in value)
    return value
