"""The estimate of a training's time is that of steps of the training's size."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from twelvefold.data.region_inputs import RegionSource
from twelvefold.datasets.reading.recipe_tasks import task_specs
from twelvefold.store.prepared import Prepared
from twelvefold.training import estimate
from twelvefold.training.build_run import build_run
from twelvefold.training.distributed import init_distributed
from twelvefold.training.signals import GracefulShutdown

from .conftest import Toy

FIXED_SECONDS, FIRST_SECONDS, SECONDS_PER_EXAMPLE = 0.01, 0.1, 0.001


@pytest.mark.parametrize(("budget", "sizes"), [(100.0, [4, 32, 64]), (0.0, [4])], ids=["short steps", "long steps"])
def test_steps_grow_to_the_size_of_training_while_time_is_left(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, budget: float, sizes: list[int]
) -> None:
    recipe = toy.recipe()
    prepared, regions = Prepared.open(toy.prepared), RegionSource.open(toy.regions)
    timed = list[int]()

    def seconds_per_example(state: object, services: object, objective: object, num_shards: int) -> float:
        timed.append(64 // num_shards)
        first = FIRST_SECONDS if len(timed) == 1 else 0.0
        return (first + FIXED_SECONDS) / timed[-1] + SECONDS_PER_EXAMPLE

    monkeypatch.setattr(estimate, "seconds_per_example", seconds_per_example)
    with init_distributed("cpu") as group:
        state, services, _ = build_run(
            recipe, task_specs(recipe, prepared), prepared, regions, tmp_path, group, GracefulShutdown()
        )
        objective = next(iter(services.objectives.values()))
        objective.spec = dataclasses.replace(objective.spec, batch_size=64)
        seconds = estimate.measure_step(state, services, objective, budget)
    assert timed == sizes
    if budget:
        assert seconds == pytest.approx(FIXED_SECONDS + 64 * SECONDS_PER_EXAMPLE)
