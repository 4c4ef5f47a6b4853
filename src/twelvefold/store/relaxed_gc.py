"""Run Python's cyclic garbage collector less often.

Reading a dataset creates millions of small objects that live for a while and are never part of a reference cycle. The
collector examines all of them again and again and frees nothing: with default thresholds it takes two thirds of the
time in which Visual Genome's questions become tables.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

THRESHOLDS = (100_000, 50, 100)
"""Arguments of ``gc.set_threshold``: all objects are examined after 500 million new ones, instead of 70,000."""


@contextmanager
def relaxed_gc() -> Iterator[None]:
    """Raise the collector's thresholds in a ``with`` block or a decorated function.

    Reference counting still frees other objects immediately.
    """
    before = gc.get_threshold()
    gc.set_threshold(*THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)
