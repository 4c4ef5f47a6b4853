"""The order in which tasks take turns: round robin, optionally after a curriculum. Paper: section 3.3."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from twelvefold.families import family_names, load_family
from twelvefold.schema import TaskSpec, TwelvefoldError

Curriculum = Literal["none", "easy_first", "hard_first"]


class RoundRobin:
    """Every task steps once per iteration, in the recipe's order.

    Paper: Algorithm 1 counts iterations from 1, and validates a task after its step, before the next task steps.
    ``vilbert_mt`` counts from 0, and validates after all tasks have stepped, as the original code does.

    With a curriculum, only the tasks of one group are trained in the first ``fraction`` of all iterations. The paper
    does not state that fraction.

    Raises:
        TwelvefoldError: no task of this run belongs to the curriculum's first group.
    """

    def __init__(
        self,
        specs: Sequence[TaskSpec],
        iterations: int,
        *,
        curriculum: Curriculum = "none",
        fraction: float = 0.1,
        vilbert_mt: bool = False,
    ) -> None:
        self.iterations = iterations
        self.vilbert_mt = vilbert_mt
        self.tasks = [spec.name for spec in specs]
        self.first_tasks = self.tasks
        self.first_iterations = 0
        if curriculum != "none":
            # Paper: curriculum = the group that converges fastest (G3) first, anti-curriculum = the slowest (G1) first.
            first = [name for name in family_names() if load_family(name).first_in_curriculum == curriculum]
            self.first_tasks = [spec.name for spec in specs if spec.family in first]
            self.first_iterations = round(fraction * iterations)
            if not self.first_tasks:
                raise TwelvefoldError(
                    f"curriculum {curriculum!r} begins with the {' and '.join(first)} tasks, and the recipe has none; "
                    "add one or set curriculum to 'none'"
                )

    def tasks_at(self, iteration: int) -> list[str]:
        """Return the tasks of ``iteration`` (from 1), in order."""
        return self.first_tasks if iteration <= self.first_iterations else self.tasks

    def turns_at(self, iteration: int) -> list[list[str]]:
        """Return the turns of ``iteration`` (from 1): in each of them its tasks step, then they are validated."""
        tasks = self.tasks_at(iteration)
        return [tasks] if self.vilbert_mt else [[task] for task in tasks]

    def index(self, iteration: int) -> int:
        """Return the i of Algorithm 1 in ``iteration`` (from 1), by which task epochs end and stopped tasks step."""
        return iteration - 1 if self.vilbert_mt else iteration


class LongestTask(NamedTuple):
    """``iterations``: the paper's N, those of all epochs of the task that takes the most; of one of its epochs."""

    iterations: int
    epoch_iterations: int


def longest_task(specs: Iterable[TaskSpec], steps_per_epoch: Mapping[str, int]) -> LongestTask:
    """Return how many iterations the longest task takes. ``steps_per_epoch``: of each task."""
    return max(LongestTask(spec.epochs * steps_per_epoch[spec.name], steps_per_epoch[spec.name]) for spec in specs)


def is_task_epoch_end(index: int, steps_per_epoch: int, evaluations_per_epoch: int = 1) -> bool:
    """Return whether stop-and-go evaluates a task after the iteration of this :meth:`RoundRobin.index`.

    Paper: i mod n_t = 0, once per task epoch, also while the task is stopped; ``evaluations_per_epoch`` divides n_t.
    """
    return index > 0 and index % max(1, steps_per_epoch // evaluations_per_epoch) == 0
