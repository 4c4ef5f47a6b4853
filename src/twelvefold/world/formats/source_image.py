"""An image as a source shows it, with the ids and boxes that the official files contain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.random import Generator

from twelvefold.schema import Box
from twelvefold.world.categories import CATEGORIES
from twelvefold.world.scene import Scene
from twelvefold.world.sources import TASKS, VAL_SPLITS, PlannedImage, is_test

_SEED_STREAM: Final = 401
MAX_OBJECTS: Final = 32
"""An object's id is image index * 32 + object index + 1. A crowded scene has at most 20 objects."""

CATEGORY_IDS: Final = {category.name: id_ for id_, category in enumerate(CATEGORIES, start=1)}
"""COCO's category ids."""

URL: Final = "http://world.invalid"
"""Stands for every web address of the publishers. ``.invalid`` is reserved (RFC 2606)."""


class NumExamples(NamedTuple):
    """Examples to generate for an image: in train, in train if another task tests on it, in test, and in val.

    ``val`` None: as in train. Images that another task tests on have about half as many, so that cleaning (paper,
    section 2.2) removes a share like the paper's although the test sets are larger here.
    """

    train: int
    train_if_tested: int
    test: int
    val: int | None


NUM_EXAMPLES: Final = {
    "vqav2": NumExamples(15, 8, 9, None),
    "gqa": NumExamples(20, 10, 9, None),
    "vgqa": NumExamples(30, 15, 13, 13),
    "refcoco": NumExamples(4, 2, 4, 4),
    "refcoco+": NumExamples(4, 2, 5, 4),
    "refcocog": NumExamples(2, 1, 6, 5),
    "visual7w": NumExamples(10, 5, 8, 8),
    "guesswhat": NumExamples(7, 3, 8, 8),
    "snli_ve": NumExamples(16, 7, 13, 13),
}
"""The numbers of RefCOCO, RefCOCO+ and RefCOCOg are objects, each with several expressions."""


@dataclass(frozen=True, slots=True)
class SourceImage:
    """A planned image with its scene in the pixels of the source whose files are written."""

    planned: PlannedImage
    scene: Scene
    seed: int

    def rng(self, task: str) -> Generator:
        """Return the random generator of this image and task. No task changes the language of another one."""
        return np.random.default_rng([self.seed, _SEED_STREAM, TASKS.index(task), self.planned.index])

    def split(self, task: str) -> str:
        """Return the image's split in a task, or an empty string."""
        return self.planned.splits.get(task, "")

    def num_examples(self, task: str) -> int:
        """Return the number of examples to generate."""
        numbers, split = NUM_EXAMPLES[task], self.split(task)
        if is_test(split):
            return numbers.test
        if split in VAL_SPLITS and numbers.val is not None:
            return numbers.val
        return numbers.train_if_tested if self.planned.is_tested else numbers.train

    def object_id(self, index: int) -> int:
        """Return the id of an object, the same in every file of the world."""
        return self.planned.index * MAX_OBJECTS + index + 1

    def xywh(self, index: int) -> list[float]:
        """Return x, y, width and height of an object in pixels."""
        x1, y1, x2, y2 = self.scene.objects[index].box_px
        return [_round(x1), _round(y1), _round(x2 - x1), _round(y2 - y1)]

    def integer_xywh(self, index: int, keys: tuple[str, str, str, str]) -> dict[str, int]:
        """Return the box in whole pixels under the given keys, inside the image and at least one pixel large."""
        x1, y1, x2, y2 = self.scene.objects[index].box_px
        left, top = min(int(x1), self.scene.width - 1), min(int(y1), self.scene.height - 1)
        return dict(zip(keys, (left, top, max(1, round(x2) - left), max(1, round(y2) - top)), strict=True))


def file_info(description: str, date_created: str, *, version: str = "1.0", year: int = 2014) -> dict[str, object]:
    """Return ``info``, with which COCO's files and VQA's begin."""
    return {
        "description": description,
        "url": URL,
        "version": version,
        "year": year,
        "contributor": "twelvefold",
        "date_created": date_created,
    }


def coco_file(image: PlannedImage) -> str:
    """Return the COCO file name: ``COCO_train2014_000000391895.jpg``."""
    return f"COCO_{image.coco_folder}_{image.coco_id:012d}.jpg"


def polygon(box_px: Box) -> list[float]:
    """Return the outline of a box as a COCO polygon: x1, y1, x2, y1, x2, y2, x1, y2."""
    x1, y1, x2, y2 = (_round(edge) for edge in box_px)
    return [x1, y1, x2, y1, x2, y2, x1, y2]


def _round(value: float) -> float:
    return round(float(value), 2)
