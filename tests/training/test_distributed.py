"""Processes of one run: a rank that fails before it joins the others is an error, not an endless wait."""

from __future__ import annotations

from datetime import timedelta

import pytest

from twelvefold.schema import TwelvefoldError
from twelvefold.training import distributed
from twelvefold.training.distributed import RankError, init_distributed
from twelvefold.training.launch import launch_local_ranks


@pytest.mark.slow
def test_a_rank_that_fails_before_it_joins_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "JOIN_TIMEOUT", timedelta(seconds=3))
    with (
        pytest.raises(TwelvefoldError, match=r"process 1 of 2 ended with code 3; its own message is above"),
        launch_local_ranks(2, ["-c", "raise SystemExit(3)"]),
        init_distributed("cpu"),
    ):
        raise AssertionError("unreachable: rank 1 never joins")


RANK_1 = """
from twelvefold.training.distributed import init_distributed
from twelvefold.schema import TwelvefoldError
with init_distributed("cpu") as group:
    with group.fail_together():
        pass
    try:
        with group.fail_together():
            raise TwelvefoldError("image 7 has no features")
    except TwelvefoldError as error:
        print(type(error).__name__, error, flush=True)
"""


@pytest.mark.slow
def test_an_error_of_a_rank_is_raised_on_all() -> None:
    with launch_local_ranks(2, ["-c", RANK_1]), init_distributed("cpu") as group:
        with group.fail_together():
            pass
        with pytest.raises(RankError, match=r"^image 7 has no features$"), group.fail_together():
            pass
