"""Pickles of arrays are read without NumPy's own unpickling, and anything else is refused by its full name."""

from __future__ import annotations

import contextlib
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twelvefold.datasets.reading.safe_pickle import load_arrays
from twelvefold.schema import TwelvefoldError

SAMPLE = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "n": np.int64(7), "text": "é", "bytes": b"\x00\xff"}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("core", ["core", "_core"])
def test_what_numpy_pickles_comes_back(protocol: int, core: str) -> None:
    arrays = [np.arange(24, dtype=kind).reshape(2, 3, 4) for kind in ("<f4", ">f8", "<i8", "u1", "<f2")]
    more = [np.asfortranarray(arrays[0]), arrays[0][:, ::2], np.zeros((0, 4)), np.array(["ab", "c"]), np.array([True])]
    for array in [*arrays, *more]:
        data = pickle.dumps({"array": array}, protocol=protocol)
        if protocol < 4:  # later, names carry their lengths, and no NumPy of the older kind wrote them
            data = data.replace(b"numpy._core.", f"numpy.{core}.".encode())
        got = load_arrays(data, "it")["array"]
        np.testing.assert_array_equal(got, array)
        assert got.dtype == array.dtype


def test_numbers_become_python_s_and_wrapped_dicts_open() -> None:
    got = load_arrays(
        pickle.dumps([np.float32(0.5), np.bool_(True), np.array({"k": [np.int8(3)]}, dtype=object)]), "it"
    )
    assert got == [0.5, True, {"k": [3]}]
    assert [type(value) for value in got] == [float, bool, dict]


class Asks:
    def __init__(self, *asked: Any) -> None:
        self.asked = asked

    def __reduce__(self) -> tuple[Any, ...]:
        return self.asked[0], self.asked[1:]


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (Asks(os.system, "touch it-ran"), "posix.system"),
        (Asks(eval, "open('it-ran', 'w')"), "builtins.eval"),
        (Asks(getattr, "x", "upper"), "builtins.getattr"),
        (np.load, "numpy.load"),
        (np.random.default_rng(0), "numpy.random"),
        (Path("it-ran"), "pathlib"),
        (np.zeros(2, dtype=[("x", "f4")]), "plain numbers"),
    ],
)
def test_anything_else_is_refused_by_name(value: object, name: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TwelvefoldError, match=name):
        load_arrays(pickle.dumps({"features": value}), "it")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("change", [(b"numpy", b"numqy"), (b"dtype", b"dtyqe")])
def test_a_name_one_letter_off_is_refused(protocol: int, change: tuple[bytes, bytes]) -> None:
    data = pickle.dumps(np.arange(3.0), protocol=protocol)
    with pytest.raises(TwelvefoldError, match=change[1].decode()):
        load_arrays(data.replace(*change), "it")


MEMO = ord("r")
"""The one opcode that is left out: an index of its own choosing costs memory, gigabytes at worst, but runs nothing."""


@settings(deadline=None)
@given(st.integers(0, len(pickle.dumps(SAMPLE)) - 1), st.integers(0, 255).filter(lambda value: value != MEMO))
def test_any_changed_byte_gives_data_or_a_plain_error(place: int, value: int) -> None:
    data = bytearray(pickle.dumps(SAMPLE))
    data[place] = value
    for broken in (bytes(data), bytes(data[:place])):
        with contextlib.suppress(TwelvefoldError):
            load_arrays(broken, "it")
