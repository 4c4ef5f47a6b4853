"""The model card: what a model was trained on, with which detector, and its scores.

``card.json`` is next to ``model.json`` in checkpoints and in hub folders; an imported model has none, which reads as an
empty card.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from twelvefold.config.extract import PATCHES
from twelvefold.store import atomic_files

CARD = "card.json"
DEFAULT_DETECTOR = "world"
"""The detector of region stores whose ``info`` names none: the one that comes with the package."""
MAX_TASKS = 4
"""Tasks that a sentence about the training data names; of more it states the number."""
DRAWN_DATA = "It was trained on drawn images like the samples. Its answers about photographs are guesses."
DRAWN_DETECTOR = (
    "Its regions come from the detector that ships with the package, which was trained on drawn images and knows "
    "nothing about photographs."
)
PATCH_REGIONS = (
    "Its regions are patches of a grid instead of detected objects: they have no names, and where no candidate boxes "
    "are given it points at a patch."
)


class DetectorCard(msgspec.Struct, frozen=True, kw_only=True):
    """The detector whose regions a model was trained on. ``digest``: of its weights and settings."""

    name: str
    digest: str
    feature_size: int
    max_regions: int | None = None
    arithmetic: str = "float32"

    @classmethod
    def from_store_info(cls, info: Mapping[str, Any], feature_size: int) -> DetectorCard | None:
        """Return the detector of a region store from its ``info``; None if its features were imported."""
        if "detector" not in info:
            return None
        return cls(
            name=info.get("detector_name", DEFAULT_DETECTOR),
            digest=info["detector"],
            feature_size=feature_size,
            max_regions=info.get("max_regions"),
            arithmetic=info.get("arithmetic", "float32"),
        )


class TrainingData(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The data that a model was trained on, as far as known.

    folder: name of the data folder. images: distinct images of the training examples. examples: by task; ``captions``
    says that they are captions for pretraining. recipe: its name. initial: the model whose weights training started
    from. world_seed: of a drawn world; None for other data. cleaning: name of the policy that removed test images;
    ``none`` for full data, empty if unknown.
    """

    folder: str = ""
    images: int = 0
    examples: dict[str, int] = {}
    captions: bool = False
    recipe: str = ""
    initial: str = ""
    world_seed: int | None = None
    cleaning: str = ""

    def describe(self) -> str:
        """Return words that end a sentence about the training data; empty if nothing is known."""
        if not self.examples:
            return ""
        names = list(self.examples)
        tasks = " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
        tasks = tasks if len(names) <= MAX_TASKS else f"{len(names)} tasks"
        drawn = "" if self.world_seed is None else f" of a drawn world (seed {self.world_seed})"
        parts = [
            f"{sum(self.examples.values()):,} {'captions' if self.captions else 'examples'} of {tasks}",
            f"about {self.images:,} images{drawn}" if self.images else "",
            f"in the folder {self.folder}" if self.folder and self.world_seed is None else "",
            f"(recipe {self.recipe})" if self.recipe else "",
            {"": "", "none": "without cleaning"}.get(self.cleaning, f"cleaned by the policy {self.cleaning}"),
            f"starting from the weights of {self.initial}" if self.initial else "",
        ]
        return " ".join(filter(None, parts))


class ScoreDetails(msgspec.Struct, frozen=True, kw_only=True):
    """What a test score was measured on.

    title: of the task. n: number of examples. ci95: in percent; None without a score. unlabeled: examples whose labels
    are withheld. data: the data folder in words, empty if unknown. drawn: the test set is of a drawn world, in the
    dataset's format.
    """

    title: str
    metric: str
    split: str
    n: int
    ci95: tuple[float, float] | None
    unlabeled: int = 0
    data: str = ""
    drawn: bool = False


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """How a task's temperature was fitted on one half of val and checked on the other.

    temperature: the fitted one. kept: whether it is used, because it helped on the other half. seed: of the split of
    the images into halves. n_fit, n_check: examples of the halves. error, error_raw: expected calibration error on the
    other half in points, with the temperature and without it.
    """

    temperature: float
    kept: bool
    seed: int
    n_fit: int
    n_check: int
    error: float | None
    error_raw: float | None


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """Content of ``card.json``.

    name: the recipe's, or the user's. trained_on: words that end a sentence. data: the same in parts; None if unknown.
    license: of the weights, as the author stated it; empty if not. data_digests: of the prepared examples and the
    regions. scores: on test, in percent, by task, None where the labels are withheld; score_details: what they were
    measured on. temperatures: by task; 1 for a task that is not listed. calibrations: how they were fitted, also where
    none was kept.
    """

    name: str = ""
    trained_on: str = ""
    data: TrainingData | None = None
    license: str = ""
    iterations: int = 0
    data_digests: dict[str, str] = msgspec.field(default_factory=dict, name="made_from")
    detector: DetectorCard | None = None
    scores: dict[str, float | None] = {}
    score_details: dict[str, ScoreDetails] = {}
    temperatures: dict[str, float] = {}
    calibrations: dict[str, Calibration] = {}

    @property
    def limitations(self) -> list[str]:
        """Return sentences on what the model was not made for."""
        drawn = self.data is not None and self.data.world_seed is not None
        sentences = []
        if drawn:
            sentences.append(DRAWN_DATA)
        elif self.detector is not None and self.detector.name == DEFAULT_DETECTOR:
            sentences.append(DRAWN_DETECTOR)
        if self.detector is not None and self.detector.name.startswith(PATCHES):
            sentences.append(PATCH_REGIONS)
        if names := [name for name, each in self.calibrations.items() if not each.n_fit]:
            sentences.append(f"Confidence is not calibrated for {', '.join(names)}: no validation label is known.")
        if names := [name for name, each in self.calibrations.items() if each.n_fit and not each.kept]:
            sentences.append(
                f"Confidence in {', '.join(names)} is the model's own probability: a fitted temperature did not "
                "improve it on the other half of the validation images."
            )
        return sentences


def read(folder: Path) -> Card:
    """Read the card of a model's folder; return an empty one if there is none.

    Raises:
        TwelvefoldError: the file is broken.
    """
    return atomic_files.read_optional(folder / CARD, Card, problem="is not a model card") or Card()


def write(folder: Path, card: Card) -> None:
    """Write a card to a model's folder, atomically."""
    atomic_files.write_json(folder / CARD, msgspec.to_builtins(card))
