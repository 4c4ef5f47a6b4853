"""Settings of region extraction and of feature import, shared by recipes, the command line and Python."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from twelvefold.environment import check_device_name
from twelvefold.schema import TwelvefoldError, did_you_mean

WORLD = "world"
"""The package's own detector, for drawn images; the only one whose weights are included."""
PAPER = "x152"
DETECTORS = (
    WORLD,
    PAPER,
    "fasterrcnn_resnet50_fpn",
    "fasterrcnn_resnet50_fpn_v2",
    "fasterrcnn_mobilenet_v3_large_fpn",
    "fasterrcnn_mobilenet_v3_large_320_fpn",
)
"""The package's own detector, the paper's, and torchvision's with COCO weights. ``PATCHES`` begins further names."""
PATCHES = "patches:"
"""Start of the name of an image backbone whose feature map's cells are the regions: ``patches:resnet18,stride=16``."""
HUB, RANDOM = "hub", "random"
"""Weights of a backbone that are no file: timm's published ones, downloaded, and untrained ones (seed 0)."""

Fc6 = Literal["after_relu", "before_relu"]
"""Whether the paper's detector returns the outputs of ``fc6`` after or before its ReLU."""

BoxFormat = Literal["corners", "xywh", "unit"]
"""How a feature file stores boxes: corners in pixels; x, y, width, height in pixels; corners as image fractions.

The original project's extraction script expects corners where its notes say x, y, width, height: files of given boxes
that follow the notes hold the latter.
"""

FeatureFormat = Literal["auto", "lmdb", "mmf", "tsv", "vinvl", "npy", "npz", "hdf5"]
"""Formats of feature files. MMF's files are LMDBs and read as such: the content of a record shows its variant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractConfig:
    """Which detector finds regions in images, and how."""

    detector: str = WORLD
    """The detector: world (the package's own, for drawn images), x152 (the paper's), one of torchvision's with COCO
    weights (fasterrcnn_resnet50_fpn, ..._v2, fasterrcnn_mobilenet_v3_large_fpn, ..._320_fpn), or patches:NAME, the
    patches of an image backbone of timm without a detector (docs/patches.md)."""
    weights: str = ""
    """Path of the detector's weight file. Only the detector world has weights in the package, used by default. For
    patches also `hub`, to download the published weights, or `random`."""
    max_regions: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Detected regions kept per image, best first; of patches the largest number, larger grids are averaged. Default:
    16 for world, 100 for the others. The original project keeps 100."""
    min_regions: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """For x152: regions kept if fewer have a class probability above the confidence. Default: always max_regions, as
    in the original. The files of bottom-up attention have 10 to 100, with a confidence of 0.2."""
    confidence: Annotated[float, msgspec.Meta(ge=0.0, lt=1.0)] | None = None
    """For x152: class probability from which a region counts. Default: 0."""
    fc6: Fc6 | None = None
    """For x152: use features after the ReLU (default) or before it. Which one the published files hold is unknown."""
    device: str = "cpu"
    """Where the detector runs: cpu, cuda, cuda:1 or another device of PyTorch; auto means a GPU if there is one.
    Features of a GPU differ from a CPU's in the last digits. With several GPUs: torchrun --nproc-per-node 8 -m
    twelvefold extract ... --processes 1 --device cuda."""
    scale_boxes: bool = False
    """Scale the candidate boxes of images that are resized copies of those that the annotations describe; else such
    boxes are left out."""

    def __post_init__(self) -> None:
        check_detector_name(self.detector)
        check_device_name(self.device)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportConfig:
    """How a feature file of another project is read, and which part of it is stored."""

    format: FeatureFormat = "auto"
    """Format of the file, if it cannot be detected."""
    source: str = ""
    """Dataset of the images, if their names do not show it: coco, vg, gqa, visual7w, flickr30k, nlvr2, or your own."""
    given: bool = False
    """The file holds features of given boxes, not of detected ones; they go to the store `given`."""
    full: bool = False
    """Store float32 instead of float16, which takes twice the space."""
    class_probs: bool = False
    """Also store the detector's class probabilities, which pretraining needs."""
    boxes: BoxFormat | None = None
    """How the file stores boxes, if it differs from the format's default."""
    sizes: Path | None = None
    """Table of image sizes for VinVL's features, if there is none next to them."""
    match: Path | None = None
    """With --given: a data folder. Each candidate box of its tasks takes the features of the nearest box."""
    name: str = ""
    """Name of this import, if two files have the same name. Default: the file's name."""


@dataclass(frozen=True, slots=True)
class BackboneChoice:
    """The parts of ``patches:NAME,stride=16,size=256``.

    name: timm's name of the backbone. stride: of the feature map whose cells are the patches, in pixels of the resized
    image; None means the last map. size: the resized image has about ``size`` x ``size`` pixels; None means the size
    that the backbone was trained with.
    """

    name: str
    stride: int | None = None
    size: int | None = None


def parse_backbone(detector: str) -> BackboneChoice:
    """Parse the name of a detector that begins with ``patches:``.

    Raises:
        TwelvefoldError: the backbone's name is missing, or an option is unknown, repeated, or no positive integer.
    """
    name, *options = (part.strip() for part in detector.removeprefix(PATCHES).split(","))
    numbers: dict[str, int] = {}
    for option in options:
        key, _, value = option.partition("=")
        if key not in ("stride", "size") or key in numbers or not value.isdecimal() or not 1 <= int(value) <= 4096:
            raise TwelvefoldError(
                f"detector {detector!r}: expected patches:NAME, after commas optionally stride=16 and size=256 (1 to "
                f"4096, each once), got {option!r}"
            )
        numbers[key] = int(value)
    if not name:
        raise TwelvefoldError(f"detector {detector!r}: the name of a backbone is missing, as in patches:resnet18")
    return BackboneChoice(name, **numbers)


def check_detector_name(name: str, label: str = "detector") -> str:
    """Return ``name`` if there is such a detector; whether timm has a backbone is checked when it is loaded.

    ``label``: how the error calls the setting.

    Raises:
        TwelvefoldError: there is none.
    """
    if name.startswith(PATCHES):
        parse_backbone(name)
    elif name not in DETECTORS:
        moved = "; the path of a weight file is now [extract] weights" if label != "detector" else ""
        raise TwelvefoldError(
            f"{label} can't be {name!r}{did_you_mean(name, DETECTORS)}; choose one of {', '.join(DETECTORS)} or "
            f"patches:NAME{moved}"
        )
    return name
