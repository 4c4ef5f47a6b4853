"""Limits for values that come from files: their depth, their size, and how much of them an error shows.

A file of a few hundred bytes can describe a value of 2 ** 40 parts, by using one list again and again. Such a value
costs nothing until it is walked or printed, so it is measured first, without expanding what it shares.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Collection, Mapping
from typing import Any

MAX_DEPTH = 100
"""Lists and mappings inside each other. Official files have at most eight levels."""
MAX_SHOWN = 160
"""Characters of a value that an error shows."""


class TooLargeError(ValueError):
    """A value that is nested too deeply, contains itself, or has too many parts. The message says which."""


class _BoundedRepr(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 4
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = self.maxfrozenset = self.maxdeque = 8
        self.maxstring = self.maxother = self.maxlong = MAX_SHOWN

    def repr_int(self, x: int, level: int) -> str:
        return f"an integer of {x.bit_length():,} bits" if x.bit_length() > 1 << 12 else super().repr_int(x, level)

    def repr_bytes(self, x: bytes, level: int) -> str:
        return repr(x) if len(x) <= self.maxstring else f"{x[: self.maxstring]!r}..."

    def repr_instance(self, x: object, level: int) -> str:
        return f"<{type(x).__name__}>" if isinstance(x, Mapping) else super().repr_instance(x, level)


_REPR = _BoundedRepr()


def short_repr(value: object, limit: int = MAX_SHOWN) -> str:
    """Return at most ``limit`` characters of ``repr(value)``, in bounded time for any value of plain data."""
    text = _REPR.repr(value)
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def children(value: Any) -> Collection[Any]:
    """Return the parts of a container of plain data; nothing for other values."""
    if isinstance(value, dict):
        return (*value, *value.values())
    return value if isinstance(value, list | tuple | set | frozenset) else ()


def check_bounds(
    value: object,
    max_nodes: int,
    *,
    max_depth: int = MAX_DEPTH,
    children: Callable[[Any], Collection[Any]] = children,
) -> None:
    """Check the depth of a value, and its number of parts if everything that it shares were written out.

    Each container is visited once. ``children``: returns the parts of a value, for values that hold other objects than
    lists, tuples, sets and dicts.

    Raises:
        TooLargeError: the value is too deep, too large, or contains itself.
    """
    sizes: dict[int, tuple[int, int]] = {}  # of complete containers by id: number of parts, depth
    ancestors: set[int] = set()
    stack: list[tuple[object, bool]] = [(value, False)]
    while stack:
        item, is_complete = stack.pop()
        if not is_complete and id(item) in sizes:
            continue
        if not (parts := children(item)):
            continue
        if not is_complete:
            if id(item) in ancestors:
                raise TooLargeError("a value that contains itself")
            if len(ancestors) >= max_depth:
                raise TooLargeError(f"lists or mappings nested more than {max_depth} levels deep")
            ancestors.add(id(item))
            stack.append((item, True))
            stack.extend((part, False) for part in parts if type(part) not in _LEAVES)
            continue
        ancestors.discard(id(item))
        nodes, depth = 1, 0
        for part in parts:
            part_nodes, part_depth = sizes.get(id(part), (1, 0))
            nodes, depth = nodes + part_nodes, max(depth, part_depth)
        if nodes > max_nodes:
            raise TooLargeError(f"more than {max_nodes:,} values when everything that it repeats is written out")
        if depth >= max_depth:
            raise TooLargeError(f"lists or mappings nested more than {max_depth} levels deep")
        sizes[id(item)] = nodes, depth + 1


_LEAVES = frozenset((str, int, float, bool, bytes, type(None)))
