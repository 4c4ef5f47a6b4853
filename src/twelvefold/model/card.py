"""What a model's folder says of the model beside its numbers: what it learnt from, by which eyes, how well it does.

``card.json`` lies beside ``model.json`` in checkpoints, run, hub and shipped folders; a folder without one (a
published file that was imported) has an empty card.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from twelvefold.schema import TwelvefoldError
from twelvefold.store import atomic_files

CARD = "card.json"
OWN = "world"
"""The detector of stores whose ``info`` names none: the package's own."""


class DetectorCard(msgspec.Struct, frozen=True, kw_only=True):
    """The detector whose regions a model learnt to read. ``digest``: of its weights (and settings)."""

    name: str
    digest: str
    feature_size: int
    max_regions: int | None = None
    arithmetic: str = "float32"

    @classmethod
    def of(cls, info: Mapping[str, Any], feature_size: int) -> DetectorCard | None:
        """What a region store's ``info`` says of its detector; None where its features were not made by us."""
        if "detector" not in info:
            return None
        return cls(
            name=info.get("detector_name", OWN),
            digest=info["detector"],
            feature_size=feature_size,
            max_regions=info.get("max_regions"),
            arithmetic=info.get("arithmetic", "float32"),
        )


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """name: of the recipe, or one that was given. trained_on: in words that end a sentence. made_from: digests of
    prepared examples and regions. scores: of test, percent, by task. temperatures: by task, fitted on val; a task
    that is not among them has 1."""

    name: str = ""
    trained_on: str = ""
    iterations: int = 0
    made_from: dict[str, str] = {}
    detector: DetectorCard | None = None
    scores: dict[str, float] = {}
    temperatures: dict[str, float] = {}


def read(folder: Path) -> Card:
    """The card of a model's folder; an empty one where there is none.

    Raises:
        TwelvefoldError: the file is broken.
    """
    path = folder / CARD
    try:
        return msgspec.json.decode(path.read_bytes(), type=Card)
    except FileNotFoundError:
        return Card()
    except (OSError, msgspec.DecodeError) as error:
        raise TwelvefoldError(f"{path} is no card of a model: {error}") from error


def write(folder: Path, card: Card) -> None:
    """Leave a card in a model's folder, atomically."""
    atomic_files.write_json(folder / CARD, msgspec.to_builtins(card))
