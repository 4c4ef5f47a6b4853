"""NLVR2's files: JSON lines under a ``.json`` name, with statements about the four image pairs of a set."""

from __future__ import annotations

from typing import Final

from twelvefold.world.formats.official import AnnotationShard, Layout
from twelvefold.world.formats.source_image import URL, SourceImage
from twelvefold.world.sources import SET_SIZE, PlannedImage
from twelvefold.world.text.nlvr2 import generate_statements

LAYOUTS: Final = tuple(Layout(f"nlvr2/{split}.json", "lines") for split in ("train", "dev", "test1"))

NUM_STATEMENTS: Final = {"train": 13, "dev": 12, "test1": 12}
"""Statements about each set of four pairs."""


def image_name(image: PlannedImage) -> str:
    """Return the name without suffix: ``dev-850-0-img0`` is the left image of pair 0."""
    pair, side = divmod(image.index % SET_SIZE, 2)
    return f"{image.name}-{pair}-img{side}"


def write(images: list[SourceImage], shard: AnnotationShard) -> int:
    """Add the statements about one set of eight images and return the number of examples."""
    planned, split, rng = images[0].planned, images[0].split("nlvr2"), images[0].rng("nlvr2")
    pairs = [(left.scene, right.scene) for left, right in zip(images[::2], images[1::2], strict=True)]
    statements = generate_statements(pairs, rng, NUM_STATEMENTS[split])
    for number, statement in enumerate(statements):
        for pair, label in enumerate(statement.labels):
            annotators = [str(annotator) for annotator in rng.choice(200, 5, replace=False)]
            record: dict[str, object] = {
                "validation": {annotators[0]: str(label)},
                "sentence": statement.sentence,
                "left_url": f"{URL}/{planned.name}-{pair}-left.jpg",
                "writer": annotators[0],
                "label": str(label),
                "right_url": f"{URL}/{planned.name}-{pair}-right.jpg",
                "synset": statement.noun,
                "query": f"some {statement.noun}{planned.index}",
                "identifier": f"{planned.name}-{pair}-{number}",
            }
            if split == "train":
                record["directory"] = planned.index % 100
            else:
                record["extra_validations"] = dict.fromkeys(annotators[1:], str(label))
            shard.add(f"nlvr2/{split}.json", record)
    return len(pairs) * len(statements)
