"""Fitting recovers a known temperature and lowers the calibration error."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from twelvefold.evaluation.calibrate import fit_on_half
from twelvefold.evaluation.reliability import (
    NUM_BINS,
    calibration_bins,
    expected_calibration_error,
    fit_temperature,
    measure_reliability,
    split_by_image,
)
from twelvefold.families.shared.probabilities import probabilities, top_k


def simulate(temperature: float, *, independent: bool, count: int = 20_000) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits that are too large by a factor, and sampled scores of the best outputs."""
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(count, 5, generator=random) * 2
    confidences = probabilities(logits, independent=independent).amax(dim=1)
    return logits * temperature, (torch.rand(count, generator=random) < confidences).float()


@pytest.mark.parametrize("independent", [False, True])
@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_a_known_temperature_is_recovered_and_the_error_falls(temperature: float, independent: bool) -> None:
    logits, scores = simulate(temperature, independent=independent)
    fitted = fit_temperature(logits, scores, independent=independent)
    assert fitted == pytest.approx(temperature, rel=0.06)
    after, before = (probabilities(logits, t, independent=independent).amax(dim=1).tolist() for t in (fitted, 1.0))
    reliability = measure_reliability(fitted, after, before, scores.tolist())
    assert reliability.error < 1.0
    assert reliability.error_raw > 5.0 or temperature == 1.0


def test_halves_share_no_image_and_have_about_the_same_size() -> None:
    random = np.random.default_rng(0)
    single = [[f"coco/{random.integers(60)}"] for _ in range(400)]
    pairs = [[f"nlvr2/{left}", f"nlvr2/{left + random.integers(1, 3)}"] for left in range(0, 900, 3) for _ in range(2)]
    for images in (single, pairs):
        first = split_by_image(images, seed=0)
        halves = [
            {key for row, side in zip(images, first, strict=True) if side == half for key in row} for half in (0, 1)
        ]
        assert not halves[0] & halves[1]
        assert abs(first.mean() - 0.5) < 0.03
        assert (first == split_by_image(images, seed=0)).all()
        assert (first != split_by_image(images, seed=1)).any()
    together = split_by_image([["a/1", "a/2"], ["a/2", "a/3"], ["a/3"]], seed=0)
    assert together.tolist() == [True] * 3


@pytest.mark.parametrize("independent", [False, True])
def test_a_temperature_is_kept_only_if_it_helps_on_the_other_half(independent: bool) -> None:
    logits, scores = simulate(3.0, independent=independent, count=2000)
    images = [[f"coco/{n // 4}"] for n in range(len(logits))]
    good = fit_on_half(logits, scores, images, independent=independent)
    assert (good.kept, good.n_fit, good.n_check) == (True, 1000, 1000)
    assert good.error is not None
    assert good.error_raw is not None
    assert good.error < good.error_raw
    first = torch.from_numpy(split_by_image(images, 0))
    calibrated, _ = simulate(1.0, independent=independent, count=2000)
    misleading = torch.where(first[:, None], logits, calibrated)  # the halves need other temperatures
    bad = fit_on_half(misleading, scores, images, independent=independent)
    assert not bad.kept
    assert bad.temperature == pytest.approx(3.0, rel=0.2)
    alone = fit_on_half(logits, scores, [["coco/1"]] * len(logits), independent=independent)
    assert (alone.kept, alone.n_check, alone.error) == (False, 0, None)


def test_padding_does_not_change_the_temperature_and_lower_scores_raise_it() -> None:
    logits, scores = simulate(2.0, independent=False)
    padded = torch.cat([logits, torch.full((len(logits), 3), float("-inf"))], dim=1)
    assert fit_temperature(padded, scores) == fit_temperature(logits, scores)
    assert fit_temperature(logits, 0.5 * scores) > fit_temperature(logits, scores)


def test_a_model_that_is_always_right_gets_a_temperature_in_the_range() -> None:
    logits, scores = simulate(1.0, independent=False)
    assert 0.04 < fit_temperature(logits, torch.ones_like(scores)) < 0.1


def test_answers_are_ranked_by_logits_even_if_probabilities_round_to_one() -> None:
    logits = torch.tensor([[60.0, 90.0, 30.0]])
    for independent in (False, True):
        values, indices = top_k(logits, 3, 0.05, independent=independent)
        assert indices == [[1, 0, 2]]
        assert values[0][0] == 1.0


def test_bins_have_equal_mass_and_the_error_is_their_mean_difference() -> None:
    bins = calibration_bins([i / 100 for i in range(100)], [1.0] * 100)
    assert len(bins) == NUM_BINS
    assert {b.n for b in bins} <= {6, 7}
    assert expected_calibration_error(bins) == pytest.approx(100 * (1 - 0.495), abs=0.05)
    assert calibration_bins([], []) == ()
