"""The model card: what a model was trained on, with which detector, and its scores.

``card.json`` is next to ``model.json`` in checkpoints and in hub folders; an imported model has none, which reads as an
empty card.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from twelvefold.store import atomic_files

CARD = "card.json"
DEFAULT_DETECTOR = "world"
"""The detector of region stores whose ``info`` names none: the one that comes with the package."""


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


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """Content of ``card.json``.

    name: the recipe's, or the user's. trained_on: words that end a sentence. data_digests: of the prepared
    examples and the regions. scores: on test, in percent, by task. temperatures: by task, fitted on val; 1 for a task
    that is not listed.
    """

    name: str = ""
    trained_on: str = ""
    iterations: int = 0
    data_digests: dict[str, str] = msgspec.field(default_factory=dict, name="made_from")
    detector: DetectorCard | None = None
    scores: dict[str, float] = {}
    temperatures: dict[str, float] = {}


def read(folder: Path) -> Card:
    """Read the card of a model's folder; return an empty one if there is none.

    Raises:
        TwelvefoldError: the file is broken.
    """
    return atomic_files.read_optional(folder / CARD, Card, problem="is not a model card") or Card()


def write(folder: Path, card: Card) -> None:
    """Write a card to a model's folder, atomically."""
    atomic_files.write_json(folder / CARD, msgspec.to_builtins(card))
