"""In which order tasks take turns: round robin, and which group has the first iterations for itself. Section 3.3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from twelvefold.schema import FamilyName, TaskSpec, TwelvefoldError

Curriculum = Literal["none", "easy_first", "hard_first"]

FIRST: dict[Curriculum, FamilyName] = {"easy_first": "grounding", "hard_first": "answers"}
"""The group that comes first. Paper: curriculum = the fastest-converging (G3), anti-curriculum = the slowest (G1)."""


class RoundRobin:
    """Whose turn it is: every task once per iteration, in the recipe's order.

    With a curriculum the first ``fraction`` of all iterations belong to one group alone. The paper leaves that
    share open.

    Raises:
        TwelvefoldError: the curriculum's first group has no task in this run.
    """

    def __init__(
        self, specs: Sequence[TaskSpec], iterations: int, *, curriculum: Curriculum = "none", fraction: float = 0.1
    ) -> None:
        self.tasks = [spec.name for spec in specs]
        self.first = self.tasks
        self.alone = 0
        if curriculum != "none":
            group = FIRST[curriculum]
            self.first = [spec.name for spec in specs if spec.family == group]
            self.alone = round(fraction * iterations)
            if not self.first:
                raise TwelvefoldError(
                    f"curriculum {curriculum!r} begins with the {group} tasks, and the recipe has none; "
                    "add one or set curriculum to 'none'"
                )

    def taught(self, iteration: int) -> list[str]:
        """The tasks that are part of ``iteration`` (1 is the first), in the order of their turns."""
        return self.first if iteration <= self.alone else self.tasks


def longest(specs: Sequence[TaskSpec], epoch_iterations: Mapping[str, int]) -> int:
    """The paper's N: the iterations that the longest task's epochs take."""
    return max(spec.epochs * epoch_iterations[spec.name] for spec in specs)


def is_due(iteration: int, epoch_iterations: int, per_epoch: int = 1) -> bool:
    """Whether a task is validated, and judged, after ``iteration``: i mod n_t = 0; the clock runs while it is
    stopped too. ``per_epoch`` divides n_t. Paper: once per task epoch."""
    return iteration % max(1, epoch_iterations // per_epoch) == 0
