"""The demo on a tiny world, run as a user runs it, once for this file."""

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
from twelvefold.data.task_batches import TaskBatches
from twelvefold.demo import STAGES
from twelvefold.evaluate import evaluate
from twelvefold.evaluation.baselines import MajorityBaseline, baselines, chance_score, compare_with_baselines
from twelvefold.evaluation.predictions import read_predictions
from twelvefold.evaluation.score import score_task, scored_indices
from twelvefold.evaluation.scores import Baselines, Scores, TaskBaselines, read_scores
from twelvefold.schema import TwelvefoldError
from twelvefold.store.prepared import Prepared

pytestmark = pytest.mark.slow

TASKS = ("vqav2", "flickr30k", "refcoco", "nlvr2")
"""The tasks of recipe ``smoke``: one of every family."""


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


def test_the_demo_writes_a_report_with_scores_of_every_task(run: Path) -> None:
    report = json.loads((run / "report.json").read_text())
    assert set(report["tasks"]) == set(TASKS)
    for task in report["tasks"].values():
        low, high = task["ci95"]
        assert 0 <= low <= task["score"] <= high <= 100
        assert {"metric", "split", "n", "chance", "majority", "blind_text", "blind_image"} <= set(task)
    assert (run / "report.html").stat().st_size > 10_000


def test_a_second_call_changes_no_file(run: Path) -> None:
    kept = ["world/world.json", "regions/detected/store.json", "prepared/prepared.json", "events.jsonl", STAGES]
    before = {name: (run / name).stat().st_mtime_ns for name in kept}
    assert command("demo", run, "--recipe", "smoke").returncode == 0
    assert {name: (run / name).stat().st_mtime_ns for name in kept} == before


def test_every_test_example_of_every_task_has_a_prediction(run: Path) -> None:
    scores = read_scores(run / "scores.json", Scores)
    for task in TASKS:
        records = list(read_predictions(run / "predictions" / f"{task}.jsonl"))
        assert len({record.id for record in records}) == len(records) == scores.tasks[task].n
        mean = sum(record.score or 0.0 for record in records) / len(records)
        assert 100 * mean == pytest.approx(scores.tasks[task].score, abs=0.006)


class OracleModel:
    """Answer from the labels (sign 1) or against them (sign -1)."""

    def __init__(self, data: TaskBatches, sign: float) -> None:
        self.family, self.sign, self.data = data.task.family, sign, data

    def __call__(self, batch: Batch) -> Tensor:
        assert batch.target is not None
        if self.family == "grounding":
            return self.sign * batch.target[..., 1]
        if self.family == "verification":
            return self.sign * torch.nn.functional.one_hot(batch.target, len(self.data.head.outputs)).float()
        return self.sign * batch.target

    def alignments(self, captions: Batch, images: Batch) -> Tensor:
        table = self.data.table
        true_image = {table[i].id: str(table[i].pairs[0].image) for i in range(len(table))}
        rows = [
            [self.sign * float(true_image[caption] == image) for image in images.example_ids]
            for caption in captions.example_ids
        ]
        return torch.tensor(rows)


@pytest.mark.parametrize("task", TASKS)
def test_an_oracle_scores_the_ceiling_and_its_opposite_almost_nothing(
    data: Callable[[str], TaskBatches], task: str
) -> None:
    batches = data(task)
    best = score_task(OracleModel(batches, 1.0), batches).example_scores
    worst = score_task(OracleModel(batches, -1.0), batches).example_scores
    ceiling = 1.0 if task in ("flickr30k", "nlvr2") else 0.5  # a region may be missed, an answer too rare
    assert best.mean() >= ceiling
    assert worst.mean() < 0.1


def test_equal_scores_for_all_images_count_as_wrong(data: Callable[[str], TaskBatches]) -> None:
    batches = data("flickr30k")
    constant = OracleModel(batches, 0.0)
    assert score_task(constant, batches).example_scores.sum() == 0


def test_limited_examples_are_spread_over_the_table(data: Callable[[str], TaskBatches]) -> None:
    batches = data("vqav2")
    indices = scored_indices(batches, 5)
    assert len(indices) == 5
    assert (indices[0], indices[-1]) == (0, len(batches.table) - 1)


def test_chance_is_one_half_for_two_classes_and_one_over_the_pool_size_for_retrieval(
    data: Callable[[str], TaskBatches],
) -> None:
    assert chance_score(data("nlvr2"), [0, 1, 2], 0) == 0.5
    num_images = len(data("flickr30k").table.first_images()[0])
    assert chance_score(data("flickr30k"), [], 0) == pytest.approx(1 / num_images)
    assert chance_score(data("flickr30k"), [], 4) == 0.25


def test_majority_predicts_the_most_frequent_training_answer(run: Path, data: Callable[[str], TaskBatches]) -> None:
    prepared = Prepared.open(run / "prepared")
    train = TaskBatches.open(prepared, RegionSource.open(run / "regions"), prepared.task("vqav2"), "train")
    batch = next(data("vqav2").eval_batches(8))
    predictions = families.load_family("answers").decode(MajorityBaseline(train)(batch), batch, train.head)
    assert {prediction.best.name for prediction in predictions} <= {"yes", "no"}


def test_a_second_evaluation_scores_only_missing_tasks(run: Path) -> None:
    kept = run / "scores" / "test"
    (kept / "nlvr2.json").unlink()
    before = {path.name: path.stat().st_mtime_ns for path in kept.glob("*.json")}
    again = evaluate(run, processes=1)
    assert set(again.tasks) == set(TASKS)
    assert {name: (kept / name).stat().st_mtime_ns for name in before} == before
    assert (kept / "nlvr2.json").exists()


def test_scoring_some_tasks_or_another_split_keeps_the_test_scores(run: Path) -> None:
    kept = {path: path.read_bytes() for path in [run / "scores.json", *(run / "predictions").iterdir()]}
    assert set(evaluate(run, tasks=["nlvr2"], processes=1).tasks) == set(TASKS)  # with those that were scored before
    validated = evaluate(run, split="val", tasks=["refcoco"], processes=1)
    assert validated.tasks["refcoco"].split == "val"
    assert (run / "predictions-val" / "refcoco.jsonl").exists()
    assert {path: path.read_bytes() for path in kept} == kept


def test_scores_that_do_not_beat_the_baselines_are_reported(run: Path) -> None:
    results = baselines(run, processes=1)
    sentences = compare_with_baselines(run, results)
    scores = read_scores(run / "scores.json", Scores)
    lows = {name: (task.ci95 or (0.0, 0.0))[0] for name, task in scores.tasks.items()}
    weak = [name for name in TASKS if lows[name] <= (results.tasks[name].best or 0.0)]
    assert [sentence.split(":")[0] for sentence in sentences] == weak
    unbeatable = Baselines({name: TaskBaselines(100, 0, 0, -1, 1) for name in TASKS}, 0.0)
    assert {sentence.split(":")[0] for sentence in compare_with_baselines(run, unbeatable)} == set(TASKS)
    low = Baselines({name: TaskBaselines(0, 0, 0, -1, 1) for name in TASKS}, 0.0)
    assert all("begins at 0.0" in sentence for sentence in compare_with_baselines(run, low))


def test_unknown_task_and_missing_checkpoint_are_named(run: Path, tmp_path: Path) -> None:
    with pytest.raises(TwelvefoldError, match=r"no task 'nlvr'; it has .*refcoco, nlvr2; did you mean 'nlvr2'\?"):
        evaluate(run, tasks=["nlvr"])
    with pytest.raises(TwelvefoldError, match="checkpoints: best, latest"):
        evaluate(run, checkpoint="lastest")
    with pytest.raises(TwelvefoldError, match="is not a run, it has no recipe"):
        evaluate(tmp_path)
