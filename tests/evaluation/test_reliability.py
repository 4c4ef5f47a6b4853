"""Fitting recovers a known temperature and lowers the calibration error."""

from __future__ import annotations

import pytest
import torch

from twelvefold.evaluation.reliability import (
    NUM_BINS,
    calibration_bins,
    expected_calibration_error,
    fit_temperature,
    measure_reliability,
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
