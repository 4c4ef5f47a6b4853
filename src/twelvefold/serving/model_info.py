"""What is known about a loaded model: its tasks, training data, detector and test scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from twelvefold.model.card import DetectorCard


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """Describe a loaded model.

    parameters: number of weights. trained_on: a phrase for people, empty if unknown. scores: test score by task, in
    percent. temperatures: by task, the number by which logits are divided before probabilities are computed; 1 for a
    task that is not listed.
    """

    name: str
    parameters: int
    tasks: tuple[str, ...]
    trained_on: str
    detector: DetectorCard
    scores: Mapping[str, float]
    temperatures: Mapping[str, float]
