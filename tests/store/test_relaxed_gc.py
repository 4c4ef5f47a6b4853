"""The garbage collector's thresholds are raised for a block and restored, however it ends."""

from __future__ import annotations

import gc

import pytest

from twelvefold.store.relaxed_gc import THRESHOLDS, relaxed_gc


def test_the_thresholds_are_restored_after_an_error() -> None:
    before = gc.get_threshold()

    @relaxed_gc()
    def fail() -> None:
        assert gc.get_threshold() == THRESHOLDS
        raise KeyError

    for _ in range(2):  # a decorated function is called more than once
        with pytest.raises(KeyError):
            fail()
        assert gc.get_threshold() == before
