"""One vision-and-language model, many tasks: train it jointly on clean splits, evaluate it, use it.

Every command of ``twelvefold --help`` is a function of the same name: ``twelvefold.prepare.prepare`` and so on.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twelvefold.serving.predictor import Predictor
    from twelvefold.vision.region_detector import RegionDetector


def load(
    where: str | Path | None = None,
    *,
    detector: str | RegionDetector | None = None,
    detector_weights: Path | None = None,
    any_detector: bool = False,
    device: str = "auto",
) -> Predictor:
    """A model to ask about pictures: the one that ships, or a run's, a folder's, a hub's ``user/name``.

    ``detector``: None takes the one that the model was trained with. :func:`twelvefold.serving.loading.load` says
    more.
    """
    from twelvefold.serving.loading import load as read  # here, so that importing twelvefold stays light

    return read(where, detector=detector, detector_weights=detector_weights, any_detector=any_detector, device=device)
