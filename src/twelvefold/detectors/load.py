"""Load a detector by name: the package's own, the paper's, or one of torchvision's. Paper: section 3.1."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import torch

from twelvefold.config.extract import DetectorName, ExtractConfig
from twelvefold.detectors.interface import CPU, RegionDetector
from twelvefold.detectors.torchvision_coco import CocoDetector
from twelvefold.detectors.world_detector.detector import MAX_REGIONS as WORLD_MAX_REGIONS
from twelvefold.detectors.world_detector.detector import ComputeDtype, WorldDetector
from twelvefold.detectors.x152.detector import X152
from twelvefold.schema import TwelvefoldError, did_you_mean

WORLD: DetectorName = "world"
"""The package's own detector, the only one whose weights are included."""
PAPER: DetectorName = "x152"
DETECTORS: tuple[DetectorName, ...] = get_args(DetectorName)
MAX_REGIONS = {name: WORLD_MAX_REGIONS if name == WORLD else 100 for name in DETECTORS}
"""Default number of regions per image; 100 is the original's for the paper's detector, and torchvision's limit."""


def load_detector(
    config: ExtractConfig, *, dtype: ComputeDtype = "float32", device: torch.device = CPU
) -> RegionDetector:
    """Load a detector. ``dtype`` applies to the package's own detector on a CPU; all others compute in float32.

    Raises:
        TwelvefoldError: an unknown name, a missing or unsuitable weight file, or an option the detector does not have.
    """
    name = check_detector_name(config.detector)
    weights = Path(config.weights) if config.weights else None
    max_regions = MAX_REGIONS[name] if config.max_regions is None else config.max_regions
    options = {"min_regions": config.min_regions, "confidence": config.confidence, "fc6": config.fc6}
    chosen = [option for option, value in options.items() if value is not None]
    if chosen and name != PAPER:
        raise TwelvefoldError(f"{' and '.join(chosen)}: only the detector {PAPER} has such options, not {name}")
    if name == WORLD:
        used = dtype if device.type == "cpu" else "float32"
        return WorldDetector.load(weights, max_regions=max_regions, dtype=used, device=device)
    if weights is None:
        raise TwelvefoldError(f"the detector {name} needs its weight file: --weights FILE (see docs/detector.md)")
    if name != PAPER:
        return CocoDetector.load(name, weights, max_regions=max_regions, device=device)
    return X152.load(weights, config, device=device)


def check_detector_name(name: str) -> DetectorName:
    """Return ``name`` if there is such a detector.

    Raises:
        TwelvefoldError: there is none.
    """
    if name not in DETECTORS:
        raise TwelvefoldError(f"no detector {name!r}{did_you_mean(name, DETECTORS)}; there are {', '.join(DETECTORS)}")
    return name
