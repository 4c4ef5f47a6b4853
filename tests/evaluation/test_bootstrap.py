"""Bootstrap intervals: they hold the mean, shrink with more pictures, and widen when questions share one."""

from __future__ import annotations

import numpy as np
import pytest

from twelvefold.evaluation.bootstrap import bootstrap95


def names(count: int, per_picture: int = 1) -> list[str]:
    return [f"coco/{i // per_picture}" for i in range(count)]


def test_the_interval_of_independent_coin_flips_is_the_binomial_one() -> None:
    values = np.arange(1000) % 2
    low, high = bootstrap95(values, names(1000))
    assert low == pytest.approx(0.5 - 1.96 * 0.5 / 1000**0.5, abs=0.004)
    assert high == pytest.approx(0.5 + 1.96 * 0.5 / 1000**0.5, abs=0.004)


def test_questions_that_are_right_together_make_a_score_less_sure() -> None:
    values = np.repeat(np.arange(100) % 2, 10)
    alone = bootstrap95(values, names(1000))
    together = bootstrap95(values, names(1000, per_picture=10))
    assert together[1] - together[0] > 2.5 * (alone[1] - alone[0])


def test_a_constant_score_has_no_width() -> None:
    assert bootstrap95(np.ones(50), names(50)) == (1.0, 1.0)


def test_the_same_seed_gives_the_same_interval() -> None:
    values = np.arange(200) % 3 == 0
    assert bootstrap95(values, names(200), seed=3) == bootstrap95(values, names(200), seed=3)
    assert bootstrap95(values, names(200), seed=3) != bootstrap95(values, names(200), seed=4)
