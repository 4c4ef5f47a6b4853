"""Detectors by name: the package's own, the paper's, and torchvision's.

Paper: section 3, image regions.
"""

from __future__ import annotations

from pathlib import Path

from twelvefold.schema import TwelvefoldError, closest
from twelvefold.vision.coco import EPSILON, CocoDetector
from twelvefold.vision.detector import MAX_REGIONS, Arithmetic, Detector
from twelvefold.vision.region_detector import RegionDetector
from twelvefold.vision.x152 import X152

OWN = "world"
"""The package's detector, the only one that comes with weights."""
PAPER = "x152"
NAMES = (OWN, PAPER, *EPSILON)


def load_detector(
    name: str, weights: Path | None, *, max_regions: int | None = None, arithmetic: Arithmetic = "float32"
) -> RegionDetector:
    """The detector called ``name`` with the weights in a file. ``max_regions``: None takes the detector's own number.

    ``arithmetic`` is for the package's own; the others compute in float32.

    Raises: TwelvefoldError where the name or the file is none, or a detector that needs a file comes without.
    """
    if name not in NAMES:
        raise TwelvefoldError(f"no detector {name!r}{closest(name, NAMES)}; there are {', '.join(NAMES)}")
    if name == OWN:
        return Detector.load(weights, max_regions=max_regions or MAX_REGIONS, arithmetic=arithmetic)
    if weights is None:
        raise TwelvefoldError(f"the detector {name} needs its weight file: --weights FILE (see docs/detector.md)")
    if name == PAPER:
        return X152.load(weights) if max_regions is None else X152.load(weights, max_regions=max_regions)
    if max_regions is None:
        return CocoDetector.load(name, weights)
    return CocoDetector.load(name, weights, max_regions=max_regions)
