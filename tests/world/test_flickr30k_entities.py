"""The world's Flickr30k Entities: phrases of its captions, and boxes of the objects of its scenes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

import numpy as np

from twelvefold.datasets import load_dataset
from twelvefold.datasets.reading.records import BadRecords
from twelvefold.schema import ImageKey, Split

SPLITS: tuple[Split, ...] = get_args(Split)


def read(root: Path, task: str, split: Split, bad: BadRecords | None = None) -> Iterable[Any]:
    return load_dataset(task).read(root, split, bad=bad or BadRecords())


def test_phrases_are_in_flickrs_captions_and_have_the_boxes_of_the_objects(small_world: Path) -> None:
    """Also that the splits are Flickr30k's, and that a phrase about several objects has several boxes."""
    scenes = {
        key: each
        for each in map(json.loads, (small_world / "truth/scenes.jsonl").read_text().splitlines())
        for key in each["keys"]
    }
    captions: dict[ImageKey, list[str]] = {}
    for split in SPLITS:
        pairs = [example.pairs[0] for example in read(small_world, "flickr30k", split)]
        of_split: dict[ImageKey, list[str]] = {}
        for pair in pairs:
            of_split.setdefault(pair.image, []).append(pair.text)
        captions |= of_split
        examples = list(read(small_world, "flickr30k_entities", split))
        assert {example.pairs[0].image for example in examples} <= of_split.keys()
        lines = (small_world / f"flickr30k_entities/{split}.txt").read_text().split()
        assert [ImageKey("flickr30k", line) for line in lines] == list(of_split)
        for example in examples:
            [pair] = example.pairs
            number = int(example.id.split("-")[1])
            assert pair.text in captions[pair.image][number]
            things = [thing["box_px"] for thing in scenes[str(pair.image)]["things"]]
            for box in example.label.boxes_px:
                # whole pixels; the last one is inside the box
                distances = [max(map(abs, np.subtract(box, [x1, y1, x2 - 1, y2 - 1]))) for x1, y1, x2, y2 in things]
                assert min(distances) <= 1.0
        assert {example.question_type for example in examples} <= {"animals", "vehicles", "other"}
        assert split == "val" or any(len(example.label.boxes_px) > 1 for example in examples)


def test_phrases_of_the_background_have_no_box(small_world: Path) -> None:
    bad = BadRecords()
    assert list(read(small_world, "flickr30k_entities", "train", bad))
    [note] = bad.notes()
    assert "phrases of a whole scene without a box" in note
