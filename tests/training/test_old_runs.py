"""A run that an earlier version started resumes with the same losses, scores and stop-and-go decisions.

``run_of_format_1`` is such a run of the toy's tasks refcoco and nlvr2, interrupted after iteration 4 of 6. The expected
numbers are those that the earlier version reached.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from twelvefold.config.recipe import Recipe
from twelvefold.data.region_inputs import RegionSource
from twelvefold.store.prepared import Prepared
from twelvefold.train import train
from twelvefold.training.event_log import read_events

from .conftest import Toy, timeless_events

OLD_RUN = Path(__file__).with_name("run_of_format_1")


def test_a_run_of_format_1_resumes_to_the_result_of_the_version_that_started_it(toy: Toy, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(OLD_RUN, run)
    state = run / "checkpoints/latest/state.json"
    digests = {
        "prepared": Prepared.open(toy.prepared).digest,
        "regions": RegionSource.open(toy.regions).detected.digest,
    }
    state.write_text(json.dumps(json.loads(state.read_text()) | {"made_from": digests}))
    recipe = Recipe.load_run(run)
    assert (recipe.training.max_grad_norm, recipe.training.stop_and_go_gap) == (1.0, 4)
    train(recipe, toy.prepared, toy.regions, run)
    events = timeless_events(run)
    losses = {event["iteration"]: event["losses"] for event in events if event["event"] == "step"}
    assert losses[5] == pytest.approx({"refcoco": 2.5135231, "nlvr2": 0.70839465}, rel=1e-4)
    assert losses[6] == pytest.approx({"refcoco": 2.6231985, "nlvr2": 0.69207120}, rel=1e-4)
    stops = {(event["task"], event["iteration"]) for event in events if event["event"] == "stop"}
    assert stops == {("refcoco", 6), ("nlvr2", 6)}
    assert json.loads(state.read_text())["format"] == 2
    assert not (run / "checkpoints/latest/optimiser.safetensors").exists()


def test_events_of_an_old_log_have_the_present_names() -> None:
    start = next(read_events(OLD_RUN / "events.jsonl"))
    assert start["steps_per_epoch"] == {"refcoco": 5, "nlvr2": 5}
