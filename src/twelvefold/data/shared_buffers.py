"""Memory in which worker processes write features for the trainer, used again and again.

New memory is slow: to write to a page for the first time costs ten times as much as to write to it again, and shared
memory has no huge pages by default.
"""

from __future__ import annotations

import ctypes
import mmap
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twelvefold.data.region_inputs import features_in

BUFFER_BYTES = 1 << 30
"""Address space of a buffer, more than a step of the paper's largest task needs: 512 images of 101 rows of 2,048
float32 numbers. Only what is written takes memory. What does not fit is sent in the common way, through a pipe."""


class SharedBuffers:
    """Buffers that this process and those that are forked later share.

    The trainer reserves a buffer for a step, a worker writes in it, the trainer opens it; when the last array in it is
    no longer referenced it is free again.
    """

    def __init__(self, count: int) -> None:
        self._memory = [mmap.mmap(-1, BUFFER_BYTES) for _ in range(count)]
        self._free = list(range(count))
        _BUFFERS[id(self)] = self

    def __reduce__(self) -> Any:
        """Pickle as a name: processes that share the buffers know them by it."""
        return _find_buffers, (id(self),)

    def reserve(self) -> int | None:
        """Return the number of a free buffer, the one that was used last; None if there is none."""
        try:
            return self._free.pop()
        except IndexError:
            return None

    @contextmanager
    def in_use(self, buffer: int | None) -> Iterator[None]:
        """Let :func:`twelvefold.data.region_inputs.empty_features` allocate in a buffer, within the ``with`` block."""
        with features_in(None if buffer is None else np.frombuffer(self._memory[buffer], dtype=np.uint8)):
            yield

    def offset(self, buffer: int, array: NDArray[Any]) -> int | None:
        """Return where an array begins in a buffer; None if it is elsewhere."""
        start = np.frombuffer(self._memory[buffer], dtype=np.uint8).ctypes.data
        offset = array.ctypes.data - start
        return offset if 0 <= offset < BUFFER_BYTES and array.flags.c_contiguous else None

    def open(self, buffer: int) -> NDArray[np.uint8]:
        """Return the bytes of a reserved buffer, which is free again when no view of them is left."""
        memory = (ctypes.c_uint8 * BUFFER_BYTES).from_buffer(self._memory[buffer])
        weakref.finalize(memory, self._free.append, buffer).atexit = False
        array: NDArray[np.uint8] = np.ctypeslib.as_array(memory)
        return array


_BUFFERS: weakref.WeakValueDictionary[int, SharedBuffers] = weakref.WeakValueDictionary()


def _find_buffers(number: int) -> SharedBuffers:
    return _BUFFERS[number]
