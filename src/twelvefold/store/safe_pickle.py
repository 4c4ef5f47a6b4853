"""Unpickle files of other projects without running any code that they could contain.

:class:`AllowListUnpickler` resolves only the global names that it is given. It is used for the publishers' annotation
and feature files, here, and for weight files (:mod:`twelvefold.model.tensor_files`).

The refer toolkit's lists and the original project's answer lists are Python 2 pickles of lists, dicts, strings and
numbers. Such data needs two global names only: those for bytes written by Python 3 at protocol 2, empty or not.

Feature files also hold NumPy arrays. NumPy's own unpickling trusts the array layout that a file states, so it is not
used: a few full names map to small classes defined here that only record the pickled state. The arrays are built
afterwards from plain numbers, after their sizes are checked.
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


class NotAllowedError(pickle.UnpicklingError):
    """A pickle that needs a global name that is not allowed; other errors mean that it is damaged."""


def encode_latin1(text: str, encoding: str) -> bytes:
    """Stand in for ``_codecs.encode``, limited to what a pickle of bytes at protocol 2 needs."""
    if encoding != "latin1":
        raise NotAllowedError(f"expected bytes as 'latin1', got {encoding!r}")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """Stand in for ``bytes()``, which a pickle of empty bytes at protocol 2 calls."""
    return b""


ALLOWED: Mapping[tuple[str, str], Any] = {("_codecs", "encode"): encode_latin1, ("__builtin__", "bytes"): _no_bytes}
"""Every global name that a pickle of plain data may use, by full name; never by a prefix such as ``numpy.``."""

DTYPE = re.compile(r"[<>|=]?(?:b1|[iu][1248]|f[248]|S\d{1,4}|U\d{1,4}|O8?)")
"""Numeric types, short strings, and ``O``: an array of other plain data, as ``numpy.save`` wraps a dict."""


class _DType:
    """The pickled state of a ``numpy.dtype``: a short code, and a byte order in the state that follows."""

    def __init__(self, code: Any = "", *_: Any) -> None:
        self.code = code

    def __setstate__(self, state: Any) -> None:
        order, is_structured = state[1], any(part not in (None, ()) for part in state[2:5])
        if is_structured or not isinstance(order, str):
            _reject(f"an array of plain numbers, got a type with parts or a shape: {state!r:.80}")
        self.code = order + self.code.lstrip("<>|=") if isinstance(self.code, str) else self.code

    def plain(self) -> np.dtype[Any]:
        if not isinstance(self.code, str) or not DTYPE.fullmatch(self.code):
            _reject(f"an array of plain numbers, got the type {self.code!r:.80}")
        return np.dtype(self.code.removesuffix("8") if "O" in self.code else self.code)


class _Array:
    """The pickled state of an array: shape, type, order and bytes, or the items if the type is ``O``."""

    def __init__(self, *_: Any) -> None:
        self.state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state

    @classmethod
    def from_buffer(cls, data: Any, dtype: Any, shape: Any, order: Any) -> _Array:
        """Stand in for ``_frombuffer`` of protocol 5."""
        if not isinstance(data, bytes | bytearray):
            _reject(f"the bytes of an array, got {type(data).__name__}")
        array = cls()
        array.state = (1, shape, dtype, order == "F", bytes(data))
        return array

    def plain(self) -> Any:
        """Return the array, or the item of an array without dimensions."""
        _, shape, dtype, fortran, data = self.state
        numpy_type = dtype.plain() if isinstance(dtype, _DType) else _reject(f"the type of an array, got {dtype!r:.80}")
        if not isinstance(shape, tuple) or not all(type(side) is int and side >= 0 for side in shape):
            _reject(f"the shape of an array, got {shape!r:.80}")
        if numpy_type.hasobject:
            if not isinstance(data, list) or len(data) != math.prod(shape):
                _reject(f"{math.prod(shape)} items of an array of shape {shape}")
            return _plain(data[0] if shape == () else data)
        data = data.encode("latin1") if isinstance(data, str) else data  # a Python 2 byte string
        if not isinstance(data, bytes) or len(data) != numpy_type.itemsize * math.prod(shape):
            size = len(data) if isinstance(data, bytes) else type(data).__name__
            _reject(f"{numpy_type.itemsize * math.prod(shape):,} bytes for an array of shape {shape}, got {size}")
        flat: NDArray[Any] = np.frombuffer(data, dtype=numpy_type)
        return flat.reshape(shape, order="F" if fortran else "C")


class _Scalar:
    """The pickled state of a NumPy scalar."""

    def __init__(self, dtype: Any = None, data: Any = b"") -> None:
        self.array = _Array()
        self.array.state = (1, (), dtype, False, data)

    def plain(self) -> Any:
        value = self.array.plain()
        return value.item() if isinstance(value, np.ndarray) else value


def _reject(expected: str) -> NoReturn:
    raise NotAllowedError(f"expected {expected}")


ARRAYS: Mapping[tuple[str, str], Any] = {
    **ALLOWED,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _DType,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Array for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _Scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _Array.from_buffer for core in ("core", "_core")},
}
"""As ``ALLOWED``, for pickles with arrays: each name maps to a class defined here, none to NumPy's own."""


class AllowListUnpickler(pickle.Unpickler):
    """Unpickles data that needs no other global names than those in ``allowed``."""

    allowed = ALLOWED

    def find_class(self, module: str, name: str) -> Any:
        return self.allowed[module, name] if (module, name) in self.allowed else self.replace(module, name)

    def replace(self, module: str, name: str) -> Any:
        """Return what to use for a name that is not allowed.

        Raises:
            NotAllowedError: always; a subclass may return a harmless object instead.
        """
        raise NotAllowedError(f"expected plain data, got a pickle that needs {module}.{name}")


class _ArrayUnpickler(AllowListUnpickler):
    allowed = ARRAYS


_BROKEN = (EOFError, ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError, MemoryError)
"""Exceptions that unpickling a truncated file, or a file that is not a pickle, may raise."""


def load_plain(path: Path) -> Any:
    """Read the lists, dicts, strings and numbers of a pickle; Python 2 byte strings as UTF-8, or else Latin-1.

    Raises:
        TwelvefoldError: the file is truncated, not a pickle, or needs anything but plain data.
    """
    data = path.read_bytes()
    try:
        try:
            return AllowListUnpickler(io.BytesIO(data), encoding="utf-8").load()
        except UnicodeDecodeError:  # a byte string of a Western code page; ASCII is decoded the same
            return AllowListUnpickler(io.BytesIO(data), encoding="latin1").load()
    except pickle.UnpicklingError as error:
        raise TwelvefoldError(f"{path} was not loaded: {error}") from None
    except _BROKEN as error:
        raise TwelvefoldError(f"{path} is truncated or not a pickle ({type(error).__name__}: {error})") from None


def load_arrays(data: bytes | memoryview, name: str) -> Any:
    """Read the plain data and NumPy arrays of a pickle; NumPy scalars become Python numbers.

    Arrays are read-only views. ``name``: of the pickle, for errors.

    Raises:
        TwelvefoldError: the data is truncated, not a pickle, or needs anything else, which is named and not run.
    """
    try:
        return _plain(_ArrayUnpickler(io.BytesIO(data), encoding="latin1").load())
    except NotAllowedError as error:
        raise TwelvefoldError(f"{name} was not loaded: {error}") from None
    except (pickle.UnpicklingError, RecursionError, *_BROKEN) as error:
        raise TwelvefoldError(f"{name} is truncated or not a pickle ({type(error).__name__}: {error})") from None


def _plain(value: Any) -> Any:
    """Return ``value`` with all recorded states replaced by arrays and numbers, recursively."""
    if isinstance(value, _Array | _Scalar):
        return value.plain()
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_plain(item) for item in value)
    return value
