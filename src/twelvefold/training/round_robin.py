"""The order in which tasks take turns: round robin, optionally after a curriculum. Paper: section 3.3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from twelvefold.families import family_names, load_family
from twelvefold.schema import TaskSpec, TwelvefoldError

Curriculum = Literal["none", "easy_first", "hard_first"]


class RoundRobin:
    """Every task takes one turn per iteration, in the recipe's order.

    With a curriculum, only the tasks of one group are trained in the first ``fraction`` of all iterations. The paper
    does not state that fraction.

    Raises:
        TwelvefoldError: no task of this run belongs to the curriculum's first group.
    """

    def __init__(
        self, specs: Sequence[TaskSpec], iterations: int, *, curriculum: Curriculum = "none", fraction: float = 0.1
    ) -> None:
        self.iterations = iterations
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
        """Return the tasks of ``iteration`` (from 1), in the order of their turns."""
        return self.first_tasks if iteration <= self.first_iterations else self.tasks


def longest_task_iterations(specs: Sequence[TaskSpec], steps_per_epoch: Mapping[str, int]) -> int:
    """Return the paper's N: the iterations that all epochs of the longest task take."""
    return max(spec.epochs * steps_per_epoch[spec.name] for spec in specs)


def is_task_epoch_end(iteration: int, steps_per_epoch: int, evaluations_per_epoch: int = 1) -> bool:
    """Return whether stop-and-go evaluates a task after ``iteration``: i mod n_t = 0, also while it is stopped.

    Paper: once per task epoch; ``evaluations_per_epoch`` divides n_t.
    """
    return iteration % max(1, steps_per_epoch // evaluations_per_epoch) == 0
