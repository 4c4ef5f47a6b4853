"""An untrained model for tasks of one's own, for tests of what the server and the page show of it."""

from __future__ import annotations

from pathlib import Path

from twelvefold.export.hub import SHIPPED
from twelvefold.model import Model, card
from twelvefold.model.card import Card, ScoreDetails, TrainingData
from twelvefold.schema import HeadSpec, TaskSpec

CLASSES = ("false", "unknown", "true")
PETS = TaskSpec("pets", "Pets", "verification", "pets", "accuracy", 32, 8, 2e-5, classes=CLASSES)
THREE = TaskSpec("three", "Three of a kind", "verification", "three", "accuracy", 32, 8, 2e-5, pairs_per_example=3)
TOOLS = TaskSpec("tools", "Tools", "grounding", "grounding", "accuracy", 32, 8, 2e-5)
HEADS = [
    HeadSpec("pets", "verification", CLASSES),
    HeadSpec("three", "verification", ("no", "yes"), pairs_per_example=3),
    HeadSpec("grounding", "grounding"),
]
DATA = TrainingData(folder="clinic", images=1234, examples={"pets": 3000, "tools": 2000}, recipe="vet")
TRAINED_ON = "5,000 examples of pets and tools about 1,234 images in the folder clinic (recipe vet)"


def save_own_model(folder: Path) -> Path:
    """Write the model to ``folder``, with a card that says what it was trained and scored on."""
    Model(Model.load(SHIPPED).config, [PETS, THREE, TOOLS], HEADS).save(folder)
    details = ScoreDetails(
        title="Pets", metric="accuracy", split="test", n=212, ci95=(65.0, 77.0), data="folder clinic"
    )
    own_card = Card(
        name="vet",
        trained_on=DATA.describe(),
        data=DATA,
        detector=card.read(SHIPPED).detector,
        scores={"pets": 71.2},
        score_details={"pets": details},
    )
    card.write(folder, own_card)
    return folder
