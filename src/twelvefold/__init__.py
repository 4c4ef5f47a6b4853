"""One vision-and-language model for twelve tasks: train it jointly on clean splits, evaluate it, use it.

Every command of ``twelvefold --help`` is also a Python function of the same name, for example
``twelvefold.train.train`` or ``twelvefold.preparation.prepare.prepare``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twelvefold.detectors.interface import RegionDetector
    from twelvefold.serving.load import PretrainedPredictor


def load(
    name_or_path: str | Path | None = None,
    *,
    detector: str | RegionDetector | None = None,
    detector_weights: Path | None = None,
    any_detector: bool = False,
    device: str = "auto",
) -> PretrainedPredictor:
    """Load a model to ask about images, with its detector. See :func:`twelvefold.serving.load.load`.

    ``name_or_path``: the folder of a run, a model or a hub, or ``user/name`` on a hub; None loads the model that ships.
    """
    from twelvefold.serving.load import load as load_predictor  # imported here, so that `import twelvefold` is fast

    return load_predictor(
        name_or_path, detector=detector, detector_weights=detector_weights, any_detector=any_detector, device=device
    )
