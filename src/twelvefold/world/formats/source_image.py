"""One picture as one source shows it: what every format module starts from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from twelvefold.schema import Box
from twelvefold.world.categories import CATEGORIES
from twelvefold.world.scene import Scene
from twelvefold.world.sources import TASKS, PlannedImage

_STREAM: Final = 401
MAX_OBJECTS: Final = 32
"""Ids of things are picture * 32 + place: a crowded scene has 20 things."""

CATEGORY_IDS: Final = {category.name: number for number, category in enumerate(CATEGORIES, start=1)}
"""COCO's category ids, the world's kinds in their order, starting at 1."""

URL: Final = "http://world.invalid"
"""Where the publishers name a web address, one under ``.invalid`` (RFC 2606) stands: no page was ever there."""


@dataclass(frozen=True, slots=True)
class SourceImage:
    """A picture of the plan with its scene in the pixels of the source that is written."""

    picture: PlannedImage
    scene: Scene
    seed: int

    def rng(self, task: str) -> np.random.Generator:
        """Random numbers of this picture and task alone, so that no task's language moves another's."""
        return np.random.default_rng([self.seed, _STREAM, TASKS.index(task), self.picture.index])

    def split(self, task: str) -> str:
        """The picture's split in that task, or an empty string."""
        return self.picture.roles.get(task, "")

    def object_id(self, place: int) -> int:
        """A number for the thing at ``place``, the same in every file of the world."""
        return self.picture.index * MAX_OBJECTS + place + 1

    def xywh(self, place: int) -> list[float]:
        """x, y, width, height of a thing in pixels."""
        x1, y1, x2, y2 = self.scene.objects[place].box_px
        return [_two(x1), _two(y1), _two(x2 - x1), _two(y2 - y1)]

    def whole_xywh(self, place: int) -> tuple[int, int, int, int]:
        """The same in whole pixels, inside the picture and at least one wide and high."""
        x1, y1, x2, y2 = self.scene.objects[place].box_px
        left, top = min(int(x1), self.scene.width - 1), min(int(y1), self.scene.height - 1)
        return left, top, max(1, round(x2) - left), max(1, round(y2) - top)


def how_many(source: SourceImage, task: str, *, train: int, tested: int, test: int, val: int | None = None) -> int:
    """Examples to ask for. Pictures that another task tests on carry about half as many in train, so that cleaning
    (paper, section 2.2) takes a share like the paper's although test sets are larger here."""
    split = source.split(task)
    if split.startswith("test"):
        return test
    if split in ("val", "valid", "dev", "minval") and val is not None:
        return val
    return tested if source.picture.tested else train


def coco_file(picture: PlannedImage) -> str:
    """``COCO_train2014_000000391895.jpg``."""
    return f"COCO_{picture.folder}_{picture.coco:012d}.jpg"


def polygon(box_px: Box) -> list[float]:
    """The outline of a box as COCO writes polygons: x1, y1, x2, y1, x2, y2, x1, y2."""
    x1, y1, x2, y2 = (_two(edge) for edge in box_px)
    return [x1, y1, x2, y1, x2, y2, x1, y2]


def _two(value: float) -> float:
    return round(float(value), 2)
