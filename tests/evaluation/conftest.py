"""A world's official files, a run with predictions for all twelve tasks, and a copy of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from tests.training.conftest import toy as toy

from twelvefold import datasets
from twelvefold.config.recipe import Recipe
from twelvefold.datasets.reading.options import reader_options
from twelvefold.datasets.reading.records import BadRecords
from twelvefold.evaluation.predictions import PredictionRecord, predictions_path, write_predictions
from twelvefold.schema import Candidate, ClassName, Example, Ranked, SoftAnswers, TargetBox, TargetBoxes
from twelvefold.world.write import make_world

WRONG_BOX = (0.0, 0.0, 1.0, 1.0)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("submit") / "world"
    make_world(folder, images=100, seed=3, processes=1)
    return folder


@pytest.fixture(scope="session")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Predictions for all built-in tasks: every third example has a wrong answer, the others a right one."""
    folder = tmp_path_factory.mktemp("submit") / "run"
    folder.mkdir()
    (folder / "recipe.toml").write_text(replace(Recipe.load("demo"), tasks=datasets.task_names()).to_toml())
    for task in datasets.task_names():
        records = [predict(task, example, right=i % 3 > 0) for i, example in enumerate(read_examples(data, task))]
        write_predictions(predictions_path(folder, task, "test"), records)
    return folder


def read_examples(data: Path, task: str, **options: Any) -> list[Example]:
    all_options = reader_options(data, [task], {task: Recipe.load("demo").task_config(task).options})[task] | options
    return list(datasets.load_dataset(task).read(data, "test", bad=BadRecords(), **all_options))


def predict(task: str, example: Example, *, right: bool) -> PredictionRecord:
    """Return a prediction whose best answer is right or wrong."""
    label, pair, score = example.label, example.pairs[0], float(right)
    if isinstance(label, SoftAnswers):
        best = Ranked(0.9, name=max(label.scores, key=label.scores.__getitem__, default="") if right else "no such")
    elif isinstance(label, ClassName):
        names = datasets.load_dataset(task).TASK.classes
        best = Ranked(0.9, name=label.name if right else next(n for n in names if n != label.name))
    elif isinstance(label, TargetBox | TargetBoxes):
        true_box = label.box_px if isinstance(label, TargetBox) else label.boxes_px[0]
        best = Ranked(0.9, box_px=true_box if right else WRONG_BOX)
    elif isinstance(label, Candidate):
        other = next(b for b in pair.candidates_px if b != pair.candidates_px[label.index])
        best = Ranked(0.9, box_px=pair.candidates_px[label.index] if right else other)
    else:
        image = Ranked(0.9, name=str(pair.image))
        return PredictionRecord(example.id, task, score, (image,), rank=0 if right else 7)
    return PredictionRecord(example.id, task, score, (best, Ranked(0.1, name="second")))


@pytest.fixture
def run_copy(run: Path, tmp_path: Path) -> Path:
    """Return a copy of a part of the run, which a test may change."""
    folder = tmp_path / "run"
    (folder / "predictions").mkdir(parents=True)
    for name in ("recipe.toml", "predictions/nlvr2.jsonl", "predictions/visual7w.jsonl"):
        (folder / name).write_bytes((run / name).read_bytes())
    return folder


@pytest.fixture
def examples() -> Callable[..., list[Example]]:
    """Return the function that reads the test examples of a task: ``examples(data, task)``."""
    return read_examples
