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
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from twelvefold.parsing.bounds import MAX_SHOWN, TooLargeError, check_bounds, children, short_repr
from twelvefold.parsing.file_kind import describe_other_kind
from twelvefold.parsing.text import read_bytes
from twelvefold.schema import TwelvefoldError
from twelvefold.store.pickle_opcodes import PickleBoundsError, check_opcodes

MAX_PICKLE_BYTES = 1 << 30
"""Largest file that is unpickled; the largest of the original project has about 200 MB."""


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


def _new_dict(items: Any = (), *_: Any) -> dict[Any, Any]:
    """Stand in for ``OrderedDict``, whose items may be its argument, and ``defaultdict``, whose argument is a type."""
    if not isinstance(items, list):
        return {}
    return {_check_scalar(key): value for key, value in items}


def _new_set(items: Any = ()) -> set[Any]:
    if not isinstance(items, list):
        _reject(f"the items of a set, got {type(items).__name__}")
    return {_check_scalar(item) for item in items}


def _check_scalar(key: Any) -> Any:
    """Return a key that is cheap to hash; tuples are hashed item by item."""
    return key if isinstance(key, str | bytes | int | float) else _reject(f"a name or number, got {type(key).__name__}")


def _new_list(*items: Any) -> list[Any]:
    """Stand in for ``list``, which a pickle of a ``defaultdict(list)`` names without calling it."""
    return [] if not items else _reject("a list, got a call of list")


ALLOWED: Mapping[tuple[str, str], Any] = {
    ("_codecs", "encode"): encode_latin1,
    ("__builtin__", "bytes"): _no_bytes,
    ("collections", "OrderedDict"): _new_dict,
    ("collections", "defaultdict"): _new_dict,
    **{(module, "set"): _new_set for module in ("builtins", "__builtin__")},
    **{(module, "list"): _new_list for module in ("builtins", "__builtin__")},
}
"""Every global name that a pickle of plain data may use, by full name; never by a prefix such as ``numpy.``."""

DTYPE = re.compile(r"[<>|=]?(?:b1|[iu][1248]|f[248]|S\d{1,4}|U\d{1,4}|O8?)")
"""Numeric types, short strings, and ``O``: an array of other plain data, as ``numpy.save`` wraps a dict."""


MAX_DIMENSIONS = 32
"""Dimensions of an array; NumPy allows 64."""


class _DType:
    """The pickled state of a ``numpy.dtype``: a short code, and a byte order in the state that follows."""

    def __init__(self, code: Any = "", *_: Any) -> None:
        self.code = code

    def __setstate__(self, state: Any) -> None:
        order, is_structured = state[1], any(part not in (None, ()) for part in state[2:5])
        if is_structured or not isinstance(order, str):
            _reject(f"an array of plain numbers, got a type with parts or a shape: {short_repr(state, 80)}")
        self.code = order + self.code.lstrip("<>|=") if isinstance(self.code, str) else self.code

    def plain(self) -> np.dtype[Any]:
        if not isinstance(self.code, str) or not DTYPE.fullmatch(self.code):
            _reject(f"an array of plain numbers, got the type {short_repr(self.code, 80)}")
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
        numpy_type = (
            dtype.plain()
            if isinstance(dtype, _DType)
            else _reject(f"the type of an array, got {short_repr(dtype, 80)}")
        )
        if (
            not isinstance(shape, tuple)
            or len(shape) > MAX_DIMENSIONS
            or not all(type(side) is int and side >= 0 for side in shape)
        ):
            _reject(f"the shape of an array, got {short_repr(shape, 80)}")
        if numpy_type.hasobject:
            if not isinstance(data, list) or len(data) != math.prod(shape):
                _reject(f"the items of an array of shape {short_repr(shape, 80)}")
            return _plain(data[0] if shape == () else data)
        data = data.encode(errors="surrogateescape") if isinstance(data, str) else data  # a Python 2 byte string
        if not isinstance(data, bytes) or len(data) != numpy_type.itemsize * math.prod(shape):
            size = len(data) if isinstance(data, bytes) else type(data).__name__
            expected = f"{numpy_type.itemsize * math.prod(shape):,} bytes for an array of shape {short_repr(shape, 80)}"
            _reject(f"{expected}, got {size}")
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

    has_names = False
    """Whether the pickle needed any global name."""

    def find_class(self, module: str, name: str) -> Any:
        self.has_names = True
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

    NumPy scalars become Python numbers, and arrays stay arrays: files that were saved again often hold them.

    Raises:
        TwelvefoldError: the file is truncated, not a pickle, needs anything but plain data, or describes a value that
            is far larger or deeper than the file.
    """
    return _load(read_bytes(path, max_bytes=MAX_PICKLE_BYTES), str(path), has_arrays=False)


def load_arrays(data: bytes | memoryview, name: str) -> Any:
    """Read the plain data and NumPy arrays of a pickle; NumPy scalars become Python numbers.

    Arrays are read-only views. ``name``: of the pickle, for errors.

    Raises:
        TwelvefoldError: as :func:`load_plain`; a name that is not allowed is stated and not run.
    """
    return _load(bytes(data), name, has_arrays=True)


def _load(data: bytes, name: str, *, has_arrays: bool) -> Any:
    try:
        check_opcodes(data)
        if not has_arrays:
            unpickler = _ArrayUnpickler(io.BytesIO(data), encoding="utf-8")
            try:
                value = unpickler.load()
            except UnicodeDecodeError:  # a byte string of Python 2 that is no UTF-8
                return _load(data, name, has_arrays=True)
            if not unpickler.has_names:
                check_bounds(value, 1_000_000 + 8 * len(data))
                return value
        value = _ArrayUnpickler(io.BytesIO(data), encoding="utf-8", errors="surrogateescape").load()
        check_bounds(value, 1_000_000 + 8 * len(data), children=_parts)
        return _plain(value)
    except (NotAllowedError, PickleBoundsError) as error:
        raise TwelvefoldError(f"{name} was not loaded: {error}") from None
    except TooLargeError as error:
        raise TwelvefoldError(f"{name} was not loaded: expected plain data, got {error}") from None
    except (pickle.UnpicklingError, RecursionError, *_BROKEN) as error:
        if kind := describe_other_kind(data):
            raise TwelvefoldError(f"{name} {kind}") from None
        reason = f"{type(error).__name__}: {str(error)[:MAX_SHOWN]}"
        raise TwelvefoldError(f"{name} is truncated or not a pickle ({reason})") from None


def _parts(value: Any) -> Collection[Any]:
    """Return what a value holds, for :func:`twelvefold.parsing.bounds.check_bounds`."""
    if isinstance(value, _Array):
        return value.state
    if isinstance(value, _Scalar):
        return value.array.state
    return children(value)


def _to_text(text: str) -> str:
    """Return a Python 2 byte string that is no UTF-8, and was decoded with escapes, as Latin-1."""
    try:
        text.encode()
    except UnicodeEncodeError:
        try:
            return text.encode(errors="surrogateescape").decode("latin1")
        except UnicodeEncodeError:
            return text  # half of a surrogate pair, which the record's reader rejects
    return text


def _plain(value: Any) -> Any:
    """Return ``value`` with all recorded states replaced by arrays and numbers, recursively."""
    if isinstance(value, str):
        return value if value.isascii() else _to_text(value)
    if isinstance(value, _Array | _Scalar):
        return value.plain()
    if isinstance(value, dict):  # OrderedDict and defaultdict too
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return type(value)(_plain(item) for item in value)
    return value
