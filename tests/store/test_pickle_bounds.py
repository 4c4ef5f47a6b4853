"""Small pickles that describe huge or deep values are refused before they cost time or memory, wherever they are."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from twelvefold.parsing.bounds import short_repr
from twelvefold.schema import TwelvefoldError
from twelvefold.store.npy_content import load_npy
from twelvefold.store.pickle_opcodes import check_opcodes
from twelvefold.store.safe_pickle import load_arrays, load_plain

DOUBLINGS = 40


def doubled(make: Callable[[Any], Any], start: Any) -> Any:
    value = start
    for _ in range(DOUBLINGS):
        value = make(value)
    return value


def deep(levels: int) -> bytes:
    """Return the pickle of a list in a list in a list ..."""
    return b"\x80\x02" + b"]" * levels + b"a" * (levels - 1) + b"."


LISTS = doubled(lambda value: [value, value], [])
TUPLES = doubled(lambda value: (value, value), ())
ITSELF: list[Any] = []
ITSELF.append(ITSELF)
OBJECTS = np.empty(2, object)
OBJECTS[0] = LISTS  # np.array(LISTS) would visit them all
BIG_TUPLE = tuple(range(50_000))
BOMBS = {
    "lists": pickle.dumps(LISTS, 2),
    "tuples": pickle.dumps(TUPLES, 4),
    "dicts": pickle.dumps(doubled(lambda value: {"a": value, "b": value}, {}), 2),
    "object arrays": pickle.dumps(OBJECTS, 2),
    "values of a dict": pickle.dumps([{"ref_id": LISTS}], 2),
    "a key of tuples": pickle.dumps(TUPLES, 2)[:-1].replace(b"\x80\x02", b"\x80\x02}", 1) + b"Ns.",
    "a tuple doubled on the stack": b"\x80\x02})" + b"2\x86" * DOUBLINGS + b"Ns.",
    "one long key again and again": pickle.dumps(BIG_TUPLE, 2)[:-1].replace(b"\x80\x02", b"\x80\x02}", 1)
    + b"q\xff0" + b"h\xffNs" * 50_000 + b".",
    "itself": pickle.dumps(ITSELF, 2),
    "depth": deep(100_000),
    "depth of tuples": b"\x80\x02})" + b"\x85" * 100_000 + b"Ns.",
    "an index of the memo": b"\x80\x02]r\xff\xff\xff\x7f.",
    "a text index of the memo": b"]p2147483647\n.",
    "a length": b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7fab.",
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_pickle_of_a_huge_value_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "refs.p"
    path.write_bytes(BOMBS[name])
    with pytest.raises(TwelvefoldError, match=r"refs\.p (was not loaded|is truncated)") as raised:
        load_plain(path)
    assert len(str(raised.value)) < 500
    with pytest.raises(TwelvefoldError, match="the record"):
        load_arrays(BOMBS[name], "the record")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_what_is_shared_a_little_is_read(protocol: int) -> None:
    answers = ["yes", "no"] * 50
    value = [{"answers": answers, (1, (2, 3)): number, "big": 2**80} for number in range(1000)]
    data = pickle.dumps(value, protocol)
    assert check_opcodes(data) == len(data)
    assert load_arrays(data, "the record") == value


@pytest.mark.parametrize(
    "shape", ["(4611686018427387904, 8)", "(-1, 8)", "(2, 99999999999999999999)", "(1,) * 99", "(" * 500]
)
@pytest.mark.parametrize("dtype", ["'<f4'", "'|O'", "'<U7'"])
def test_a_header_that_states_an_impossible_shape_is_an_error(shape: str, dtype: str) -> None:
    header = f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    data = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + b"x" * 64
    with pytest.raises(TwelvefoldError, match=r"a\.npy"):
        load_npy(data, "a.npy")


def test_values_in_errors_are_cut_before_they_are_printed() -> None:
    for value in (LISTS, TUPLES, ITSELF, pickle.loads(deep(10_000))):
        assert len(short_repr(value)) <= 160


@pytest.mark.parametrize("opcode", [b"a", b"s", b"b", b"R", b"\x85", b"\x87"])
def test_an_opcode_without_operands_ends_the_check(opcode: bytes) -> None:
    """Such a file, as text is, was read to its end, a byte at a time."""
    with pytest.raises(pickle.UnpicklingError, match="not a pickle"):
        check_opcodes(opcode * 10 + b"N.")
