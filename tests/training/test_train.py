"""The training loop: it learns, resumes exactly after any end, and computes the same on parts of a batch."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.elastic.multiprocessing import PContext, start_processes

from twelvefold import train as loop
from twelvefold.batch import Batch
from twelvefold.config.recipe import Recipe
from twelvefold.data.task_batches import TaskBatches
from twelvefold.model import Model, card
from twelvefold.model.card import Card, DetectorCard, TrainingData
from twelvefold.schema import TwelvefoldError
from twelvefold.train import Validation, train
from twelvefold.training import launch
from twelvefold.training.build_run import TrainServices, TrainState
from twelvefold.training.checkpoints import Checkpoints
from twelvefold.training.event_log import read_events
from twelvefold.training.signals import GracefulShutdown, Interrupted
from twelvefold.training.stop_and_go import Transition

from .conftest import (
    CATEGORIES,
    MAX_WAIT,
    NUM_IMAGES,
    TASKS,
    Toy,
    assert_close,
    equal_tensors,
    kill_after,
    read_weights,
    start_training,
    timeless_events,
    train_one_iteration,
)


def no_dropout_recipe(toy: Toy, **training: bool | int | float | str) -> Recipe:
    """Return a recipe whose updates do not depend on how a batch is split.

    Dropout's random numbers do. Adam's epsilon is large because the biases of keys have zero gradient, and with a small
    epsilon Adam turns the rounding errors of zero into steps.
    """
    return Recipe.parse(toy.recipe(**{"adam_eps": 1e-4} | training).to_toml().replace("dropout = 0.1", "dropout = 0.0"))


@pytest.fixture(scope="module")
def uninterrupted(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without interruption."""
    run = tmp_path_factory.mktemp("uninterrupted")
    train(toy.recipe(), toy.prepared, toy.regions, run)
    return run


@pytest.fixture(scope="module")
def plain(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without interruption and dropout."""
    run = tmp_path_factory.mktemp("plain")
    train(no_dropout_recipe(toy), toy.prepared, toy.regions, run)
    return run


@pytest.mark.slow
def test_the_loss_of_every_task_falls(toy: Toy, tmp_path: Path) -> None:
    recipe = no_dropout_recipe(
        toy, iterations=40, lr_factor=500.0, checkpoint_interval=40, eval_interval=0, stop_and_go=False
    )
    train(recipe, toy.prepared, toy.regions, tmp_path)
    losses = [event["losses"] for event in timeless_events(tmp_path) if event["event"] == "step"]
    for task in TASKS:
        first, last = (sum(part[task] for part in half) for half in (losses[:10], losses[-10:]))
        assert last < 0.8 * first, task


GOLDEN = {
    1: {"vqav2": 3.13152, "flickr30k": 1.39192, "refcoco": 2.30929, "visual7w": 2.34078, "nlvr2": 1.48870},
    6: {"vqav2": 2.96495, "flickr30k": 1.38422, "refcoco": 2.12715, "visual7w": 2.17550, "nlvr2": 0.704694},
}
"""Losses of the toy's first and last iteration, recorded with torch 2.14. They change with batches, initial weights,
losses or optimizer; if such a change is intended, record them again and say so."""


@pytest.mark.parametrize("iteration", GOLDEN)
def test_losses_are_the_recorded_ones(plain: Path, iteration: int) -> None:
    losses = {event["iteration"]: event["losses"] for event in timeless_events(plain) if event["event"] == "step"}
    assert losses[iteration] == pytest.approx(GOLDEN[iteration], rel=1e-4)


def test_run_folder_tells_what_timeless_events(toy: Toy, uninterrupted: Path) -> None:
    events = list(read_events(uninterrupted / "events.jsonl"))
    assert [e["event"] for e in events if e["event"] not in ("step", "eval", "checkpoint")] == ["start", "done"]
    assert events[0]["steps_per_epoch"] == dict.fromkeys(TASKS, 5)
    assert [e["iteration"] for e in events if e["event"] == "eval" and e["task"] == "nlvr2"] == [3, 5, 6]
    assert [e["iteration"] for e in events if e["event"] == "checkpoint"] == [2, 4, 6]
    assert events[-1]["steps"] == dict.fromkeys(TASKS, 6)
    assert Recipe.load_run(uninterrupted) == toy.recipe()
    best = [e["iteration"] for e in events if e["event"] == "checkpoint" and e["best"]][-1]
    assert json.loads((uninterrupted / "checkpoints/best/state.json").read_text())["iteration"] == best


def test_every_checkpoint_has_a_card(toy: Toy, uninterrupted: Path) -> None:
    latest, best = (card.read(uninterrupted / "checkpoints" / name) for name in ("latest", "best"))
    assert (latest.name, latest.iterations, latest.temperatures) == ("toy", 6, {})
    assert best.iterations == json.loads((uninterrupted / "checkpoints/best/state.json").read_text())["iteration"]
    assert latest.data == TrainingData(images=NUM_IMAGES, examples=dict.fromkeys(TASKS, 40), recipe="toy")
    assert latest.trained_on == f"200 examples of 5 tasks about {NUM_IMAGES} images (recipe toy)"
    assert latest.detector == DetectorCard(name="world", digest="toy's", feature_size=len(CATEGORIES), max_regions=4)
    digests = json.loads((uninterrupted / "checkpoints/latest/state.json").read_text())["data_digests"]
    assert latest.data_digests == digests == best.data_digests


@pytest.mark.slow
def test_the_same_recipe_gives_the_same_weights_and_another_seed_others(
    toy: Toy, uninterrupted: Path, tmp_path: Path
) -> None:
    train(toy.recipe(), toy.prepared, toy.regions, tmp_path / "again")
    assert equal_tensors(read_weights(tmp_path / "again"), read_weights(uninterrupted))
    other = Recipe.parse(toy.recipe().to_toml().replace("seed = 0", "seed = 1", 1))
    train(other, toy.prepared, toy.regions, tmp_path / "other")
    assert not equal_tensors(read_weights(tmp_path / "other"), read_weights(uninterrupted))


@pytest.mark.slow
def test_a_killed_run_resumes_bit_for_bit(toy: Toy, uninterrupted: Path, tmp_path: Path) -> None:
    kill_after(start_training(toy, toy.recipe(), tmp_path), tmp_path, 3)
    summary = train(toy.recipe(), toy.prepared, toy.regions, tmp_path)
    assert summary.iterations == 6
    assert equal_tensors(read_weights(tmp_path), read_weights(uninterrupted))
    assert equal_tensors(read_weights(tmp_path, "best"), read_weights(uninterrupted, "best"))
    assert timeless_events(tmp_path) == timeless_events(uninterrupted)
    assert "resume" in [event["event"] for event in read_events(tmp_path / "events.jsonl")]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_saves_a_checkpoint_and_resumes_bit_for_bit(
    toy: Toy, uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    def interrupt(task: str, iteration: int) -> None:
        if (task, iteration) == ("vqav2", 3):
            os.kill(os.getpid(), number)

    after_validation(monkeypatch, interrupt)
    with pytest.raises(Interrupted, match=r"interrupted after iteration 3 of 6.*Start the same command again"):
        train(toy.recipe(checkpoint_interval=100), toy.prepared, toy.regions, tmp_path)
    monkeypatch.undo()
    assert json.loads((tmp_path / "checkpoints/latest/state.json").read_text())["iteration"] == 3
    train(toy.recipe(checkpoint_interval=100), toy.prepared, toy.regions, tmp_path)
    assert equal_tensors(read_weights(tmp_path), read_weights(uninterrupted))


def after_validation(monkeypatch: pytest.MonkeyPatch, act: Callable[[str, int], None]) -> None:
    """Call ``act(task, iteration)`` after each validation in the training loop."""
    log_validation = loop.log_validation

    def log_and_act(
        state: TrainState,
        services: TrainServices,
        task: str,
        validation: Validation,
        transition: Transition | None,
        iteration: int,
    ) -> None:
        log_validation(state, services, task, validation, transition, iteration)
        act(task, iteration)

    monkeypatch.setattr(loop, "log_validation", log_and_act)


def test_a_second_signal_stops_at_once_and_handlers_are_restored() -> None:
    before = signal.getsignal(signal.SIGINT)
    with GracefulShutdown() as shutdown:
        signal.raise_signal(signal.SIGINT)
        assert shutdown.requested
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_finished_run_is_only_summarized(toy: Toy, uninterrupted: Path) -> None:
    before = (uninterrupted / "events.jsonl").read_bytes()
    summary = train(toy.recipe(), toy.prepared, toy.regions, uninterrupted)
    assert (summary.iterations, dict(summary.steps)) == (6, dict.fromkeys(TASKS, 6))
    assert (uninterrupted / "events.jsonl").read_bytes() == before
    with pytest.raises(TwelvefoldError, match="already holds a run"):
        train(toy.recipe(), toy.prepared, toy.regions, uninterrupted, resume=False)


def test_resuming_with_another_recipe_or_other_data_is_refused(toy: Toy, uninterrupted: Path, tmp_path: Path) -> None:
    with pytest.raises(TwelvefoldError, match=r"differences: training.stop_and_go_gap: 4 before, 5 now"):
        train(toy.recipe(stop_and_go_gap=5), toy.prepared, toy.regions, uninterrupted)
    train_one_iteration(toy, toy.recipe(), tmp_path)
    state = tmp_path / "checkpoints/latest/state.json"
    state.write_text(state.read_text().replace('"prepared": "', '"prepared": "0'))
    with pytest.raises(TwelvefoldError, match="started with other data: prepared changed"):
        train(toy.recipe(), toy.prepared, toy.regions, tmp_path)


@pytest.mark.parametrize("parts", [2, 3])
def test_gradient_accumulation_makes_the_update_of_the_whole_batch(toy: Toy, tmp_path: Path, parts: int) -> None:
    recipes = [no_dropout_recipe(toy, iterations=2, gradient_accumulation_steps=count) for count in (1, parts)]
    for number, recipe in enumerate(recipes):
        train(recipe, toy.prepared, toy.regions, tmp_path / str(number))
    assert_close(read_weights(tmp_path / "0"), read_weights(tmp_path / "1"))


@pytest.mark.slow
def test_a_curriculum_trains_only_the_heads_of_its_group_at_first(toy: Toy, tmp_path: Path) -> None:
    recipe = toy.recipe(curriculum="easy_first", curriculum_fraction=0.5)
    train_one_iteration(toy, recipe, tmp_path)
    steps = [name for name in read_weights(tmp_path) if name.startswith("heads.") and name.endswith(".step")]
    assert {name.split(".")[1] for name in steps} == {"grounding"}
    train(recipe, toy.prepared, toy.regions, tmp_path)
    losses = [set(event["losses"]) for event in timeless_events(tmp_path) if event["event"] == "step"]
    assert losses == [{"refcoco", "visual7w"}] * 3 + [set(TASKS)] * 3
    validated = [(e["task"], e["iteration"]) for e in timeless_events(tmp_path) if e["event"] == "eval"]
    assert ("refcoco", 3) in validated
    assert ("vqav2", 3) not in validated


@pytest.mark.slow
def test_prefetched_batches_are_the_same_also_after_a_resume(toy: Toy, uninterrupted: Path, tmp_path: Path) -> None:
    train_one_iteration(toy, toy.recipe(num_workers=1), tmp_path)
    train(toy.recipe(num_workers=1), toy.prepared, toy.regions, tmp_path)
    assert equal_tensors(read_weights(tmp_path), read_weights(uninterrupted))
    assert timeless_events(tmp_path)[-1] == timeless_events(uninterrupted)[-1]


@pytest.mark.slow
def test_only_stopped_tasks_are_skipped_and_step_once_in_a_gap(toy: Toy, tmp_path: Path) -> None:
    """With an lr too small to learn anything no score improves, so all tasks stop after the third evaluation."""
    recipe = toy.recipe(lr_factor=1e-9, iterations=12, evaluations_per_epoch=5, stop_and_go_gap=4)
    train(recipe, toy.prepared, toy.regions, tmp_path)
    events = timeless_events(tmp_path)
    assert {(e["task"], e["iteration"]) for e in events if e["event"] == "stop"} == {(task, 3) for task in TASKS}
    stepped = {e["iteration"]: set(e["losses"]) for e in events if e["event"] == "step"}
    assert [i for i in stepped if stepped[i]] == [1, 2, 3, 4, 8, 12]
    later = toy.recipe(lr_factor=1e-9, iterations=12, evaluations_per_epoch=5, stop_and_go_start_fraction=0.5)
    train(later, toy.prepared, toy.regions, tmp_path / "later")
    assert {e["iteration"] for e in timeless_events(tmp_path / "later") if e["event"] == "stop"} == {9}
    always = toy.recipe(lr_factor=1e-9, iterations=12, evaluations_per_epoch=5, stop_and_go=False)
    train(always, toy.prepared, toy.regions, tmp_path / "always")
    steps = [event for event in timeless_events(tmp_path / "always") if event["event"] == "step"]
    assert steps
    assert all(set(event["losses"]) == set(TASKS) for event in steps)


@pytest.fixture(scope="module")
def shared(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two processes without interruption."""
    run = tmp_path_factory.mktemp("shared")
    train(no_dropout_recipe(toy, processes=2), toy.prepared, toy.regions, run)
    return run


def test_two_ranks_compute_the_same_as_one(plain: Path, shared: Path) -> None:
    assert_close(read_weights(plain), read_weights(shared))
    scores = [[e["score"] for e in timeless_events(run) if e["event"] == "eval"] for run in (plain, shared)]
    assert scores[0] == pytest.approx(scores[1])


@pytest.mark.slow
def test_two_ranks_under_torchrun_give_the_same_run(toy: Toy, shared: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(no_dropout_recipe(toy, processes=2).to_toml())
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "twelvefold.train"]
    folders = [str(toy.prepared), str(toy.regions), str(tmp_path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, *command, *folders], check=True, timeout=2 * MAX_WAIT, env=environment)
    assert equal_tensors(read_weights(tmp_path), read_weights(shared))


@pytest.mark.slow
def test_no_thread_of_the_process_group_outlives_the_run(toy: Toy, tmp_path: Path) -> None:
    """Such a thread may abort the interpreter at exit. It depends on the order of imports, so test in a new process."""
    (tmp_path / "recipe.toml").write_text(no_dropout_recipe(toy, iterations=1, processes=2, eval_interval=0).to_toml())
    program = f"""
from pathlib import Path
from twelvefold.train import train
from twelvefold.config.recipe import Recipe
run = Path({str(tmp_path)!r})
train(Recipe.load_run(run), Path({str(toy.prepared)!r}), Path({str(toy.regions)!r}), run)
print([(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()])
"""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, timeout=MAX_WAIT)
    assert "python" in result.stdout
    assert "gloo" not in result.stdout


@pytest.mark.slow
def test_a_killed_rank_is_named_and_two_ranks_resume_exactly(
    toy: Toy, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, ranks = no_dropout_recipe(toy, processes=2), list[PContext]()

    def record(*arguments: Any, **options: Any) -> PContext:
        ranks.append(start_processes(*arguments, **options))
        return ranks[-1]

    def kill_rank(task: str, iteration: int) -> None:
        if iteration == 3:
            os.kill(ranks[0].pids()[0], signal.SIGKILL)
            monkeypatch.undo()

    monkeypatch.setattr(launch, "start_processes", record)
    after_validation(monkeypatch, kill_rank)
    with pytest.raises(TwelvefoldError, match=r"process 1 of 2 was ended by SIGKILL.*memory.*start the same command"):
        train(recipe, toy.prepared, toy.regions, tmp_path)
    assert json.loads((tmp_path / "checkpoints/latest/state.json").read_text())["iteration"] == 2
    train(recipe, toy.prepared, toy.regions, tmp_path)
    assert equal_tensors(read_weights(tmp_path), read_weights(shared))
    assert timeless_events(tmp_path) == timeless_events(shared)


def test_a_loss_that_is_not_finite_stops_before_the_update_and_names_the_example(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_batch = TaskBatches.train_batch

    def poison(self: TaskBatches, step: int, shard: int = 0, num_shards: int = 1) -> Batch:
        batch = train_batch(self, step, shard, num_shards)
        if "refcoco-7" in batch.example_ids:
            first_row = batch.lengths[1][: batch.example_ids.index("refcoco-7")].sum()
            batch.features[first_row] = float("nan")
        return batch

    monkeypatch.setattr(TaskBatches, "train_batch", poison)
    with pytest.raises(
        TwelvefoldError, match=r"task refcoco, iteration \d: the loss is nan.*Examples: refcoco-7\. Last"
    ):
        train(toy.recipe(checkpoint_interval=1), toy.prepared, toy.regions, tmp_path)
    for name, value in read_weights(tmp_path).items():
        assert value.isfinite().all(), name


def test_a_full_disk_leaves_the_last_checkpoint_complete(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uninterrupted: Path
) -> None:
    save = Checkpoints.save

    def save_with_full_disk(
        self: Checkpoints,
        model: Model,
        optimizer: torch.optim.Optimizer,
        state: dict[str, Any],
        model_card: Card,
        *,
        is_best: bool,
    ) -> None:
        if state["iteration"] == 4:
            monkeypatch.setattr(Model, "save", raise_full_disk)
        save(self, model, optimizer, state, model_card, is_best=is_best)

    def raise_full_disk(self: Model, folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder / "model.safetensors"))

    monkeypatch.setattr(Checkpoints, "save", save_with_full_disk)
    with pytest.raises(TwelvefoldError, match="disk is full"):
        train(toy.recipe(), toy.prepared, toy.regions, tmp_path)
    monkeypatch.undo()
    train(toy.recipe(), toy.prepared, toy.regions, tmp_path)
    assert equal_tensors(read_weights(tmp_path), read_weights(uninterrupted))


def test_older_checkpoints_are_kept_as_configured(toy: Toy, tmp_path: Path) -> None:
    train(toy.recipe(keep_last=2), toy.prepared, toy.regions, tmp_path)
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["best", "iteration-000004", "iteration-000006", "latest"]
    assert equal_tensors(read_weights(tmp_path, "iteration-000006"), read_weights(tmp_path))
    assert not equal_tensors(read_weights(tmp_path, "iteration-000004"), read_weights(tmp_path))


def test_an_unknown_task_is_named_before_anything_is_loaded(toy: Toy, tmp_path: Path) -> None:
    recipe = Recipe.parse(toy.recipe().to_toml().replace('"vqav2"', '"vqa2"'))
    with pytest.raises(TwelvefoldError, match=r"no dataset 'vqa2'; expected one of .*; did you mean 'vqav2'"):
        train(recipe, tmp_path / "nothing", tmp_path / "nothing", tmp_path / "run")
