"""A task is scored in parts by several processes, with the results of one process to the bit, and resumes by parts."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from tests.evaluation.test_text_retrieval import RandomScores
from tests.training.conftest import TASKS, Toy

from twelvefold.batch import Batch
from twelvefold.data import retrieval_pool
from twelvefold.data.region_inputs import RegionSource
from twelvefold.data.task_batches import TaskBatches
from twelvefold.evaluate import evaluate
from twelvefold.evaluation import score
from twelvefold.evaluation.predictions import predictions_path
from twelvefold.evaluation.score import PartResult, TaskScoring, score_task
from twelvefold.model import Model
from twelvefold.schema import TwelvefoldError
from twelvefold.store.prepared import Prepared
from twelvefold.train import train

INTERRUPTED_PART = 11


@pytest.fixture(scope="module")
def model(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose evaluation has several parts: batches of five."""
    run = tmp_path_factory.mktemp("parts") / "run"
    recipe = toy.recipe(iterations=1, eval_interval=0)
    evaluation = msgspec.structs.replace(recipe.evaluation, batch_size=5, bootstrap_samples=50)
    train(msgspec.structs.replace(recipe, evaluation=evaluation), toy.prepared, toy.regions, run)
    return run


@pytest.fixture
def run(model: Path, tmp_path: Path) -> Path:
    return shutil.copytree(model, tmp_path / "run")


def read_results(run: Path) -> dict[str, Any]:
    """Return predictions to the byte, and the scores."""
    scores = json.loads((run / "scores-train.json").read_text())["tasks"]
    return {task: (predictions_path(run, task, "train").read_bytes(), scores[task]) for task in scores}


@pytest.fixture(scope="module")
def expected(model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The results of one process."""
    run = shutil.copytree(model, tmp_path_factory.mktemp("expected") / "run")
    evaluate(run, split="train", processes=1)
    return read_results(run)


@pytest.mark.slow
def test_several_processes_have_the_results_of_one(run: Path, expected: dict[str, Any]) -> None:
    scores = evaluate(run, split="train", processes=3)
    assert read_results(run) == expected
    assert list(scores.tasks) == list(TASKS)
    assert not list((run / "scores").glob("*/parts-*"))  # they are merged


@pytest.mark.slow
def test_the_processes_of_torchrun_share_the_examples(model: Path, tmp_path: Path, expected: dict[str, Any]) -> None:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29517"]
    command = [*launcher, "-m", "twelvefold", "evaluate", str(model / "checkpoints" / "latest"), "--device", "cpu"]
    command += ["--out", str(tmp_path / "run"), "--split", "train"]  # rank 0 alone writes the run
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert read_results(tmp_path / "run") == expected
    assert done.stdout.count("average") == 1  # rank 0 alone shows the result


@pytest.mark.slow
def test_a_killed_evaluation_continues_with_the_parts_that_are_left(run: Path, expected: dict[str, Any]) -> None:
    parts = run / "scores" / "train"
    command = [sys.executable, "-m", "twelvefold", "evaluate", str(run), "--split", "train", "--processes", "2"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(parts.glob("parts-*/*/*.msgpack")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    evaluate(run, split="train", processes=1)
    assert read_results(run) == expected


def test_a_part_that_is_stored_is_not_scored_again(
    run: Path, expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    scored: list[range] = []
    score_part = TaskScoring.score

    def record(self: TaskScoring, model: Model, rows: range, device: torch.device) -> PartResult:
        if rows in self.parts():  # else it is timed
            scored.append(rows)
            if len(scored) == INTERRUPTED_PART:
                raise TwelvefoldError("interrupted")
        return score_part(self, model, rows, device)

    monkeypatch.setattr(TaskScoring, "score", record)
    with pytest.raises(TwelvefoldError, match="interrupted"):
        evaluate(run, split="train", processes=1, tasks=["vqav2", "refcoco"])
    evaluate(run, split="train", processes=1, tasks=["vqav2", "refcoco"])
    assert len(scored) == 2 * 40 / 5 + 1  # each part once, and the interrupted one twice
    assert read_results(run) == {task: expected[task] for task in ("vqav2", "refcoco")}


def test_parts_of_other_weights_are_not_used(run: Path) -> None:
    other = run / "scores/train/parts-0123456789abcdef/vqav2/00000000-00000005.msgpack"
    other.parent.mkdir(parents=True)
    other.write_bytes(b"other")
    evaluate(run, split="train", processes=1, tasks=["vqav2"])
    assert not other.exists()


def test_a_damaged_part_is_named(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TaskScoring, "merge", lambda self, parts: (_ for _ in ()).throw(TwelvefoldError("stop")))
    with pytest.raises(TwelvefoldError, match="stop"):
        evaluate(run, split="train", processes=1, tasks=["vqav2"])
    monkeypatch.undo()
    part = next((run / "scores/train").glob("parts-*/vqav2/*"))
    part.write_bytes(b"x")
    with pytest.raises(TwelvefoldError, match=r"msgpack is damaged .*: remove it, and evaluate again"):
        evaluate(run, split="train", processes=1, tasks=["vqav2"])
    part.unlink()
    assert evaluate(run, split="train", processes=1, tasks=["vqav2"]).tasks["vqav2"].n == 40


def test_a_disk_with_too_little_space_is_refused_before_the_start(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9 - 1000, 1000))
    with pytest.raises(TwelvefoldError, match=r"the evaluation writes up to 1 MB to .*run, but its disk has 1 MB free"):
        evaluate(run, split="train", processes=1)
    assert not list((run / "scores").glob("*/parts-*"))


def test_a_pool_is_searched_a_batch_of_images_at_a_time(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared, regions = Prepared.open(toy.prepared), RegionSource.open(toy.regions)
    data = TaskBatches.open(prepared, regions, prepared.task("flickr30k"), "train")
    monkeypatch.setattr(retrieval_pool, "IMAGE_BATCH_SIZE", 5)
    shapes: list[tuple[int, int]] = []

    class FixedScores(RandomScores):
        """The score of a caption and an image depends on them only."""

        def alignments(self, captions: Batch, images: Batch) -> torch.Tensor:
            shapes.append((len(captions.example_ids), len(images.example_ids)))
            return images.with_padded_regions().features[:, 0, 0] * captions.token_ids.float().sum(dim=1)[:, None]

    chunked = score_task(FixedScores(), data)
    assert max(shapes) <= (retrieval_pool.CAPTION_BATCH_SIZE, 5)
    assert sum(n * m for n, m in shapes) == len(data) * len(data.table.first_images()[0])
    monkeypatch.setattr(score, "MAX_CACHED_BYTES", 0)
    not_cached = score_task(FixedScores(), data)
    monkeypatch.setattr(retrieval_pool, "IMAGE_BATCH_SIZE", 1000)
    at_once = score_task(FixedScores(), data)
    assert chunked.records == at_once.records == not_cached.records
    assert chunked.task_score("train") == at_once.task_score("train") == not_cached.task_score("train")
