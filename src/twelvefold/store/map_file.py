"""Map a file into memory without keeping it open."""

from __future__ import annotations

import ctypes
import mmap
import os
import weakref
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twelvefold.schema import TwelvefoldError

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_MAP_FAILED = ctypes.c_void_p(-1).value


def map_file(path: Path) -> NDArray[np.uint8]:
    """Return the bytes of a file as a read-only array (bytes,) uint8, which pages of the file are read into on use.

    Python's ``mmap``, and so ``numpy.memmap``, keeps a file descriptor for each mapping: a store of a million images in
    blocks of 128 would have 8,000, where a process may often have 1,024.

    Raises:
        TwelvefoldError: the file can't be read.
    """
    try:
        file = os.open(path, os.O_RDONLY)
        try:
            size = os.fstat(file).st_size
            address = _libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, file, 0) if size else None
            error = ctypes.get_errno()
        finally:
            os.close(file)
    except OSError as problem:
        raise TwelvefoldError(f"cannot read {path}: {problem.strerror}") from problem
    if address is None:
        return np.empty(0, dtype=np.uint8)
    if address == _MAP_FAILED:
        raise TwelvefoldError(f"cannot map {path} ({size:,} bytes) into memory: {os.strerror(error)}")
    mapping = (ctypes.c_uint8 * size).from_address(address)
    weakref.finalize(mapping, _libc.munmap, address, size).atexit = False
    array: NDArray[np.uint8] = np.ctypeslib.as_array(mapping)
    array.flags.writeable = False
    return array
