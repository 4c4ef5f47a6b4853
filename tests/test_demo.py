"""The whole job on a tiny world, as a user runs it: every stage real, once for this file."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from twelvefold import families
from twelvefold.batch import Batch
from twelvefold.data.region_inputs import RegionSource
from twelvefold.data.task_loader import TaskBatches
from twelvefold.demo import STAGES
from twelvefold.evaluate import evaluate
from twelvefold.evaluation import predictions
from twelvefold.evaluation import scores as score_files
from twelvefold.evaluation.baselines import Majority, blind, chance, solved_blind
from twelvefold.evaluation.score import score_task, scored_places
from twelvefold.evaluation.scores import BlindScores, Scores
from twelvefold.schema import TwelvefoldError
from twelvefold.store.prepared import Prepared

TASKS = ("vqav2", "flickr30k", "refcoco", "nlvr2")
"""Those of the recipe ``smoke``: one of every family."""


def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "twelvefold", *map(str, arguments)], capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "smoke"
    done = command("demo", folder, "--recipe", "smoke", "--json")
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)["scores"]) == set(TASKS)
    return folder


@pytest.fixture(scope="module")
def data(run: Path) -> Callable[[str], TaskBatches]:
    prepared, source = Prepared.open(run / "prepared"), RegionSource.open(run / "regions")
    return lambda task: TaskBatches.open(prepared, source, prepared.task(task), "test")


def test_it_ends_with_a_report_and_scores_of_every_task(run: Path) -> None:
    report = json.loads((run / "report.json").read_text())
    assert set(report["tasks"]) == set(TASKS)
    for task in report["tasks"].values():
        low, high = task["ci95"]
        assert 0 <= low <= task["score"] <= high <= 100
        assert {"metric", "split", "n", "chance", "majority", "blind_text", "blind_image"} <= set(task)
    assert (run / "report.html").stat().st_size > 10_000


def test_a_second_call_does_nothing_again(run: Path) -> None:
    kept = ["world/world.json", "regions/detected/store.json", "prepared/prepared.json", "events.jsonl", STAGES]
    before = {name: (run / name).stat().st_mtime_ns for name in kept}
    assert command("demo", run, "--recipe", "smoke").returncode == 0
    assert {name: (run / name).stat().st_mtime_ns for name in kept} == before


def test_predictions_lie_there_for_every_test_example_of_every_task(run: Path) -> None:
    scores = score_files.read(run / "scores.json", Scores)
    for task in TASKS:
        lines = list(predictions.read(run / "predictions" / f"{task}.jsonl"))
        assert len({line.id for line in lines}) == len(lines) == scores.tasks[task].n
        mean = sum(line.score or 0.0 for line in lines) / len(lines)
        assert 100 * mean == pytest.approx(scores.tasks[task].score, abs=0.006)


class Knowing:
    """Answers from the labels themselves: the score code must give it everything, and its opposite nothing."""

    def __init__(self, task: TaskBatches, sign: float) -> None:
        self.family, self.sign, self.task = task.task.family, sign, task

    def __call__(self, batch: Batch) -> Tensor:
        assert batch.target is not None
        if self.family == "grounding":
            return self.sign * batch.target[..., 1]
        if self.family == "verification":
            return self.sign * torch.nn.functional.one_hot(batch.target, len(self.task.head.outputs)).float()
        return self.sign * batch.target

    def alignments(self, captions: Batch, images: Batch) -> Tensor:
        table = self.task.table
        place = {table[i].id: str(table[i].pairs[0].image) for i in range(len(table))}
        rows = [
            [self.sign * float(place[caption] == image) for image in images.example_ids]
            for caption in captions.example_ids
        ]
        return torch.tensor(rows)


@pytest.mark.parametrize("task", TASKS)
def test_who_knows_the_labels_gets_all_that_can_be_had_and_who_denies_them_nothing(
    data: Callable[[str], TaskBatches], task: str
) -> None:
    batches = data(task)
    best = score_task(Knowing(batches, 1.0), batches).right
    worst = score_task(Knowing(batches, -1.0), batches).right
    ceiling = 1.0 if task in ("flickr30k", "nlvr2") else 0.5  # a region may be missed, an answer be too rare
    assert best.mean() >= ceiling
    assert worst.mean() < 0.1


def test_an_answerer_that_scores_all_pictures_alike_finds_none(data: Callable[[str], TaskBatches]) -> None:
    batches = data("flickr30k")
    alike = Knowing(batches, 0.0)
    assert score_task(alike, batches).right.sum() == 0


def test_limits_take_examples_from_all_over_the_table(data: Callable[[str], TaskBatches]) -> None:
    batches = data("vqav2")
    places = scored_places(batches, 5)
    assert len(places) == 5
    assert (places[0], places[-1]) == (0, len(batches.table) - 1)


def test_chance_of_a_pair_statement_is_one_half_and_of_a_pool_one_in_it(data: Callable[[str], TaskBatches]) -> None:
    assert chance(data("nlvr2"), [], 0) == 0.5
    pictures = len(data("flickr30k").table.images()[0])
    assert chance(data("flickr30k"), [], 0) == pytest.approx(1 / pictures)
    assert chance(data("flickr30k"), [], 4) == 0.25


def test_majority_says_the_commonest_training_answer(run: Path, data: Callable[[str], TaskBatches]) -> None:
    prepared = Prepared.open(run / "prepared")
    train = TaskBatches.open(prepared, RegionSource.open(run / "regions"), prepared.task("vqav2"), "train")
    batch = next(data("vqav2").eval_batches(8))
    said = families.of("answers").decode(Majority(train)(batch), batch, train.head)
    assert {prediction.best.name for prediction in said} <= {"yes", "no"}


def test_evaluating_again_scores_only_what_is_missing(run: Path) -> None:
    kept = run / "scores" / "test"
    (kept / "nlvr2.json").unlink()
    before = {path.name: path.stat().st_mtime_ns for path in kept.iterdir()}
    again = evaluate(run, processes=1)
    assert set(again.tasks) == set(TASKS)
    assert {name: (kept / name).stat().st_mtime_ns for name in before} == before
    assert (kept / "nlvr2.json").exists()


def test_some_tasks_or_another_split_leave_the_test_scores_as_they_are(run: Path) -> None:
    kept = {path: path.read_bytes() for path in [run / "scores.json", *(run / "predictions").iterdir()]}
    assert set(evaluate(run, tasks=["nlvr2"], processes=1).tasks) == {"nlvr2"}
    validated = evaluate(run, split="val", tasks=["refcoco"], processes=1)
    assert validated.tasks["refcoco"].split == "val"
    assert (run / "predictions-val" / "refcoco.jsonl").exists()
    assert {path: path.read_bytes() for path in kept} == kept


def test_a_score_no_better_than_a_blind_one_is_said(run: Path) -> None:
    figures = blind(run, processes=1)
    sentences = solved_blind(run, figures)
    scores = score_files.read(run / "scores.json", Scores)
    weak = [name for name in TASKS if scores.tasks[name].ci95[0] <= figures.tasks[name].best]
    assert [sentence.split(":")[0] for sentence in sentences] == weak
    generous = BlindScores({name: score_files.BlindScore(0, 0, 0, -1, 1) for name in TASKS}, 0.0)
    assert all("begins at 0.0" in sentence for sentence in solved_blind(run, generous))


def test_unknown_task_and_missing_checkpoint_are_named(run: Path, tmp_path: Path) -> None:
    with pytest.raises(TwelvefoldError, match=r"no task 'nlvr'; it has .*refcoco, nlvr2; did you mean 'nlvr2'\?"):
        evaluate(run, tasks=["nlvr"])
    with pytest.raises(TwelvefoldError, match="checkpoints: best, latest"):
        evaluate(run, checkpoint="lastest")
    with pytest.raises(TwelvefoldError, match="train first"):
        evaluate(tmp_path)
