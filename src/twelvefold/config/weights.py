"""Settings of the import of weights, shared by the command line and Python."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsImportConfig:
    """What an import of weights accepts, and how it fills gaps."""

    pad_answers: bool = False
    """Accept lists shorter than their head; other outputs are named ``unnamed.COLUMN``."""
    guesswhat_row: int = 17
    """Row of the task embedding for GuessWhat; sources differ between 17 and 16."""
    partial: bool = False
    """Initialize missing tensors and carry unknown ones along. A plain BERT never needs it."""
    other_vocabulary: bool = False
    """Accept word embeddings of another vocabulary. Texts are then split into word pieces that mean something else."""
    non_finite: bool = False
    """Accept tensors that hold NaN or infinity, which are named. The model's outputs may then be NaN."""
    seed: int = 0
    """Seed of the initialized tensors."""
