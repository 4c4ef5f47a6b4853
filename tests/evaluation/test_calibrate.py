"""Calibration recovers a known temperature, lowers the error, and changes nothing but probabilities."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import msgspec
import pytest
import torch
from tests.training.conftest import TASKS, Toy

from twelvefold.evaluate import evaluate
from twelvefold.evaluation.calibrate import calibrate
from twelvefold.evaluation.predictions import predictions_path, read_predictions
from twelvefold.evaluation.reliability import (
    NUM_BINS,
    calibration_bins,
    expected_calibration_error,
    fit_temperature,
    measure_reliability,
)
from twelvefold.evaluation.scores import Scores, read_scores
from twelvefold.families.shared.probabilities import probabilities, top_k
from twelvefold.model import card
from twelvefold.schema import TwelvefoldError
from twelvefold.train import train


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


@pytest.fixture(scope="module")
def run(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train the toy and score it on val without temperatures."""
    folder = tmp_path_factory.mktemp("calibrated") / "run"
    train(toy.recipe(), toy.prepared, toy.regions, folder)
    score(toy, folder)
    shutil.copytree(folder, folder.with_name("before"))
    return folder


def score(toy: Toy, run: Path) -> Scores:
    return evaluate(run, prepared=toy.prepared, regions=toy.regions, split="val", processes=1)


def test_calibration_changes_nothing_but_probabilities(toy: Toy, run: Path) -> None:
    fitted = calibrate(run, prepared=toy.prepared, regions=toy.regions, processes=1)
    assert {name: task.temperature for name, task in fitted.items()} == card.read(
        run / "checkpoints/latest"
    ).temperatures
    assert set(fitted) == set(TASKS)
    after, before = score(toy, run), read_scores(run.with_name("before") / "scores-val.json", Scores)
    for name in TASKS:
        now, then = after.tasks[name], before.tasks[name]
        assert now.reliability
        assert then.reliability
        assert msgspec.structs.replace(now, reliability=None) == msgspec.structs.replace(then, reliability=None)
        assert now.reliability.temperature == fitted[name].temperature
        assert now.reliability.error_raw == then.reliability.error_raw == then.reliability.error
        records = [
            list(read_predictions(predictions_path(folder, name, "val"))) for folder in (run, run.with_name("before"))
        ]
        for calibrated, raw in zip(*records, strict=True):
            assert [(r.name, r.box_px) for r in calibrated.ranked] == [(r.name, r.box_px) for r in raw.ranked]
        probabilities = [[record.ranked[0].probability for record in folder] for folder in records]
        assert probabilities[0] != probabilities[1]


def test_temperatures_are_not_fitted_twice(toy: Toy, run: Path) -> None:
    calibrate(run, prepared=toy.prepared, regions=toy.regions, processes=1)
    kept = [*(run / "calibration").iterdir(), run / "checkpoints/latest/card.json"]
    before = {path: path.stat().st_mtime_ns for path in kept}
    calibrate(run, prepared=toy.prepared, regions=toy.regions, processes=1)
    assert {path: path.stat().st_mtime_ns for path in kept} == before


def test_calibrating_latest_leaves_the_card_of_best(toy: Toy, run: Path) -> None:
    calibrate(run, prepared=toy.prepared, regions=toy.regions, processes=1)
    assert card.read(run / "checkpoints/latest").temperatures
    assert card.read(run / "checkpoints/best").temperatures == {}


def test_scores_without_reliability_are_still_read(run: Path, tmp_path: Path) -> None:
    old = json.loads((run / "scores-val.json").read_text())
    for task in old["tasks"].values():
        task.pop("reliability")
    (tmp_path / "scores.json").write_text(json.dumps(old))
    scores = read_scores(tmp_path / "scores.json", Scores)
    assert [task.reliability for task in scores.tasks.values()] == [None] * len(TASKS)


def test_a_missing_checkpoint_is_named(toy: Toy, run: Path) -> None:
    with pytest.raises(TwelvefoldError, match=r"lastest does not exist; checkpoints: best, latest"):
        calibrate(run, prepared=toy.prepared, regions=toy.regions, checkpoint="lastest")
