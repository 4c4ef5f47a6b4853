"""Detectors by name: the package's own, the paper's, and torchvision's.

Paper: section 3, image regions.
"""

from __future__ import annotations

from pathlib import Path

import torch

from twelvefold.detectors.interface import CPU, RegionDetector
from twelvefold.detectors.torchvision_coco import EPSILON, CocoDetector
from twelvefold.detectors.world_detector.detector import MAX_REGIONS, Arithmetic, Detector
from twelvefold.detectors.x152.detector import REGIONS, X152, Fc6
from twelvefold.schema import TwelvefoldError, did_you_mean

OWN = "world"
"""The package's detector, the only one that comes with weights."""
PAPER = "x152"
NAMES = (OWN, PAPER, *EPSILON)


def load_detector(
    name: str,
    weights: Path | None,
    *,
    max_regions: int | None = None,
    min_regions: int | None = None,
    confidence: float | None = None,
    fc6: Fc6 | None = None,
    arithmetic: Arithmetic = "float32",
    device: torch.device = CPU,
) -> RegionDetector:
    """The detector called ``name`` with the weights in a file. ``max_regions``: None takes the detector's own number.

    ``min_regions``, ``confidence`` and ``fc6`` are options of the paper's detector
    (:class:`twelvefold.detectors.x152.detector.X152`); None takes its defaults.
    ``arithmetic`` is the package's own detector's, on a CPU; all else computes in float32.

    Raises: TwelvefoldError where the name or the file is none, a detector that needs a file comes without, or a choice
    is made that the detector doesn't have.
    """
    if name not in NAMES:
        raise TwelvefoldError(f"no detector {name!r}{did_you_mean(name, NAMES)}; there are {', '.join(NAMES)}")
    chosen = {"min_regions": min_regions, "confidence": confidence, "fc6": fc6}
    foreign = [choice for choice, value in chosen.items() if value is not None]
    if foreign and name != PAPER:
        raise TwelvefoldError(f"{' and '.join(foreign)} can be chosen of the detector {PAPER} alone, not of {name}")
    if name == OWN:
        used = arithmetic if device.type == "cpu" else "float32"
        return Detector.load(weights, max_regions=max_regions or MAX_REGIONS, arithmetic=used, device=device)
    if weights is None:
        raise TwelvefoldError(f"the detector {name} needs its weight file: --weights FILE (see docs/detector.md)")
    most = REGIONS if max_regions is None else max_regions  # torchvision's own number is the same
    if name != PAPER:
        return CocoDetector.load(name, weights, max_regions=most, device=device)
    return X152.load(
        weights,
        max_regions=most,
        min_regions=min_regions,
        confidence=confidence or 0.0,
        fc6=fc6 or "after_relu",
        device=device,
    )
