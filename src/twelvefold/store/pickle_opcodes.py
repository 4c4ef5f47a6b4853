"""Check the opcodes of a pickle before it is loaded, because loading itself can already cost everything.

Two things cost more than the file is long: an index of the memo in the billions, for which the unpickler allocates all
smaller ones; and a tuple that holds another one twice, forty levels deep, as the key of a dict: its hash visits 2 ** 40
items. Values that are only large once they are walked are measured after loading
(:func:`twelvefold.parsing.bounds.check_bounds`).
"""

from __future__ import annotations

import mmap
import pickle
from typing import Final

from twelvefold.parsing.bounds import MAX_DEPTH

_IGNORE, _PUSH, _LINE, _SIZED, _TUPLE, _TO_MARK, _TAKE, _MARK, _PUT, _GET, _POP, _POP_MARK, _DUP, _STOP = range(1, 15)


def _table() -> tuple[list[int], list[int]]:
    """Return what each opcode does, and its number: bytes of its argument or of its length, lines, items taken."""
    kinds, numbers = [0] * 256, [0] * 256
    # opcodes, what they do, the number
    groups: tuple[tuple[bytes, int, int], ...] = (
        (b"\x80", _IGNORE, 1), (b"\x95", _IGNORE, 8), (b"\x98", _IGNORE, 0),
        (b"N\x88\x89]})\x8f\x97", _PUSH, 0), (b"K\x82", _PUSH, 1), (b"M\x83", _PUSH, 2), (b"J\x84", _PUSH, 4),
        (b"G", _PUSH, 8),
        (b"ILSVFP", _LINE, 1), (b"c", _LINE, 2),
        (b"U\x8aC\x8c", _SIZED, 1), (b"TXB\x8b", _SIZED, 4), (b"\x8d\x8e\x96", _SIZED, 8),
        (b"\x85", _TUPLE, 1), (b"\x86", _TUPLE, 2), (b"\x87", _TUPLE, 3), (b"t\x91", _TUPLE, 0),
        (b"ldo", _TO_MARK, 1), (b"eu\x90", _TO_MARK, 0), (b"i", _TO_MARK, 2),
        (b"ab", _TAKE, 1), (b"s", _TAKE, 2), (b"Q", _TAKE, 0), (b"\x93R\x81", _TAKE, 1), (b"\x92", _TAKE, 2),
        (b"(", _MARK, 0), (b"pqr\x94", _PUT, 0), (b"ghj", _GET, 0), (b"0", _POP, 0), (b"1", _POP_MARK, 0),
        (b"2", _DUP, 0), (b".", _STOP, 0),
    )  # fmt: skip
    for opcodes, kind, number in groups:
        for opcode in opcodes:
            kinds[opcode], numbers[opcode] = kind, number
    return kinds, numbers


_KINDS, _NUMBERS = _table()
_SETITEM, _ADDITEMS = ord("s"), 0x90
_SIZES: Final = {ord("q"): 1, ord("r"): 4, ord("h"): 1, ord("j"): 4}
_DEPTH_BIT: Final = 48
_COUNT: Final = (1 << _DEPTH_BIT) - 1
"""A tuple on the stack is its number of items, nested ones included, plus its depth times 2 ** 48; all else is 1."""


class PickleBoundsError(pickle.UnpicklingError):
    """A pickle that would cost far more than its length. The message says how, after "expected"."""


class _Scan:
    """The stack and memo of an unpickler, which holds sizes instead of values."""

    def __init__(self, data: bytes | mmap.mmap) -> None:
        self.data = data
        self.stack: list[int] = []
        self.marks: list[int] = []
        self.memo: dict[int, int] = {}
        self.num_hashed = 0

    def add_keys(self, keys: list[int]) -> None:
        """Count the items that are visited to hash the keys of a dict or the items of a set."""
        self.num_hashed += sum(key & _COUNT for key in keys)
        if self.num_hashed > 1000 + 8 * len(self.data):
            raise PickleBoundsError(
                f"expected plain data, got keys of more than {self.num_hashed:,} items in {len(self.data):,} bytes"
            )

    def line_end(self, at: int) -> int:
        """Return the position of the next line break."""
        end = self.data.find(b"\n", at)
        if end < 0:
            raise ValueError("a line without an end")
        return end

    def take_to_mark(self) -> list[int]:
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def tuple_size(self, items: list[int]) -> int:
        depth = max((item >> _DEPTH_BIT for item in items), default=0) + 1
        count = 1 + sum(item & _COUNT for item in items)
        if depth > MAX_DEPTH:
            raise PickleBoundsError(f"expected plain data, got tuples nested more than {MAX_DEPTH} levels deep")
        if count > 1000 + 8 * len(self.data):
            raise PickleBoundsError(
                f"expected plain data, got a tuple of more than {count:,} items, most of them shared"
            )
        return count + (depth << _DEPTH_BIT)

    def memo_index(self, opcode: int, at: int) -> tuple[int, int]:
        """Return the index of a PUT or GET, and the position after it."""
        if opcode in b"pg":
            end = self.line_end(at)
            return int(self.data[at:end][:20]), end + 1
        size = _SIZES.get(opcode, 0)
        index = int.from_bytes(self.data[at : at + size], "little") if size else len(self.memo)
        if opcode in b"pr\x94" and index > len(self.data):
            raise PickleBoundsError(f"expected plain data, got a memo of {index:,} values in {len(self.data):,} bytes")
        return index, at + size


def check_opcodes(data: bytes | mmap.mmap, start: int = 0) -> int:
    """Check a pickle that begins at byte ``start``, and return the position after it.

    Raises:
        PickleBoundsError: loading it would cost far more than its length.
        pickle.UnpicklingError: it is damaged.
    """
    scan = _Scan(data)
    try:
        return _run(scan, data, start)
    except (IndexError, KeyError, ValueError) as error:
        raise pickle.UnpicklingError(f"truncated or not a pickle ({type(error).__name__})") from None


def _run(scan: _Scan, data: bytes | mmap.mmap, at: int) -> int:
    stack, memo, marks, kinds, numbers = scan.stack, scan.memo, scan.marks, _KINDS, _NUMBERS
    while True:
        opcode = data[at]
        kind, number = kinds[opcode], numbers[opcode]
        at += 1
        if kind == _PUSH:
            at += number
            stack.append(1)
        elif kind == _SIZED:
            at += number + int.from_bytes(data[at : at + number], "little")
            stack.append(1)
        elif kind == _PUT:
            index, at = scan.memo_index(opcode, at)
            memo[index] = stack[-1]
        elif kind == _GET:
            index, at = scan.memo_index(opcode, at)
            stack.append(memo[index])
        elif kind == _MARK:
            marks.append(len(stack))
        elif kind == _TAKE:
            if number >= len(stack):
                raise ValueError("an empty stack")
            if opcode == _SETITEM:
                scan.add_keys(stack[-2:-1])
            if number:
                del stack[-number:]
            if opcode not in b"abs":
                stack[-1] = 1
        elif kind == _TUPLE:
            items = stack[-number:] if number else scan.take_to_mark()
            if number > len(items):
                raise ValueError("an empty stack")
            if number:
                del stack[-number:]
            stack.append(scan.tuple_size(items))
        else:
            at = _run_rare(scan, opcode, at)
            if kind == _STOP:
                return at


def _run_rare(scan: _Scan, opcode: int, at: int) -> int:
    """Do what an opcode does that occurs once per container or less; return the position after it."""
    stack, marks, kind, number = scan.stack, scan.marks, _KINDS[opcode], _NUMBERS[opcode]
    if kind == _IGNORE:
        return at + number
    if kind == _TO_MARK:
        items = scan.take_to_mark()
        if opcode in b"ud":
            scan.add_keys(items[::2])
        elif opcode == _ADDITEMS:
            scan.add_keys(items)
    if kind == _LINE or (kind == _TO_MARK and number == 2):
        for _ in range(number):
            at = scan.line_end(at) + 1
    if kind == _LINE or (kind == _TO_MARK and number):
        stack.append(1)
    elif kind == _POP:
        if marks and marks[-1] == len(stack):
            marks.pop()
        else:
            stack.pop()
    elif kind == _POP_MARK:
        scan.take_to_mark()
    elif kind == _DUP:
        stack.append(stack[-1])
    elif kind not in (_STOP, _TO_MARK):
        raise ValueError("unknown opcode")
    return at
