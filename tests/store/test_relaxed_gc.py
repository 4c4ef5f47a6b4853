"""Looking for garbage seldom: only as long as it lasts, however it ends."""

from __future__ import annotations

import gc

import pytest

from twelvefold.store import relaxed_gc


def test_the_thresholds_come_back_also_after_an_error() -> None:
    before = gc.get_threshold()

    @relaxed_gc.seldom()
    def fail() -> None:
        assert gc.get_threshold() == relaxed_gc.SELDOM
        raise KeyError

    for _ in range(2):  # a decorated function is called more than once
        with pytest.raises(KeyError):
            fail()
        assert gc.get_threshold() == before
