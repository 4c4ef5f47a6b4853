"""The learning rate of every step: linear warm-up, then linear decay or none. Paper: section 3.3."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from twelvefold.config.training import TrainingConfig


@dataclass(frozen=True, slots=True)
class LrSchedule:
    """The factor on the base learning rate: it rises linearly over ``warmup`` iterations, then falls linearly to 0 at
    the end of the ``iterations`` (``linear``), or stays 1 (``constant``).

    ``warmup`` may exceed ``iterations``: the run then ends before the factor is 1. Differs: the learning rate of the
    original's first step is 0, so that step changes nothing; here it is above 0 in every step.
    """

    iterations: int
    warmup: int
    kind: Literal["linear", "constant"]

    def multiplier(self, iteration: int) -> float:
        """Return the factor in ``iteration`` (from 1)."""
        if iteration <= self.warmup:
            return iteration / self.warmup
        if self.kind == "constant":
            return 1.0
        return (self.iterations + 1 - iteration) / (self.iterations + 1 - max(self.warmup, 1))


def build_lr_schedule(config: TrainingConfig, iterations: int, longest_task_iterations: int) -> LrSchedule:
    """Return the schedule of a run of ``iterations``. Paper: the warm-up takes eta N iterations, where N is
    ``longest_task_iterations``, the largest number that any task takes when it is trained alone."""
    whole = longest_task_iterations if config.warmup_fraction_of == "longest_task" else iterations
    return LrSchedule(iterations, round(config.warmup_fraction * whole), config.lr_schedule)
