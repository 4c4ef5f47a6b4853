"""The loop: learns, goes on exactly after any end, computes the same on shares of a batch as on the whole."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from twelvefold import train as loop
from twelvefold.batch import Batch
from twelvefold.config.recipe import Recipe
from twelvefold.data.task_loader import TaskBatches
from twelvefold.model import Model, card
from twelvefold.model.card import Card, DetectorCard
from twelvefold.schema import TwelvefoldError
from twelvefold.train import train
from twelvefold.training.checkpoints import Checkpoints
from twelvefold.training.event_log import read_events
from twelvefold.training.signals import Interrupted, Interrupts

from .conftest import KINDS, TASKS, Toy


def weights(run: Path, checkpoint: str = "latest") -> dict[str, Tensor]:
    """Everything in a checkpoint that training changes."""
    folder = run / "checkpoints" / checkpoint
    return load_file(folder / "model.safetensors") | load_file(folder / "optimiser.safetensors")


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def happened(run: Path) -> list[dict[str, Any]]:
    """The run's events without the times, and without the lines that say where a part began and ended."""
    events = read_events(run / "events.jsonl")
    untimed = [{k: v for k, v in e.items() if k not in ("seconds", "peak_memory_gb")} for e in events]
    return [e for e in untimed if e["event"] not in ("start", "resume", "interrupted")]


def start(toy: Toy, recipe: Recipe, run: Path, **environment: str) -> subprocess.Popen[bytes]:
    """Train in a process of its own."""
    run.mkdir(parents=True, exist_ok=True)
    (run / "recipe.toml").write_text(recipe.to_toml())
    command = [sys.executable, "-m", "twelvefold.train", str(toy.prepared), str(toy.regions), str(run)]
    return subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"} | environment, stderr=subprocess.PIPE)


def wait_for(run: Path, iteration: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until the log has a step of ``iteration``."""
    log = run / "events.jsonl"
    while process.poll() is None:
        if log.exists() and any(e["event"] == "step" and e["iteration"] >= iteration for e in read_events(log)):
            return
        time.sleep(0.005)
    raise AssertionError(process.communicate()[1])


def still(toy: Toy, **training: bool | int | float | str) -> Recipe:
    """The toy's recipe without dropout, whose random numbers depend on how a batch is cut, and with an epsilon that
    rounding doesn't reach: keys' biases have no gradient, and Adam makes a step even of its rounding."""
    return Recipe.parse(toy.recipe(**{"adam_eps": 1e-4} | training).to_toml().replace("dropout = 0.1", "dropout = 0.0"))


@pytest.fixture(scope="module")
def whole(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing disturbed."""
    run = tmp_path_factory.mktemp("whole")
    train(toy.recipe(), toy.prepared, toy.regions, run)
    return run


@pytest.fixture(scope="module")
def plain(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed run without dropout."""
    run = tmp_path_factory.mktemp("plain")
    train(still(toy), toy.prepared, toy.regions, run)
    return run


def test_it_learns_every_task(toy: Toy, tmp_path: Path) -> None:
    recipe = still(toy, iterations=40, lr_factor=500.0, checkpoint_interval=40, eval_interval=0, stop_and_go=False)
    train(recipe, toy.prepared, toy.regions, tmp_path)
    losses = [event["losses"] for event in happened(tmp_path) if event["event"] == "step"]
    for task in TASKS:
        first, last = (sum(part[task] for part in half) for half in (losses[:10], losses[-10:]))
        assert last < 0.8 * first, task


GOLDEN = {
    1: {"vqav2": 3.13152, "flickr30k": 1.39192, "refcoco": 2.30929, "visual7w": 2.34078, "nlvr2": 1.48870},
    6: {"vqav2": 2.96495, "flickr30k": 1.38422, "refcoco": 2.12715, "visual7w": 2.17550, "nlvr2": 0.704694},
}
"""Losses of the toy's first and last iteration, recorded with torch 2.14. They move when batches, first weights, losses
or the optimiser change; if that was the point, record them anew and say so."""


@pytest.mark.parametrize("iteration", GOLDEN)
def test_losses_are_the_recorded_ones(plain: Path, iteration: int) -> None:
    losses = {event["iteration"]: event["losses"] for event in happened(plain) if event["event"] == "step"}
    assert losses[iteration] == pytest.approx(GOLDEN[iteration], rel=1e-4)


def test_run_folder_tells_what_happened(toy: Toy, whole: Path) -> None:
    events = list(read_events(whole / "events.jsonl"))
    assert [e["event"] for e in events if e["event"] not in ("step", "eval", "checkpoint")] == ["start", "done"]
    assert events[0]["epoch_iterations"] == dict.fromkeys(TASKS, 5)
    assert [e["iteration"] for e in events if e["event"] == "eval" and e["task"] == "nlvr2"] == [3, 5, 6]
    assert [e["iteration"] for e in events if e["event"] == "checkpoint"] == [2, 4, 6]
    assert events[-1]["steps"] == dict.fromkeys(TASKS, 6)
    assert Recipe.load_run(whole) == toy.recipe()
    best = [e["iteration"] for e in events if e["event"] == "checkpoint" and e["best"]][-1]
    assert json.loads((whole / "checkpoints/best/state.json").read_text())["iteration"] == best


def test_every_checkpoint_says_what_it_is_in_a_card(toy: Toy, whole: Path) -> None:
    latest, best = (card.read(whole / "checkpoints" / name) for name in ("latest", "best"))
    assert (latest.name, latest.iterations, latest.temperatures) == ("toy", 6, {})
    assert best.iterations == json.loads((whole / "checkpoints/best/state.json").read_text())["iteration"]
    assert latest.trained_on == f"200 examples of {', '.join(TASKS)}"
    assert latest.detector == DetectorCard(name="world", digest="toy's", feature_size=len(KINDS), max_regions=4)
    made_from = json.loads((whole / "checkpoints/latest/state.json").read_text())["made_from"]
    assert latest.made_from == made_from == best.made_from


def test_same_recipe_gives_the_same_weights_and_another_seed_does_not(toy: Toy, whole: Path, tmp_path: Path) -> None:
    train(toy.recipe(), toy.prepared, toy.regions, tmp_path / "again")
    assert same(weights(tmp_path / "again"), weights(whole))
    other = Recipe.parse(toy.recipe().to_toml().replace("seed = 0", "seed = 1", 1))
    train(other, toy.prepared, toy.regions, tmp_path / "other")
    assert not same(weights(tmp_path / "other"), weights(whole))


def test_killed_run_goes_on_bit_for_bit(toy: Toy, whole: Path, tmp_path: Path) -> None:
    process = start(toy, toy.recipe(), tmp_path)
    wait_for(tmp_path, 3, process)
    process.kill()
    process.communicate()
    summary = train(toy.recipe(), toy.prepared, toy.regions, tmp_path)
    assert summary.iterations == 6
    assert same(weights(tmp_path), weights(whole))
    assert same(weights(tmp_path, "best"), weights(whole, "best"))
    assert happened(tmp_path) == happened(whole)
    assert "resume" in [event["event"] for event in read_events(tmp_path / "events.jsonl")]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_run_saves_at_once_and_goes_on_bit_for_bit(
    toy: Toy, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    note = loop.note

    def note_and_interrupt(
        work: loop.Run, name: str, score: float, examples: int, event: str | None, iteration: int
    ) -> None:
        note(work, name, score, examples, event, iteration)
        if (name, iteration) == ("vqav2", 3):
            os.kill(os.getpid(), number)

    monkeypatch.setattr(loop, "note", note_and_interrupt)
    with pytest.raises(Interrupted, match=r"stopped after iteration 3 of 6.*The same command goes on"):
        train(toy.recipe(checkpoint_interval=100), toy.prepared, toy.regions, tmp_path)
    monkeypatch.undo()
    assert json.loads((tmp_path / "checkpoints/latest/state.json").read_text())["iteration"] == 3
    train(toy.recipe(checkpoint_interval=100), toy.prepared, toy.regions, tmp_path)
    assert same(weights(tmp_path), weights(whole))


def test_second_signal_ends_at_once_and_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Interrupts() as asked:
        signal.raise_signal(signal.SIGINT)
        assert asked.to_stop
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGINT) is before


def test_finished_run_is_reported_and_not_done_again(toy: Toy, whole: Path) -> None:
    before = (whole / "events.jsonl").read_bytes()
    summary = train(toy.recipe(), toy.prepared, toy.regions, whole)
    assert (summary.iterations, dict(summary.steps)) == (6, dict.fromkeys(TASKS, 6))
    assert (whole / "events.jsonl").read_bytes() == before
    with pytest.raises(TwelvefoldError, match="holds a run already"):
        train(toy.recipe(), toy.prepared, toy.regions, whole, resume=False)


def test_going_on_with_another_recipe_or_other_data_is_refused(toy: Toy, whole: Path, tmp_path: Path) -> None:
    with pytest.raises(TwelvefoldError, match=r"different are training.stop_and_go_gap: 4 then, 5 now"):
        train(toy.recipe(stop_and_go_gap=5), toy.prepared, toy.regions, whole)
    train_one_iteration(toy, toy.recipe(), tmp_path)
    state = tmp_path / "checkpoints/latest/state.json"
    state.write_text(state.read_text().replace('"prepared": "', '"prepared": "0'))
    with pytest.raises(TwelvefoldError, match="begun with other data than it is to go on with: prepared changed"):
        train(toy.recipe(), toy.prepared, toy.regions, tmp_path)


def train_one_iteration(toy: Toy, recipe: Recipe, run: Path) -> None:
    """Train until the first iteration is saved."""

    def asked_already(asked: Interrupts) -> Interrupts:
        asked.to_stop = True
        return asked

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Interrupts, "__enter__", asked_already)
        with pytest.raises(Interrupted):
            train(recipe, toy.prepared, toy.regions, run)


@pytest.mark.parametrize("parts", [2, 3])
def test_accumulated_parts_make_the_update_of_the_whole_batch(toy: Toy, tmp_path: Path, parts: int) -> None:
    recipes = [still(toy, iterations=2, gradient_accumulation_steps=count) for count in (1, parts)]
    for number, recipe in enumerate(recipes):
        train(recipe, toy.prepared, toy.regions, tmp_path / str(number))
    assert_close(weights(tmp_path / "0"), weights(tmp_path / "1"))


def assert_close(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    """Equal but for rounding."""
    assert a.keys() == b.keys()
    assert not [name for name in a if not torch.allclose(a[name], b[name], rtol=1e-3, atol=1e-5)]


def test_a_curriculum_trains_its_group_alone_at_first_and_no_other_head(toy: Toy, tmp_path: Path) -> None:
    recipe = toy.recipe(curriculum="easy_first", curriculum_fraction=0.5)
    train_one_iteration(toy, recipe, tmp_path)
    trained = {name.split(".")[1] for name in weights(tmp_path) if name.startswith("heads.") and name.endswith(".step")}
    assert trained == {"grounding"}
    train(recipe, toy.prepared, toy.regions, tmp_path)
    losses = [set(event["losses"]) for event in happened(tmp_path) if event["event"] == "step"]
    assert losses == [{"refcoco", "visual7w"}] * 3 + [set(TASKS)] * 3
    judged = [(e["task"], e["iteration"]) for e in happened(tmp_path) if e["event"] == "eval"]
    assert ("refcoco", 3) in judged
    assert ("vqav2", 3) not in judged


def test_batches_made_ahead_are_the_same_and_go_on_after_an_interrupt(toy: Toy, whole: Path, tmp_path: Path) -> None:
    train_one_iteration(toy, toy.recipe(num_workers=1), tmp_path)
    train(toy.recipe(num_workers=1), toy.prepared, toy.regions, tmp_path)
    assert same(weights(tmp_path), weights(whole))
    assert happened(tmp_path)[-1] == happened(whole)[-1]


def test_stopped_tasks_step_once_in_a_gap_and_only_they(toy: Toy, tmp_path: Path) -> None:
    """With a rate too small to learn anything every score stands still: stop after the third evaluation."""
    recipe = toy.recipe(lr_factor=1e-9, iterations=12, evaluations_per_epoch=5, stop_and_go_gap=4)
    train(recipe, toy.prepared, toy.regions, tmp_path)
    events = happened(tmp_path)
    assert {(e["task"], e["iteration"]) for e in events if e["event"] == "stop"} == {(task, 3) for task in TASKS}
    stepped = {e["iteration"]: set(e["losses"]) for e in events if e["event"] == "step"}
    assert [i for i in stepped if stepped[i]] == [1, 2, 3, 4, 8, 12]
    later = toy.recipe(lr_factor=1e-9, iterations=12, evaluations_per_epoch=5, stop_and_go_start_fraction=0.5)
    train(later, toy.prepared, toy.regions, tmp_path / "later")
    assert {e["iteration"] for e in happened(tmp_path / "later") if e["event"] == "stop"} == {9}
    always = toy.recipe(lr_factor=1e-9, iterations=12, evaluations_per_epoch=5, stop_and_go=False)
    train(always, toy.prepared, toy.regions, tmp_path / "always")
    assert all(set(e["losses"]) == set(TASKS) for e in happened(tmp_path / "always") if e["event"] == "step")


@pytest.fixture(scope="module")
def shared(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed run of two processes."""
    run = tmp_path_factory.mktemp("shared")
    train(still(toy, processes=2), toy.prepared, toy.regions, run)
    return run


def test_two_ranks_compute_what_one_does(plain: Path, shared: Path) -> None:
    assert_close(weights(plain), weights(shared))
    scores = [[e["score"] for e in happened(run) if e["event"] == "eval"] for run in (plain, shared)]
    assert scores[0] == pytest.approx(scores[1])


def test_two_ranks_under_torchrun_give_the_same_run(toy: Toy, shared: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(still(toy, processes=2).to_toml())
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "twelvefold.train"]
    folders = [str(toy.prepared), str(toy.regions), str(tmp_path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, *command, *folders], check=True, timeout=300, env=environment)
    assert same(weights(tmp_path), weights(shared))


def test_no_thread_of_the_group_outlives_the_run(toy: Toy, tmp_path: Path) -> None:
    """One that does may abort the process at its end: a new process, as imports before the group decide it."""
    (tmp_path / "recipe.toml").write_text(still(toy, iterations=1, processes=2, eval_interval=0).to_toml())
    program = f"""
from pathlib import Path
from twelvefold.train import train
from twelvefold.config.recipe import Recipe
run = Path({str(tmp_path)!r})
train(Recipe.load_run(run), Path({str(toy.prepared)!r}), Path({str(toy.regions)!r}), run)
print([(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()])
"""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert "python" in done.stdout
    assert "gloo" not in done.stdout


def test_lost_companion_is_named_and_two_ranks_go_on_exactly(
    toy: Toy, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note, recipe = loop.note, still(toy, processes=2)

    def note_and_lose(
        work: loop.Run, name: str, score: float, examples: int, event: str | None, iteration: int
    ) -> None:
        note(work, name, score, examples, event, iteration)
        if iteration == 3:
            subprocess.run(["pkill", "-KILL", "-P", str(os.getpid()), "-f", str(tmp_path)], check=True)
            monkeypatch.undo()

    monkeypatch.setattr(loop, "note", note_and_lose)
    with pytest.raises(TwelvefoldError, match=r"process 1 of 2 was ended by SIGKILL.*memory.*start the same command"):
        train(recipe, toy.prepared, toy.regions, tmp_path)
    assert json.loads((tmp_path / "checkpoints/latest/state.json").read_text())["iteration"] == 2
    train(recipe, toy.prepared, toy.regions, tmp_path)
    assert same(weights(tmp_path), weights(shared))
    assert happened(tmp_path) == happened(shared)


def test_loss_that_is_no_number_stops_before_the_update_and_says_where(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = TaskBatches.train_batch

    def poison(self: TaskBatches, step: int, rank: int = 0, ranks: int = 1) -> Batch:
        batch = made(self, step, rank, ranks)
        if "refcoco-7" in batch.example_ids:
            batch.features[batch.example_ids.index("refcoco-7")] = float("nan")
        return batch

    monkeypatch.setattr(TaskBatches, "train_batch", poison)
    with pytest.raises(
        TwelvefoldError, match=r"task refcoco, iteration \d: the loss is nan.*Examples: refcoco-7\. Last"
    ):
        train(toy.recipe(checkpoint_interval=1), toy.prepared, toy.regions, tmp_path)
    for name, value in weights(tmp_path).items():
        assert value.isfinite().all(), name


def test_full_disk_leaves_the_last_checkpoint_whole(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Path
) -> None:
    saved = Checkpoints.save

    def fill(
        self: Checkpoints,
        model: Model,
        optimiser: torch.optim.Optimizer,
        state: dict[str, Any],
        said: Card,
        **how: bool,
    ) -> Path:
        if state["iteration"] == 4:
            monkeypatch.setattr(Model, "save", full)
        return saved(self, model, optimiser, state, said, **how)

    def full(self: Model, folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder / "model.safetensors"))

    monkeypatch.setattr(Checkpoints, "save", fill)
    with pytest.raises(TwelvefoldError, match="disk is full"):
        train(toy.recipe(), toy.prepared, toy.regions, tmp_path)
    monkeypatch.undo()
    train(toy.recipe(), toy.prepared, toy.regions, tmp_path)
    assert same(weights(tmp_path), weights(whole))


def test_older_checkpoints_are_kept_as_asked(toy: Toy, tmp_path: Path) -> None:
    train(toy.recipe(keep_last=2), toy.prepared, toy.regions, tmp_path)
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["best", "iteration-000004", "iteration-000006", "latest"]
    assert same(weights(tmp_path, "iteration-000006"), weights(tmp_path))
    assert not same(weights(tmp_path, "iteration-000004"), weights(tmp_path))


def test_unknown_task_is_named_before_anything_is_loaded(toy: Toy, tmp_path: Path) -> None:
    recipe = Recipe.parse(toy.recipe().to_toml().replace('"vqav2"', '"vqa2"'))
    with pytest.raises(TwelvefoldError, match=r"no dataset 'vqa2'; there are .*; did you mean 'vqav2'"):
        train(recipe, tmp_path / "nothing", tmp_path / "nothing", tmp_path / "run")
