"""One vision-and-language model, many tasks: train it jointly on clean splits, evaluate it, use it.

Every command of ``twelvefold --help`` is also a Python function of the same name, for example
``twelvefold.train.train`` or ``twelvefold.preparation.prepare.prepare``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twelvefold.detectors.interface import RegionDetector
    from twelvefold.serving.predictor import Predictor


def load(
    where: str | Path | None = None,
    *,
    detector: str | RegionDetector | None = None,
    detector_weights: Path | None = None,
    any_detector: bool = False,
    device: str = "auto",
) -> Predictor:
    """A model to ask about pictures: the one that ships, or a run's, a folder's, a hub's ``user/name``.

    ``detector``: None takes the one that the model was trained with. :func:`twelvefold.serving.load.load` says
    more.
    """
    from twelvefold.serving.load import load as read  # here, so that importing twelvefold stays light

    return read(where, detector=detector, detector_weights=detector_weights, any_detector=any_detector, device=device)
