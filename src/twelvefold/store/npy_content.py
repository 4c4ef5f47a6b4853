"""Read the bytes of a ``.npy`` file without trusting the sizes that its header states."""

from __future__ import annotations

import io
import math
import sys
import tokenize
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twelvefold.parsing.bounds import MAX_SHOWN, short_repr
from twelvefold.parsing.file_kind import describe_other_kind
from twelvefold.schema import TwelvefoldError
from twelvefold.store.safe_pickle import load_arrays

HEADER_ERRORS = (
    ValueError, TypeError, SyntaxError, EOFError, OverflowError, RecursionError, MemoryError, KeyError, IndexError,
    tokenize.TokenError,
)  # fmt: skip
"""What NumPy raises for a header that is damaged: it is read as a Python literal."""


def _has_invalid_characters(texts: NDArray[np.str_]) -> bool:
    codes = texts.view(np.dtype("u4").newbyteorder(texts.dtype.byteorder))
    return bool(((codes > sys.maxunicode) | ((codes >= 0xD800) & (codes <= 0xDFFF))).any())


def load_npy(data: bytes, name: str) -> Any:
    """Return the content of a ``.npy`` file: an array of numbers or short texts, or plain data that ``numpy.save``
    pickled. Arrays are read-only views of ``data``. ``name``: of the file, for errors.

    Raises:
        TwelvefoldError: it is not such a file, it is truncated, its header is damaged, or its pickle needs more than
            plain data and arrays.
    """
    if description := describe_other_kind(data):
        raise TwelvefoldError(f"{name} {description}")
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read_header(stream)
    except HEADER_ERRORS as error:
        raise TwelvefoldError(f"{name} is not a .npy file, or truncated ({str(error)[:MAX_SHOWN]})") from None
    content = memoryview(data)[stream.tell() :]
    if dtype.hasobject:
        return load_arrays(content, f"the pickle in {name}")
    num_bytes = dtype.itemsize * math.prod(shape)
    if num_bytes < 0 or len(content) < num_bytes:
        raise TwelvefoldError(
            f"{name} is truncated or damaged: for the shape {short_repr(shape)} expected {num_bytes:,} bytes of "
            f"numbers, got {len(content):,}"
        )
    try:
        flat = np.frombuffer(content[:num_bytes], dtype) if num_bytes else np.zeros(0, dtype)
        if dtype.kind == "U" and num_bytes and _has_invalid_characters(flat):
            raise ValueError("texts with characters that do not exist")
        return flat.reshape(shape, order="F" if fortran else "C")
    except (ValueError, TypeError, OverflowError, MemoryError) as error:
        raise TwelvefoldError(f"{name} is damaged: it states the shape {short_repr(shape)} ({error})") from None
