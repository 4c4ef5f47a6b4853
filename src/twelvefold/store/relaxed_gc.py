"""How often Python looks for garbage that refers to itself.

Reading makes millions of small objects that stay for a while and refer to nothing that refers back. Python's collector
looks at all of them again and again, and finds nothing: with its own settings that is two thirds of the time that
Visual Genome's questions take to become tables.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

SELDOM = (100_000, 50, 100)
"""Thresholds of ``gc.set_threshold``: all objects are looked at after 500 million new ones, instead of 70,000."""


@contextmanager
def seldom() -> Iterator[None]:
    """Look for it seldom, in a ``with`` block or a decorated function; what nobody refers to still goes at once."""
    before = gc.get_threshold()
    gc.set_threshold(*SELDOM)
    try:
        yield
    finally:
        gc.set_threshold(*before)
