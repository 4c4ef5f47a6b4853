"""A finished run is trained for longer with its optimizer and counters, and what may not change then is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from twelvefold.config.recipe import Recipe
from twelvefold.schema import TwelvefoldError
from twelvefold.train import train
from twelvefold.training.event_log import read_events

from .conftest import (
    TASKS,
    Toy,
    equal_tensors,
    read_weights,
    timeless_events,
    train_one_iteration,
)


def steps(run: Path) -> list[dict[str, Any]]:
    return [event for event in timeless_events(run) if event["event"] == "step"]


@pytest.mark.slow
def test_a_finished_run_is_trained_for_longer_as_if_planned_so(toy: Toy, tmp_path: Path) -> None:
    recipe = toy.recipe(lr_schedule="constant", warmup_fraction=0.0)
    planned, extended = tmp_path / "planned", tmp_path / "extended"
    train(recipe.with_iterations(8), toy.prepared, toy.regions, planned)
    train(recipe, toy.prepared, toy.regions, extended, iterations=4)
    train_one_iteration(toy, recipe.with_iterations(8), extended)  # killed and resumed on the way
    summary = train(recipe, toy.prepared, toy.regions, extended, iterations=8)
    assert (summary.iterations, dict(summary.steps)) == (8, dict.fromkeys(TASKS, 8))
    assert steps(extended) == steps(planned)
    assert equal_tensors(read_weights(extended), read_weights(planned))
    states = [load_file(run / "checkpoints/latest/optimizer.safetensors") for run in (extended, planned)]
    assert equal_tensors(*states)
    assert Recipe.load_run(extended).training.iterations == 8
    before = (extended / "events.jsonl").read_bytes()
    assert train(recipe, toy.prepared, toy.regions, extended, iterations=8).iterations == 8
    assert (extended / "events.jsonl").read_bytes() == before


@pytest.mark.slow
def test_a_longer_run_follows_the_longer_schedule_from_the_next_iteration_on(toy: Toy, tmp_path: Path) -> None:
    recipe = toy.recipe(warmup_fraction=0.25, eval_interval=0)
    planned, extended = tmp_path / "planned", tmp_path / "extended"
    train(recipe, toy.prepared, toy.regions, planned, iterations=8)
    for iterations in (4, 8):
        train(recipe, toy.prepared, toy.regions, extended, iterations=iterations)
    planned_lrs, extended_lrs = ([event["lr"] for event in steps(run)] for run in (planned, extended))
    assert extended_lrs[4:] == planned_lrs[4:]
    assert extended_lrs[3] < extended_lrs[4] > extended_lrs[5]  # no second warm-up
    events = list(read_events(extended / "events.jsonl"))
    assert [(e["event"], e["iterations"]) for e in events if "iterations" in e] == [("start", 4), ("resume", 8)]


@pytest.mark.slow
def test_what_may_not_change_when_a_run_is_trained_for_longer_is_refused(toy: Toy, tmp_path: Path) -> None:
    recipe = toy.recipe(eval_interval=0)
    train_one_iteration(toy, recipe, tmp_path)
    with pytest.raises(TwelvefoldError, match=r"iterations: 6 before, 9 now.*1 of 6 iterations; when it is finished"):
        train(recipe, toy.prepared, toy.regions, tmp_path, iterations=9)
    train(recipe, toy.prepared, toy.regions, tmp_path)
    with pytest.raises(
        TwelvefoldError, match=r"iterations: 6 before, 3 now.*finished after 6.*--iterations N.*above 6"
    ):
        train(recipe, toy.prepared, toy.regions, tmp_path, iterations=3)
    with pytest.raises(TwelvefoldError, match=r"differences: training.weight_decay: 0.01 before, 0.5 now\. "):
        train(toy.recipe(eval_interval=0, weight_decay=0.5), toy.prepared, toy.regions, tmp_path, iterations=7)
    with pytest.raises(TwelvefoldError, match="iterations must be at least 1, got 0"):
        train(recipe, toy.prepared, toy.regions, tmp_path, iterations=0)
    changed = toy.recipe(eval_interval=0, lr_factor=1.0, lr_schedule="constant", checkpoint_interval=7)
    assert train(changed, toy.prepared, toy.regions, tmp_path, iterations=7).iterations == 7
