"""Settings of fine-tuning, shared by the command line and Python."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneConfig:
    """What differs from the recipe of the model that is fine-tuned; None: as the recipe says."""

    epochs: int | None = None
    """Passes over the task's training examples; default: the recipe's."""
    lr_factor: float | None = None
    """Factor on the task's learning rate; default: the recipe's."""
    processes: int | None = None
    """Processes that share every batch, with one GPU each; default: the recipe's. Under torchrun, its processes do."""
    accumulation_steps: int | None = None
    """Parts into which a process splits its share of a batch to save memory, for the same updates; default: the
    recipe's."""
