"""Settings of an evaluation of any model, shared by the command line and Python."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationOptions:
    """The run to make of a model that has none, so that it can be evaluated, calibrated and reported like a run; and
    whether retrieval is exact."""

    out: Path | None = None
    """Folder of the run to make of the model, for its recipe, scores and predictions. An unfinished evaluation of the
    same model is continued."""
    recipe: str = ""
    """Recipe of the run to make: the name of a shipped recipe, or a .toml file. Default: that of the model's run."""
    shortlist: int = 0
    """Images that each caption of a retrieval task is compared with, chosen by the twin encoder (`twelvefold index
    train`); a caption whose own image is not among them is a miss. 0: all, the exact score."""
