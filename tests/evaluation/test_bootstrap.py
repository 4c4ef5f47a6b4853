"""Bootstrap intervals match the binomial interval and widen when questions share an image."""

from __future__ import annotations

import numpy as np
import pytest

from twelvefold.evaluation.bootstrap import bootstrap95


def cluster_names(count: int, per_image: int = 1) -> list[str]:
    return [f"coco/{i // per_image}" for i in range(count)]


def test_the_interval_of_independent_coin_flips_is_the_binomial_one() -> None:
    values = np.arange(1000) % 2
    low, high = bootstrap95(values, cluster_names(1000))
    assert low == pytest.approx(0.5 - 1.96 * 0.5 / 1000**0.5, abs=0.004)
    assert high == pytest.approx(0.5 + 1.96 * 0.5 / 1000**0.5, abs=0.004)


def test_clustered_answers_widen_the_interval() -> None:
    values = np.repeat(np.arange(100) % 2, 10)
    independent = bootstrap95(values, cluster_names(1000))
    clustered = bootstrap95(values, cluster_names(1000, per_image=10))
    assert clustered[1] - clustered[0] > 2.5 * (independent[1] - independent[0])


def test_a_constant_score_has_an_interval_of_no_width() -> None:
    assert bootstrap95(np.ones(50), cluster_names(50)) == (1.0, 1.0)


def test_the_same_seed_gives_the_same_interval() -> None:
    values = np.arange(200) % 3 == 0
    assert bootstrap95(values, cluster_names(200), seed=3) == bootstrap95(values, cluster_names(200), seed=3)
    assert bootstrap95(values, cluster_names(200), seed=3) != bootstrap95(values, cluster_names(200), seed=4)
