"""The learning rate of every step: linear warm-up, then linear decay or none. Paper: section 3.3."""

from __future__ import annotations

from dataclasses import dataclass

from twelvefold.config.training import LrScheduleName, TrainingConfig
from twelvefold.training.round_robin import LongestTask
from twelvefold.training.vilbert_mt import VilbertLrSchedule


@dataclass(frozen=True, slots=True)
class PaperLrSchedule:
    """The factor on the base learning rate: it rises linearly over ``warmup`` iterations, then falls linearly to 0 at
    the end of the ``iterations`` (``linear``), or stays 1 (``constant``).

    ``warmup`` may exceed ``iterations``: the run then ends before the factor is 1. Differs: the learning rate of the
    original's first step is 0, so that step changes nothing; here it is above 0 in every step.
    """

    iterations: int
    warmup: int
    kind: LrScheduleName

    def multiplier(self, iteration: int, lr_steps: int) -> float:
        """Return the factor in ``iteration`` (from 1), for all tasks; ``lr_steps`` has no effect."""
        if iteration <= self.warmup:
            return iteration / self.warmup
        if self.kind == "constant":
            return 1.0
        return (self.iterations + 1 - iteration) / (self.iterations + 1 - max(self.warmup, 1))


LrSchedule = PaperLrSchedule | VilbertLrSchedule


def build_lr_schedule(config: TrainingConfig, iterations: int, longest: LongestTask) -> LrSchedule:
    """Return the schedule of a run of ``iterations``.

    Paper: the warm-up takes eta N iterations, where N is that of the ``longest`` task, the largest number that any task
    takes when it is trained alone.
    """
    total = longest.iterations if config.warmup_fraction_of == "longest_task" else iterations
    warmup = config.warmup_fraction * total
    if config.optimization == "vilbert_mt":
        return VilbertLrSchedule(iterations, warmup, config.lr_schedule, longest.epoch_iterations)
    return PaperLrSchedule(iterations, round(warmup), config.lr_schedule)
