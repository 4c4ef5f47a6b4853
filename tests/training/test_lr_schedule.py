"""The learning-rate schedule: its form, and of which iterations the warm-up is a share."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Literal

import pytest

from twelvefold.config.recipe import Recipe
from twelvefold.config.training import TrainingConfig
from twelvefold.training.lr_schedule import build_lr_schedule
from twelvefold.training.round_robin import LongestTask

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
LONGEST_TASK = LongestTask(202_240, 10_112)  # 20 epochs of VG QA, whose 1,294,255 questions make 10,112 batches of 128


def multipliers(config: TrainingConfig, iterations: int, longest: LongestTask = LONGEST_TASK) -> list[float]:
    schedule = build_lr_schedule(config, iterations, longest)
    return [schedule.multiplier(i, i - 1) for i in range(1, iterations + 1)]


def of_run(fraction: float, lr_schedule: Literal["linear", "constant"] = "linear") -> TrainingConfig:
    return TrainingConfig(warmup_fraction=fraction, warmup_fraction_of="iterations", lr_schedule=lr_schedule)


def test_lr_rises_linearly_in_the_warm_up_and_then_falls_linearly() -> None:
    factors = multipliers(of_run(0.25), 20)
    assert factors[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    steps = {round(a - b, 9) for a, b in itertools.pairwise(factors[4:])}
    assert steps == {round(1 / 16, 9)}
    assert factors[-1] == pytest.approx(1 / 16)


def test_a_constant_lr_stays_after_the_warm_up() -> None:
    assert multipliers(of_run(0.25, "constant"), 8) == [0.5, 1, 1, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("iterations", [1, 2, 7])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5, 1.0])
def test_the_multiplier_is_above_zero_and_reaches_one(iterations: int, warmup: float) -> None:
    factors = multipliers(of_run(warmup), iterations)
    assert all(0 < factor <= 1 for factor in factors)
    assert max(factors) == 1


@pytest.mark.parametrize("iterations", [40_000, 202_240])
def test_the_papers_warm_up_is_a_tenth_of_the_longest_task_however_long_the_run_is(iterations: int) -> None:
    factors = multipliers(Recipe.load("paper/multi_task").training, iterations)
    assert factors[:20_224] == [i / 20_224 for i in range(1, 20_225)]
    assert factors[20_224] < 1
    assert 0 < factors[-1] == pytest.approx(1 / (iterations + 1 - 20_224))


def test_a_run_may_end_in_its_warm_up() -> None:
    assert multipliers(TrainingConfig(warmup_fraction=0.5), 5, longest=LongestTask(100, 5)) == [
        i / 50 for i in range(1, 6)
    ]


WORLD = ("demo", "world", "smoke", "pretrain_world", "pretraining.toml", "stop_and_go.toml")


@pytest.mark.parametrize("name", WORLD)
@pytest.mark.parametrize("longer", [1, 3])
def test_the_worlds_recipes_warm_up_over_a_share_of_their_own_iterations(name: str, longer: int) -> None:
    """Also with ``--iterations``, whatever the longest task takes."""
    config = Recipe.load(EXPERIMENTS / name if name.endswith(".toml") else name).training
    iterations = config.iterations * longer
    warmup = round(config.warmup_fraction * iterations)
    assert 0 < warmup <= iterations / 5
    rising = [i / warmup for i in range(1, warmup + 1)]
    falling = [(iterations + 1 - i) / (iterations + 1 - warmup) for i in range(warmup + 1, iterations + 1)]
    assert multipliers(config, iterations) == rising + falling


def test_a_run_of_an_earlier_version_keeps_its_warm_up(tmp_path: Path) -> None:
    """Its recipe.toml has no ``warmup_fraction_of``; it is read in the same way by its path and as a run."""
    text = Recipe.load("demo").to_toml().replace('warmup_fraction_of = "iterations"\n', "")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "recipe.toml").write_text(text)
    for recipe in (Recipe.load(tmp_path / "recipe.toml"), Recipe.load_run(tmp_path)):
        assert recipe == Recipe.load("demo")
    of_all_epochs = re.sub(r"(?m)^iterations = \d+$", "iterations = 0", text)  # of N, which both are then a share of
    (tmp_path / "recipe.toml").write_text(of_all_epochs)
    assert Recipe.load_run(tmp_path).training.warmup_fraction_of == "longest_task"
    (tmp_path / "mine.toml").write_text(text)
    assert Recipe.load(tmp_path / "mine.toml").training.warmup_fraction_of == "longest_task"
