"""A world's official files, a run that predicted on all twelve tasks, and a copy of it to spoil."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from twelvefold import datasets
from twelvefold.config.recipe import Recipe
from twelvefold.datasets.reading.options import reader_options
from twelvefold.datasets.reading.records import BadRecords
from twelvefold.evaluation import predictions
from twelvefold.evaluation.predictions import Line
from twelvefold.schema import Candidate, ClassName, Example, Ranked, SoftAnswers, TargetBox
from twelvefold.world.write import world

WRONG_BOX = (0.0, 0.0, 1.0, 1.0)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("submit") / "world"
    world(folder, images=100, seed=3, workers=1)
    return folder


@pytest.fixture(scope="session")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Predictions of all twelve: every third example is answered wrongly, the others rightly."""
    folder = tmp_path_factory.mktemp("submit") / "run"
    folder.mkdir()
    (folder / "recipe.toml").write_text(Recipe.load("demo").to_toml())
    for task in datasets.NAMES:
        said = [answer(task, example, right=i % 3 > 0) for i, example in enumerate(read(data, task))]
        predictions.write(predictions.file_of(folder, task, "test"), said)
    return folder


def read(data: Path, task: str, **options: Any) -> list[Example]:
    chosen = reader_options(data, [task], {task: Recipe.load("demo").choice(task).options})[task] | options
    return list(datasets.load(task).read(data, "test", bad=BadRecords(), **chosen))


def answer(task: str, example: Example, *, right: bool) -> Line:
    """One prediction, best first, whose best is right or not."""
    label, pair = example.label, example.pairs[0]
    if isinstance(label, SoftAnswers):
        said = Ranked(0.9, name=max(label.scores, key=label.scores.__getitem__, default="") if right else "no such")
    elif isinstance(label, ClassName):
        names = datasets.load(task).TASK.classes
        said = Ranked(0.9, name=label.name if right else next(n for n in names if n != label.name))
    elif isinstance(label, TargetBox):
        said = Ranked(0.9, box_px=label.box_px if right else WRONG_BOX)
    elif isinstance(label, Candidate):
        other = next(b for b in pair.candidates_px if b != pair.candidates_px[label.index])
        said = Ranked(0.9, box_px=pair.candidates_px[label.index] if right else other)
    else:
        return Line(example.id, task, float(right), (Ranked(0.9, name=str(pair.image)),), rank=0 if right else 7)
    return Line(example.id, task, float(right), (said, Ranked(0.1, name="second")))


@pytest.fixture
def own(run: Path, tmp_path: Path) -> Path:
    """A run of one's own to spoil."""
    folder = tmp_path / "run"
    (folder / "predictions").mkdir(parents=True)
    for name in ("recipe.toml", "predictions/nlvr2.jsonl", "predictions/visual7w.jsonl"):
        (folder / name).write_bytes((run / name).read_bytes())
    return folder


@pytest.fixture
def examples() -> Callable[..., list[Example]]:
    """Reads the test examples of a task: ``examples(data, task)``."""
    return read
