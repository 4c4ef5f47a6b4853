"""Load a detector by name: the package's own, the paper's, or one of torchvision's. Paper: section 3, image regions."""

from __future__ import annotations

from pathlib import Path

import torch

from twelvefold.detectors.interface import CPU, RegionDetector
from twelvefold.detectors.torchvision_coco import BATCH_NORM_EPS, CocoDetector
from twelvefold.detectors.world_detector import detector as world_detector
from twelvefold.detectors.world_detector.detector import ComputeDtype, WorldDetector
from twelvefold.detectors.x152 import detector as x152_detector
from twelvefold.detectors.x152.detector import X152, Fc6
from twelvefold.schema import TwelvefoldError, did_you_mean

WORLD = "world"
"""The package's own detector, the only one whose weights are included."""
PAPER = "x152"
DETECTORS = (WORLD, PAPER, *BATCH_NORM_EPS)


def load_detector(
    name: str,
    weights: Path | None,
    *,
    max_regions: int | None = None,
    min_regions: int | None = None,
    confidence: float | None = None,
    fc6: Fc6 | None = None,
    dtype: ComputeDtype = "float32",
    device: torch.device = CPU,
) -> RegionDetector:
    """Load the detector ``name`` with the weights in a file.

    ``max_regions``: None means the detector's default. ``min_regions``, ``confidence`` and ``fc6`` are options of the
    paper's detector (:class:`twelvefold.detectors.x152.detector.X152`); None means its default. ``dtype`` applies
    to the package's own detector on a CPU; everything else computes in float32.

    Raises:
        TwelvefoldError: an unknown name, a missing or unsuitable weight file, or an option the detector does not have.
    """
    if name not in DETECTORS:
        raise TwelvefoldError(f"no detector {name!r}{did_you_mean(name, DETECTORS)}; there are {', '.join(DETECTORS)}")
    options = {"min_regions": min_regions, "confidence": confidence, "fc6": fc6}
    chosen = [option for option, value in options.items() if value is not None]
    if chosen and name != PAPER:
        raise TwelvefoldError(f"{' and '.join(chosen)}: only the detector {PAPER} has such options, not {name}")
    if name == WORLD:
        used = dtype if device.type == "cpu" else "float32"
        limit = max_regions or world_detector.MAX_REGIONS
        return WorldDetector.load(weights, max_regions=limit, dtype=used, device=device)
    if weights is None:
        raise TwelvefoldError(f"the detector {name} needs its weight file: --weights FILE (see docs/detector.md)")
    limit = x152_detector.MAX_REGIONS if max_regions is None else max_regions  # torchvision's default is the same
    if name != PAPER:
        return CocoDetector.load(name, weights, max_regions=limit, device=device)
    return X152.load(
        weights,
        max_regions=limit,
        min_regions=min_regions,
        confidence=confidence or 0.0,
        fc6=fc6 or "after_relu",
        device=device,
    )
