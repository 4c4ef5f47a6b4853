"""Calibration changes nothing but probabilities, and stores temperatures in the card."""

from __future__ import annotations

import json
import re
import shutil
from importlib.metadata import version
from pathlib import Path

import msgspec
import pytest
from tests.training.conftest import TASKS, Toy

from twelvefold.evaluate import evaluate, record_scores
from twelvefold.evaluation.calibrate import calibrate
from twelvefold.evaluation.predictions import predictions_path, read_predictions
from twelvefold.evaluation.run_inputs import RunInputs
from twelvefold.evaluation.scores import Scores, read_scores
from twelvefold.model import card
from twelvefold.schema import TwelvefoldError
from twelvefold.train import train


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
    latest = card.read(run / "checkpoints/latest")
    kept = {name: task.temperature for name, task in fitted.items() if task.calibration.kept}
    assert latest.temperatures == kept != {}
    assert latest.calibrations == {name: task.calibration for name, task in fitted.items()}
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
        assert (probabilities[0] != probabilities[1]) == fitted[name].calibration.kept


def test_test_scores_are_written_to_the_card_with_their_data(toy: Toy, run: Path) -> None:
    inputs = RunInputs.open(run, prepared=toy.prepared, regions=toy.regions, checkpoint="latest")
    assert card.read(inputs.checkpoint).scores == {}  # those of val are not
    scores = read_scores(run / "scores-val.json", Scores)
    record_scores(inputs, scores)
    latest = card.read(inputs.checkpoint)
    assert latest.scores == {name: task.score for name, task in scores.tasks.items()}
    details = latest.score_details["vqav2"]
    assert (details.title, details.n, details.ci95) == ("VQAv2", scores.tasks["vqav2"].n, scores.tasks["vqav2"].ci95)
    assert (details.data, details.drawn) == ("data that was not recorded", False)  # the toy has no data folder
    assert "images to search" in latest.score_details["flickr30k"].data
    assert scores.invocation
    assert scores.invocation.version == version("twelvefold")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", scores.invocation.date)


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
