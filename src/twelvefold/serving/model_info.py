"""What is known about a loaded model: its tasks, training data, detector and test scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from twelvefold.model.card import Calibration, DetectorCard, ScoreDetails, TrainingData


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """Describe a loaded model.

    parameters: number of weights. trained_on: a phrase for people, empty if unknown; data: the same in parts.
    limitations: sentences on what the model was not made for. license: of the weights, empty if the author stated none.
    scores: test score by task, in percent, None where the labels are withheld; score_details: what they were measured
    on. temperatures: by task, the number by which logits are divided before probabilities are computed; 1 for a task
    that is not listed. calibrations: how they were fitted.
    """

    name: str
    parameters: int
    tasks: tuple[str, ...]
    trained_on: str
    detector: DetectorCard
    scores: Mapping[str, float | None]
    temperatures: Mapping[str, float]
    data: TrainingData = field(default_factory=TrainingData)
    limitations: tuple[str, ...] = ()
    license: str = ""
    score_details: Mapping[str, ScoreDetails] = field(default_factory=dict)
    calibrations: Mapping[str, Calibration] = field(default_factory=dict)
