"""Calibration: a known temperature is found again, the error falls, and nothing but probabilities moves."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import msgspec
import pytest
import torch

from twelvefold.evaluate import evaluate
from twelvefold.evaluation import predictions
from twelvefold.evaluation import scores as score_files
from twelvefold.evaluation.calibrate import calibrate
from twelvefold.evaluation.reliability import BINS, bins, expected_error, fitted_temperature, reliability
from twelvefold.evaluation.scores import Scores
from twelvefold.families.probabilities import chances, likeliest
from twelvefold.model import card
from twelvefold.schema import TwelvefoldError
from twelvefold.train import train

from .conftest import TASKS, Toy


def judged(temperature: float, *, own: bool, count: int = 20_000) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits too sharp by that temperature, and whether the highest was right: drawn from what they should say."""
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(count, 5, generator=random) * 2
    sure = chances(logits, own=own).amax(dim=1)
    return logits * temperature, (torch.rand(count, generator=random) < sure).float()


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_a_known_temperature_is_found_again_and_the_error_falls(temperature: float, own: bool) -> None:
    logits, right = judged(temperature, own=own)
    found = fitted_temperature(logits, right, own=own)
    assert found == pytest.approx(temperature, rel=0.06)
    after, before = (chances(logits, t, own=own).amax(dim=1).tolist() for t in (found, 1.0))
    error = reliability(found, after, before, right.tolist())
    assert error.error < 1.0
    assert error.error_raw > 5.0 or temperature == 1.0


def test_padding_and_soft_scores_are_what_they_seem() -> None:
    logits, right = judged(2.0, own=False)
    padded = torch.cat([logits, torch.full((len(logits), 3), float("-inf"))], dim=1)
    assert fitted_temperature(padded, right) == fitted_temperature(logits, right)
    assert fitted_temperature(logits, 0.5 * right) > fitted_temperature(logits, right)


def test_a_model_that_is_never_wrong_still_gets_a_temperature_in_the_range() -> None:
    logits, right = judged(1.0, own=False)
    assert 0.04 < fitted_temperature(logits, torch.ones_like(right)) < 0.1


def test_the_order_is_that_of_the_logits_even_where_probabilities_round_to_one() -> None:
    logits = torch.tensor([[60.0, 90.0, 30.0]])
    for own in (False, True):
        values, places = likeliest(logits, 3, 0.05, own=own)
        assert places == [[1, 0, 2]]
        assert values[0][0] == 1.0


def test_bins_hold_equally_many_and_the_error_is_their_mean_distance() -> None:
    made = bins([i / 100 for i in range(100)], [1.0] * 100)
    assert len(made) == BINS
    assert {one.n for one in made} <= {6, 7}
    assert expected_error(made) == pytest.approx(100 * (1 - 0.495), abs=0.05)
    assert bins([], []) == ()


@pytest.fixture(scope="module")
def run(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained toy, scored on val without temperatures."""
    folder = tmp_path_factory.mktemp("calibrated") / "run"
    train(toy.recipe(), toy.prepared, toy.regions, folder)
    score(toy, folder)
    shutil.copytree(folder, folder.with_name("before"))
    return folder


def score(toy: Toy, run: Path) -> Scores:
    return evaluate(run, prepared=toy.prepared, regions=toy.regions, split="val", processes=1)


def test_nothing_but_probabilities_moves(toy: Toy, run: Path) -> None:
    found = calibrate(run, prepared=toy.prepared, regions=toy.regions, processes=1)
    assert {name: one.temperature for name, one in found.items()} == card.read(run / "checkpoints/latest").temperatures
    assert set(found) == set(TASKS)
    after, before = score(toy, run), score_files.read(run.with_name("before") / "scores-val.json", Scores)
    for name in TASKS:
        now, then = after.tasks[name], before.tasks[name]
        assert now.reliability
        assert then.reliability
        assert msgspec.structs.replace(now, reliability=None) == msgspec.structs.replace(then, reliability=None)
        assert now.reliability.temperature == found[name].temperature
        assert now.reliability.error_raw == then.reliability.error_raw == then.reliability.error
        lines = [
            list(predictions.read(predictions.file_of(folder, name, "val")))
            for folder in (run, run.with_name("before"))
        ]
        for one, other in zip(*lines, strict=True):
            assert [(r.name, r.box_px) for r in one.ranked] == [(r.name, r.box_px) for r in other.ranked]
        said = [[line.ranked[0].probability for line in some] for some in lines]
        assert said[0] != said[1]


def test_what_is_calibrated_is_not_fitted_again(toy: Toy, run: Path) -> None:
    calibrate(run, prepared=toy.prepared, regions=toy.regions, processes=1)
    kept = [*(run / "calibration").iterdir(), run / "checkpoints/latest/card.json"]
    before = {path: path.stat().st_mtime_ns for path in kept}
    calibrate(run, prepared=toy.prepared, regions=toy.regions, processes=1)
    assert {path: path.stat().st_mtime_ns for path in kept} == before


def test_best_has_a_card_of_its_own(toy: Toy, run: Path) -> None:
    calibrate(run, prepared=toy.prepared, regions=toy.regions, processes=1)
    assert card.read(run / "checkpoints/latest").temperatures
    assert card.read(run / "checkpoints/best").temperatures == {}


def test_scores_of_before_there_was_calibration_are_still_read(run: Path, tmp_path: Path) -> None:
    old = json.loads((run / "scores-val.json").read_text())
    for task in old["tasks"].values():
        task.pop("reliability")
    (tmp_path / "scores.json").write_text(json.dumps(old))
    read = score_files.read(tmp_path / "scores.json", Scores)
    assert [task.reliability for task in read.tasks.values()] == [None] * len(TASKS)


def test_a_missing_checkpoint_is_named(toy: Toy, run: Path) -> None:
    with pytest.raises(TwelvefoldError, match=r"lastest is not there; checkpoints: best, latest"):
        calibrate(run, prepared=toy.prepared, regions=toy.regions, checkpoint="lastest")
