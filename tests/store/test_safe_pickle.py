"""Pickles of arrays are read without NumPy's own unpickling; any other global name is rejected."""

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

from twelvefold.schema import TwelvefoldError
from twelvefold.store.safe_pickle import load_arrays

SAMPLE = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "n": np.int64(7), "text": "é", "bytes": b"\x00\xff"}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("core", ["core", "_core"])
def test_pickled_arrays_are_restored(protocol: int, core: str) -> None:
    arrays = [np.arange(24, dtype=dtype).reshape(2, 3, 4) for dtype in ("<f4", ">f8", "<i8", "u1", "<f2")]
    more = [np.asfortranarray(arrays[0]), arrays[0][:, ::2], np.zeros((0, 4)), np.array(["ab", "c"]), np.array([True])]
    for array in [*arrays, *more]:
        data = pickle.dumps({"array": array}, protocol=protocol)
        if protocol < 4:  # later, names carry their lengths, and no NumPy of the older kind wrote them
            data = data.replace(b"numpy._core.", f"numpy.{core}.".encode())
        got = load_arrays(data, "sample")["array"]
        np.testing.assert_array_equal(got, array)
        assert got.dtype == array.dtype


def test_numpy_scalars_become_python_numbers_and_wrapped_dicts_are_unwrapped() -> None:
    got = load_arrays(
        pickle.dumps([np.float32(0.5), np.bool_(True), np.array({"k": [np.int8(3)]}, dtype=object)]), "it"
    )
    assert got == [0.5, True, {"k": [3]}]
    assert [type(value) for value in got] == [float, bool, dict]


class Calls:
    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call[0], self.call[1:]


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (Calls(os.system, "touch it-ran"), "posix.system"),
        (Calls(eval, "open('it-ran', 'w')"), "builtins.eval"),
        (Calls(getattr, "x", "upper"), "builtins.getattr"),
        (np.load, "numpy.load"),
        (np.random.default_rng(0), "numpy.random"),
        (Path("it-ran"), "pathlib"),
        (np.zeros(2, dtype=[("x", "f4")]), "plain numbers"),
    ],
)
def test_any_other_global_name_is_rejected_and_not_run(
    value: object, name: str, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TwelvefoldError, match=name):
        load_arrays(pickle.dumps({"features": value}), "sample")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("change", [(b"numpy", b"numqy"), (b"dtype", b"dtyqe")])
def test_a_misspelled_global_name_is_rejected(protocol: int, change: tuple[bytes, bytes]) -> None:
    data = pickle.dumps(np.arange(3.0), protocol=protocol)
    with pytest.raises(TwelvefoldError, match=change[1].decode()):
        load_arrays(data.replace(*change), "sample")


MEMO = ord("r")
"""This opcode is not tested: a large memo index may cost gigabytes of memory, but runs nothing."""


@settings(deadline=None)
@given(st.integers(0, len(pickle.dumps(SAMPLE)) - 1), st.integers(0, 255).filter(lambda value: value != MEMO))
def test_a_changed_byte_gives_data_or_an_error(index: int, value: int) -> None:
    data = bytearray(pickle.dumps(SAMPLE))
    data[index] = value
    for broken in (bytes(data), bytes(data[:index])):
        with contextlib.suppress(TwelvefoldError):
            load_arrays(broken, "sample")
