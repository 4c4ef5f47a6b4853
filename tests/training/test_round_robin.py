"""Round robin: all tasks in order, one group first with a curriculum, evaluation once per task epoch."""

from __future__ import annotations

import pytest

from twelvefold.schema import TaskSpec, TwelvefoldError
from twelvefold.training.round_robin import RoundRobin, is_task_epoch_end, longest_task


def spec(name: str, family: str, epochs: int = 20) -> TaskSpec:
    return TaskSpec(name, name, family, family, "accuracy", 20, 8, 2e-5, epochs=epochs)


SPECS = [spec("a", "answers"), spec("g", "grounding", epochs=2), spec("v", "verification")]


def test_without_a_curriculum_every_task_steps_in_every_iteration() -> None:
    order = RoundRobin(SPECS, 10)
    assert [order.tasks_at(i) for i in (1, 5, 10)] == [["a", "g", "v"]] * 3


@pytest.mark.parametrize(("curriculum", "first"), [("easy_first", ["g"]), ("hard_first", ["a"])])
def test_a_curriculum_trains_only_one_group_at_first(curriculum: str, first: list[str]) -> None:
    order = RoundRobin(SPECS, 10, curriculum=curriculum, fraction=0.3)  # type: ignore[arg-type]
    assert [order.tasks_at(i) for i in (1, 3, 4)] == [first, first, ["a", "g", "v"]]


def test_a_curriculum_without_tasks_of_its_first_group_is_refused() -> None:
    with pytest.raises(TwelvefoldError, match="'hard_first' begins with the answers tasks, and the recipe has none"):
        RoundRobin(SPECS[1:], 10, curriculum="hard_first")


def test_the_longest_task_determines_the_iterations() -> None:
    assert longest_task(SPECS, {"a": 3, "g": 20, "v": 1}) == (60, 3)


@pytest.mark.parametrize(
    ("epoch", "per_epoch", "due"),
    [(4, 1, [4, 8, 12]), (4, 2, [2, 4, 6, 8, 10, 12]), (100, 1, []), (1, 3, [*range(1, 13)])],
)
def test_stop_and_go_evaluates_as_often_per_task_epoch_as_configured(
    epoch: int, per_epoch: int, due: list[int]
) -> None:
    assert [i for i in range(1, 13) if is_task_epoch_end(i, epoch, per_epoch)] == due
