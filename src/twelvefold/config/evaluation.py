"""Settings of an evaluation of any model, shared by the command line and Python."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRunConfig:
    """The run to make of a model that has none, so that it can be evaluated, calibrated and reported like a run."""

    out: Path | None = None
    """Folder of the run to make of the model, for its recipe, scores and predictions. An unfinished evaluation of the
    same model is continued."""
    recipe: str = ""
    """Recipe of the run to make: the name of a shipped recipe, or a .toml file. Default: that of the model's run."""
