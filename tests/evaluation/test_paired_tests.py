"""Paired tests: intervals cover, p-values are uniform without a difference, and images and seeds are the units."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from twelvefold.evaluation.paired_tests import (
    ImageSums,
    average_image_test,
    holm,
    paired_image_test,
    seed_test,
    sign_flip_p,
)

REPEATS = 200


def simulate(random: np.random.Generator, effect: float, images: int = 60) -> tuple[np.ndarray, list[str]]:
    """Return differences of 1 to 5 examples an image, which share a part of their noise, and their images."""
    counts = random.integers(1, 6, size=images)
    shared = np.repeat(random.normal(0, 20, images), counts)
    names = [f"coco/{n}" for n in np.repeat(np.arange(images), counts)]
    return effect + shared + random.normal(0, 20, len(names)), names


def test_the_interval_covers_a_known_difference_at_about_its_nominal_rate() -> None:
    random, covered, powerful = np.random.default_rng(0), 0, 0
    for seed in range(REPEATS):
        result = paired_image_test(*simulate(random, effect=9.0), seed=seed)
        covered += result.ci95[0] <= 9.0 <= result.ci95[1]
        powerful += result.p < 0.05
    assert 0.90 * REPEATS <= covered <= 0.99 * REPEATS
    assert powerful > 0.75 * REPEATS


def test_p_values_are_uniform_if_there_is_no_difference() -> None:
    random = np.random.default_rng(1)
    p_values = [paired_image_test(*simulate(random, effect=0.0), seed=seed).p for seed in range(REPEATS)]
    assert stats.kstest(p_values, "uniform").pvalue > 0.01
    assert np.mean(np.array(p_values) < 0.05) < 0.10


def test_the_detectable_difference_is_found_in_about_80_percent_of_cases() -> None:
    random = np.random.default_rng(2)
    detectable = np.mean([paired_image_test(*simulate(random, effect=0.0)).detectable or 0.0 for _ in range(20)])
    found = [paired_image_test(*simulate(random, float(detectable)), seed=seed).p < 0.05 for seed in range(REPEATS)]
    assert 0.68 <= np.mean(found) <= 0.90


def test_duplicated_questions_of_an_image_change_nothing() -> None:
    """As independent examples, nine copies would make the interval three times as narrow."""
    differences, images = simulate(np.random.default_rng(3), effect=4.0)
    once, often = paired_image_test(differences, images), paired_image_test(np.tile(differences, 9), images * 9)
    assert often.ci95 == pytest.approx(once.ci95)
    assert often.p == once.p
    assert often.detectable == pytest.approx(once.detectable)


def test_an_image_that_tasks_share_is_one_unit_of_their_average() -> None:
    """The same task four times has the average of one task, and is no more certain; four tasks on other images are."""
    differences, images = simulate(np.random.default_rng(4), effect=4.0)
    task = ImageSums.of(differences, images)
    others = [ImageSums.of(differences, [f"{n}/{image}" for image in images]) for n in range(4)]
    single, shared, separate = (average_image_test(tasks) for tasks in ([task], [task] * 4, others))
    assert shared.difference == pytest.approx(single.difference)
    assert shared.detectable == pytest.approx(single.detectable)
    assert separate.detectable == pytest.approx((single.detectable or 0) / 2, rel=0.02)
    assert shared.ci95 == pytest.approx(paired_image_test(differences, images).ci95, abs=0.3)


def test_each_task_has_equal_weight_in_the_average() -> None:
    large, small = ImageSums.of(np.ones(100), [str(n) for n in range(100)]), ImageSums.of([-3.0, -1.0], ["a", "b"])
    assert average_image_test([large, small]).difference == pytest.approx(-0.5)


def test_sign_flips_agree_with_all_permutations() -> None:
    """Four images can change signs in 16 ways; two of them are as extreme as four equal differences."""
    assert sign_flip_p([1.0, 1.0, 1.0, 1.0]) == pytest.approx(2 / 16, abs=0.01)
    assert sign_flip_p([1.0, 1.0, 0.0, 1.0, 1.0, 0.0]) == pytest.approx(2 / 16, abs=0.01)
    assert sign_flip_p([3.0, -1.0]) == pytest.approx(1.0)
    assert sign_flip_p([0.0, 0.0]) == 1.0


def test_models_with_equal_scores_do_not_differ() -> None:
    result = paired_image_test(np.zeros(6), list("aabbcc"))
    assert (result.difference, result.ci95, result.p, result.detectable) == (0.0, (0.0, 0.0), 1.0, None)


def test_holm_matches_values_computed_by_hand() -> None:
    """Sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1 is 0.04, 0.06, 0.06, 0.04; no later value is below an earlier."""
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.001, 0.6]) == pytest.approx([1.0, 0.003, 1.0])
    assert holm([0.03]) == [0.03]
    assert holm([]) == []


@pytest.mark.parametrize("paired", [True, False])
def test_seeds_are_tested_as_scipy_does(paired: bool) -> None:
    baseline, other = [70.1, 71.3, 69.9, 72.0], [72.4, 72.9, 73.5, 71.8]
    expected = stats.ttest_rel(other, baseline) if paired else stats.ttest_ind(other, baseline, equal_var=False)
    result = seed_test(baseline, other, paired=paired)
    assert result is not None
    assert result.p == pytest.approx(expected.pvalue)
    assert result.ci95 == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert result.difference == pytest.approx(np.mean(other) - np.mean(baseline))


def test_more_seeds_detect_smaller_differences() -> None:
    results = [seed_test([69.0, 71.0] * count, [70.0, 72.0] * count, paired=False) for count in (1, 2, 8)]
    detectable = [result.detectable for result in results if result is not None and result.detectable]
    assert len(detectable) == 3
    assert detectable == sorted(detectable, reverse=True)


@pytest.mark.parametrize("paired", [True, False])
def test_a_difference_without_a_spread_between_seeds_is_not_tested(paired: bool) -> None:
    assert seed_test([70.0, 70.0], [71.0, 71.0], paired=paired) is None
    equal = seed_test([70.0, 70.0], [70.0, 70.0], paired=paired)
    assert equal is not None
    assert (equal.difference, equal.p) == (0.0, 1.0)
