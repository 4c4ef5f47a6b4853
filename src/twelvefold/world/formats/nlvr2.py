"""NLVR2's files: JSON lines under a ``.json`` name; statements about the four pairs of pictures of one set."""

from __future__ import annotations

from typing import Final

import numpy as np

from twelvefold.world.formats.official import AnnotationShard, Layout
from twelvefold.world.formats.source_image import URL, SourceImage
from twelvefold.world.sources import SET_SIZE, PlannedImage
from twelvefold.world.text.annotations import Statement
from twelvefold.world.text.nlvr2 import generate_statements

LAYOUTS: Final = tuple(Layout(f"nlvr2/{split}.json", "lines") for split in ("train", "dev", "test1"))

STATEMENTS: Final = {"train": 13, "dev": 12, "test1": 12}
"""About each set of four pairs."""


def image_name(picture: PlannedImage) -> str:
    """The picture's name without suffix: ``dev-850-0-img0`` is the left one of pair 0."""
    pair, side = divmod(picture.index % SET_SIZE, 2)
    return f"{picture.name}-{pair}-img{side}"


def write(views: list[SourceImage], shard: AnnotationShard) -> int:
    """The statements of one set of eight pictures; how many examples."""
    split, rng = views[0].split("nlvr2"), views[0].rng("nlvr2")
    pairs = [(left.scene, right.scene) for left, right in zip(views[::2], views[1::2], strict=True)]
    said = generate_statements(pairs, rng, STATEMENTS[split])
    for number, statement in enumerate(said):
        for pair, label in enumerate(statement.labels):
            shard.add(f"nlvr2/{split}.json", _record(views, statement, label, (pair, number), rng))
    return len(pairs) * len(said)


def _record(
    views: list[SourceImage], statement: Statement, label: bool, place: tuple[int, int], rng: np.random.Generator
) -> dict[str, object]:
    picture, split = views[0].picture, views[0].split("nlvr2")
    pair, sentence = place
    word = str(label)
    people = [str(person) for person in rng.choice(200, 5, replace=False)]
    record: dict[str, object] = {
        "validation": {people[0]: word},
        "sentence": statement.sentence,
        "left_url": f"{URL}/{picture.name}-{pair}-left.jpg",
        "writer": people[0],
        "label": word,
        "right_url": f"{URL}/{picture.name}-{pair}-right.jpg",
        "synset": statement.noun,
        "query": f"some {statement.noun}{picture.index}",
        "identifier": f"{picture.name}-{pair}-{sentence}",
    }
    if split == "train":
        record["directory"] = picture.index % 100
    else:
        record["extra_validations"] = dict.fromkeys(people[1:], word)
    return record
