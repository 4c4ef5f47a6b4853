"""Load a detector by name: the package's own, the paper's, one of torchvision's, or patches of an image backbone.

Paper: section 3.1.
"""

from __future__ import annotations

from pathlib import Path

import torch

from twelvefold.config.extract import (
    HUB,
    PAPER,
    PATCHES,
    RANDOM,
    WORLD,
    ExtractConfig,
    check_detector_name,
    parse_backbone,
)
from twelvefold.detectors.interface import CPU, RegionDetector
from twelvefold.detectors.patches.detector import PatchDetector
from twelvefold.detectors.torchvision_coco import CocoDetector
from twelvefold.detectors.world_detector.detector import MAX_REGIONS as WORLD_MAX_REGIONS
from twelvefold.detectors.world_detector.detector import ComputeDtype, WorldDetector
from twelvefold.detectors.x152.detector import X152
from twelvefold.schema import TwelvefoldError

MAX_REGIONS = 100
"""Default number of regions per image of all other detectors: the original's, and torchvision's limit."""


def default_max_regions(detector: str) -> int:
    """Return the number of regions per image if none is stated."""
    return WORLD_MAX_REGIONS if detector == WORLD else MAX_REGIONS


def load_detector(
    config: ExtractConfig, *, dtype: ComputeDtype = "float32", device: torch.device = CPU
) -> RegionDetector:
    """Load a detector. ``dtype`` applies to the package's own detector and to backbones on a CPU; all others compute in
    float32.

    Raises:
        TwelvefoldError: an unknown name, a missing or unsuitable weight file, or an option the detector does not have.
    """
    name = check_detector_name(config.detector)
    weights = Path(config.weights) if config.weights else None
    max_regions = default_max_regions(name) if config.max_regions is None else config.max_regions
    options = {"min_regions": config.min_regions, "confidence": config.confidence, "fc6": config.fc6}
    chosen = [option for option, value in options.items() if value is not None]
    if chosen and name != PAPER:
        raise TwelvefoldError(f"{' and '.join(chosen)}: only the detector {PAPER} has such options, not {name}")
    used = dtype if device.type == "cpu" else "float32"
    if name == WORLD:
        return WorldDetector.load(weights, max_regions=max_regions, dtype=used, device=device)
    check_has_weights(name, config.weights, "--weights")
    if name.startswith(PATCHES):
        choice = parse_backbone(name)
        return PatchDetector.load(choice, config.weights, max_regions=max_regions, dtype=used, device=device)
    assert weights is not None  # noqa: S101  # checked above
    if name != PAPER:
        return CocoDetector.load(name, weights, max_regions=max_regions, device=device)
    return X152.load(weights, config, device=device)


def check_has_weights(detector: str, weights: str, option: str) -> None:
    """Check that the weights of a detector are stated if the package does not have them. ``option``: that states them.

    Raises:
        TwelvefoldError: there are none; the message says what to do.
    """
    if weights or detector == WORLD:
        return
    if detector.startswith(PATCHES) and parse_backbone(detector).name == WORLD:
        return
    if detector.startswith(PATCHES):
        raise TwelvefoldError(
            f"{detector} needs weights: {option} FILE (timm's names), {option} {HUB} (download the weights that timm "
            f"publishes for it) or {option} {RANDOM} (untrained, for tests; see docs/patches.md)"
        )
    raise TwelvefoldError(f"the detector {detector} needs its weight file: {option} FILE (see docs/detector.md)")
