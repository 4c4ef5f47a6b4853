"""Scenes: the objects of an image and their boxes, a function of (seed, index).

An object with a relation touches, covers or stands next to an earlier object and no other one. Objects without a
relation keep a gap. So a relation is true of an image exactly where the scene states it. Replaces the paper's
photographs (section 2.1).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from twelvefold.schema import Box, TwelvefoldError
from twelvefold.world.categories import (
    BACKGROUND_BY_NAME,
    CATEGORIES,
    CATEGORY_BY_NAME,
    COLORS,
    NUM_DRAWINGS,
    PATTERNS,
    SIZES,
    Pattern,
    Relation,
    Size,
)
from twelvefold.world.glyphs import Sprite, sprite

SHAPES: Final = ((288, 224), (224, 288), (256, 256))
"""Width, height: about 64,000 pixels each, and multiples of 32, so that a detector needs no padding."""

MIN_VISIBLE: Final = 0.68
"""At least this share of every object is visible."""

SEED_STREAM, CROWDED_SEED_STREAM = 1, 2
"""Second word of the random seed. Other modules of the world use other numbers."""

MIN_CROWD: Final = 10
"""Objects from which a scene is crowded. GuessWhat's images have 3 to 20."""

GAP_PX, CROWDED_GAP_PX = 12, 5
"""Gap between objects without a relation."""

_MAX_ANGLE, _MARGIN_PX, _GROUND_PX = 14, 3, 6
_RELATIONS: tuple[Relation, ...] = ("next to", "on", "under", "in front of")
_SIZES: tuple[Size, ...] = tuple(SIZES)


class Pose(NamedTuple):
    """How an object is drawn: x, y of its whole box, the requested long side, degrees, and whether it is mirrored.

    ``grain`` seeds the shade of its color and the phase of its pattern.
    """

    x: int
    y: int
    long_px: int
    angle: int
    flip: bool
    grain: int


@dataclass(frozen=True, slots=True)
class SceneObject:
    """An object of a scene.

    ``box_px`` is tight around the visible pixels, ``whole_px`` around all pixels. ``visible`` is the visible share of
    the pixels. ``relation`` is (name, index of an earlier object). ``under`` is the inverse of ``on``: the earlier
    object stands on this one.
    """

    category: str
    color: str
    size: Size
    pattern: Pattern
    drawing: int
    pose: Pose
    relation: tuple[Relation, int] | None = None
    box_px: Box = (0.0, 0.0, 0.0, 0.0)
    whole_px: Box = (0.0, 0.0, 0.0, 0.0)
    visible: float = 1.0

    @property
    def sprite(self) -> Sprite:
        """The drawing at its size and angle."""
        return sprite(self.category, self.drawing, self.pose.long_px, self.pose.angle, self.pose.flip)

    def has_valid_size(self) -> bool:
        """Return whether the long side of the drawing is in the range of the object's size."""
        low, high = SIZES[self.size]
        return low <= max(self.sprite.width, self.sprite.height) <= high

    def move_to(self, x: int, y: int) -> SceneObject:
        """Return the object, uncovered, with the corner of its whole box at x, y."""
        box = (float(x), float(y), float(x + self.sprite.width), float(y + self.sprite.height))
        return replace(self, pose=self.pose._replace(x=x, y=y), box_px=box, whole_px=box, visible=1.0)


class Light(NamedTuple):
    """Brightness factor, blur radius in pixels, noise in gray levels, JPEG quality, and the seed of the noise."""

    brightness: float
    blur: float
    noise: float
    quality: int
    grain: int


@dataclass(frozen=True, slots=True)
class Scene:
    """An image before it is drawn.

    ``objects`` are in drawing order, the nearest last. ``horizon``: y of the far edge of the ground in pixels, 0 where
    the scene is seen from above.
    """

    seed: int
    index: int
    width: int
    height: int
    background: str
    horizon: int
    light: Light
    objects: tuple[SceneObject, ...]

    def add_object(self, obj: SceneObject, gap_px: int) -> Scene | None:
        """Return the scene with ``obj`` as the nearest object, or None if the rules do not allow it.

        The rules: it is inside the image; it stands on the ground unless it flies or is on another object; it is
        ``gap_px`` away from all objects except the related one, which stays 68 % visible; ``in front of`` covers 5 %.
        """
        left, top, right, bottom = obj.whole_px
        inside = left >= _MARGIN_PX and top >= _MARGIN_PX
        inside &= right <= self.width - _MARGIN_PX and bottom <= self.height - _MARGIN_PX
        relation, base = obj.relation or ("", None)
        floats = CATEGORY_BY_NAME[obj.category].flies or relation == "on"
        if not inside or (not floats and bottom < self.horizon + _GROUND_PX):
            return None
        others = replace(self, objects=tuple(other for i, other in enumerate(self.objects) if i != base))
        corner = np.array([[obj.pose.x, obj.pose.y]])
        if not _keeps_gap(others, corner, obj.sprite.width, obj.sprite.height, gap_px)[0]:
            return None
        objects = list(self.objects)
        if base is not None:
            covered = _cover(objects[base], obj)
            if covered is None or (relation == "in front of" and covered.visible > 0.95):
                return None
            objects[base] = covered
        return replace(self, objects=(*objects, obj))

    def replace_object(self, index: int, obj: SceneObject) -> Scene:
        """Return the scene with another object at ``index``."""
        return replace(self, objects=(*self.objects[:index], obj, *self.objects[index + 1 :]))

    def is_base(self, index: int) -> bool:
        """Return whether another object has a relation to this one."""
        return any(obj.relation is not None and obj.relation[1] == index for obj in self.objects)

    def remove_object(self, index: int) -> Scene:
        """Return the scene without an object that no other one is related to. What it covered becomes visible."""
        removed = self.objects[index]
        objects = list(self.objects)
        if removed.relation is not None:
            base = removed.relation[1]
            objects[base] = objects[base].move_to(objects[base].pose.x, objects[base].pose.y)
        del objects[index]
        for i, obj in enumerate(objects):
            if obj.relation is not None and obj.relation[1] > index:
                objects[i] = replace(obj, relation=(obj.relation[0], obj.relation[1] - 1))
        return replace(self, objects=tuple(objects))


def _cover(obj: SceneObject, nearer: SceneObject) -> SceneObject | None:
    """Return ``obj`` with the box that is visible behind ``nearer``, or None if too little is visible."""
    left, top = nearer.pose.x - obj.pose.x, nearer.pose.y - obj.pose.y
    visible = obj.sprite.solid.copy()
    height, width = visible.shape
    x1, x2 = max(0, left), min(width, left + nearer.sprite.width)
    y1, y2 = max(0, top), min(height, top + nearer.sprite.height)
    if x1 < x2 and y1 < y2:
        visible[y1:y2, x1:x2] &= ~nearer.sprite.solid[y1 - top : y2 - top, x1 - left : x2 - left]
    share = float(visible.sum() / obj.sprite.solid.sum())
    if share < MIN_VISIBLE:
        return None
    rows, columns = np.flatnonzero(visible.any(axis=1)), np.flatnonzero(visible.any(axis=0))
    x, y = obj.pose.x, obj.pose.y
    box = (float(x + columns[0]), float(y + rows[0]), float(x + columns[-1] + 1), float(y + rows[-1] + 1))
    return replace(obj, box_px=box, visible=share)


def _keeps_gap(scene: Scene, corners: NDArray[np.int64], width: int, height: int, gap_px: int) -> NDArray[np.bool_]:
    """Return (N,): whether a box of that size at each corner is ``gap_px`` away from every object."""
    others = np.array([obj.whole_px for obj in scene.objects], dtype=np.float64).reshape(-1, 4)
    left, top = corners[:, :1], corners[:, 1:]
    distance = np.maximum(
        np.maximum(others[:, 0] - (left + width), left - others[:, 2]),
        np.maximum(others[:, 1] - (top + height), top - others[:, 3]),
    )
    return np.asarray((distance >= gap_px).all(axis=1))


def min_gap_px(num_objects: int) -> int:
    """Return the gap between objects without a relation, in a scene of so many objects."""
    return GAP_PX if num_objects < MIN_CROWD else CROWDED_GAP_PX


def make_scene(seed: int, index: int, *, crowded: bool = False) -> Scene:
    """Return a scene with 3 to 9 objects, six on average, or 10 to 20 mostly small ones if crowded.

    Raises:
        TwelvefoldError: The seed or the index is negative.
    """
    if seed < 0 or index < 0:
        raise TwelvefoldError(f"a scene needs a seed and an index of at least 0, got {seed} and {index}")
    rng = np.random.Generator(np.random.PCG64([seed, CROWDED_SEED_STREAM if crowded else SEED_STREAM, index]))
    width, height = SHAPES[rng.integers(len(SHAPES))]
    background = list(BACKGROUND_BY_NAME)[rng.integers(len(BACKGROUND_BY_NAME))]
    low, high = (0.26, 0.32) if crowded else (0.30, 0.48)
    horizon = round(height * rng.uniform(low, high)) if BACKGROUND_BY_NAME[background].horizon else 0
    num_objects = int(rng.integers(MIN_CROWD, 21)) if crowded else 3 + int(rng.binomial(6, 0.5))
    size_probabilities = (0.86, 0.12, 0.02) if crowded else (0.38, 0.36, 0.26)
    scene = Scene(seed, index, width, height, background, horizon, _sample_light(rng), ())
    while len(scene.objects) < num_objects:
        # Without room for the next object, start again with the following random numbers.
        extended = _add_random_object(scene, size_probabilities, min_gap_px(num_objects), rng)
        scene = extended or replace(scene, objects=())
    return scene


def _sample_light(rng: Generator) -> Light:
    return Light(
        brightness=round(float(rng.uniform(0.95, 1.05)), 3),
        blur=round(float(rng.uniform(0.4, 0.9)), 2) if rng.random() < 0.25 else 0.0,
        noise=round(float(rng.uniform(2, 7)), 1) if rng.random() < 0.5 else 0.0,
        quality=int(rng.integers(78, 94)),
        grain=int(rng.integers(2**31)),
    )


def _add_random_object(
    scene: Scene, size_probabilities: tuple[float, float, float], gap_px: int, rng: Generator
) -> Scene | None:
    """Return the scene with one more object, or None if twelve attempts find no room. The last six are small."""
    for attempt in range(12):
        obj = _sample_object(scene, size_probabilities if attempt < 6 else (1.0, 0.0, 0.0), rng)
        if obj is None:
            continue
        relations: list[tuple[Relation, int] | None] = []
        if rng.random() < 0.55 and (base := _sample_unrelated(scene, rng)) is not None:
            # Try every relation before none: a new drawing is expensive, a new position is not.
            relations += [(_RELATIONS[int(i)], base) for i in rng.permutation(len(_RELATIONS))]
        for relation in (*relations, None):
            related = replace(obj, relation=relation)
            for x, y in _sample_corners(scene, related, rng, gap_px):
                if (extended := scene.add_object(related.move_to(x, y), gap_px)) is not None:
                    return extended
    return None


def _sample_unrelated(scene: Scene, rng: Generator) -> int | None:
    """Return a random object without a relation."""
    bases = {obj.relation[1] for obj in scene.objects if obj.relation}
    free = [i for i, obj in enumerate(scene.objects) if obj.relation is None and i not in bases]
    return free[rng.integers(len(free))] if free else None


def _sample_object(scene: Scene, size_probabilities: tuple[float, float, float], rng: Generator) -> SceneObject | None:
    """Return an object without position and relation, or None if its drawing does not have the size."""
    earlier = sorted({obj.category for obj in scene.objects})
    repeats = bool(earlier) and rng.random() < 0.30
    category = earlier[rng.integers(len(earlier))] if repeats else CATEGORIES[rng.integers(len(CATEGORIES))].name
    size = _SIZES[int(rng.choice(3, p=size_probabilities))]
    pose = Pose(
        x=0,
        y=0,
        long_px=int(rng.integers(SIZES[size][0], SIZES[size][1] + 1)),
        angle=int(rng.integers(-_MAX_ANGLE, _MAX_ANGLE + 1)) if rng.random() < 0.5 else 0,
        flip=bool(rng.integers(2)),
        grain=int(rng.integers(2**31)),
    )
    obj = SceneObject(
        category=category,
        color=list(COLORS)[rng.integers(len(COLORS))],
        size=size,
        pattern="plain" if rng.random() < 0.5 else PATTERNS[1 + rng.integers(len(PATTERNS) - 1)],
        drawing=int(rng.integers(NUM_DRAWINGS)),
        pose=pose,
    )
    return obj if obj.has_valid_size() else None


def _sample_corners(scene: Scene, obj: SceneObject, rng: Generator, gap_px: int) -> NDArray[np.int64]:
    """Return (N, 2) x, y: corners that suit the image, the ground and the relation."""
    width, height = obj.sprite.width, obj.sprite.height
    if obj.relation is None:
        num_corners = 40
        low, high = _MARGIN_PX, scene.height - _MARGIN_PX - height
        if not CATEGORY_BY_NAME[obj.category].flies:
            low = max(low, scene.horizon + _GROUND_PX - height)
        xs = rng.integers(_MARGIN_PX, max(_MARGIN_PX + 1, scene.width - _MARGIN_PX - width + 1), num_corners)
        ys = rng.integers(low, max(low + 1, high + 1), num_corners)
        corners = np.stack([xs, ys], axis=1)
        return corners[_keeps_gap(scene, corners, width, height, gap_px)][:1]
    num_corners = 3
    relation, base = obj.relation
    left, top, right, bottom = (int(edge) for edge in scene.objects[base].whole_px)
    middle = (left + right - width) // 2
    if relation == "next to":
        gaps, sides = rng.integers(2, 6, num_corners), rng.integers(2, size=num_corners)
        xs = np.where(sides == 0, right + gaps, left - gaps - width)
        ys = bottom - height + rng.integers(-2, 3, num_corners)
    elif relation == "in front of":
        shift = rng.uniform(0.35, 0.75, num_corners) * (width + right - left) / 2
        xs = middle + np.where(rng.integers(2, size=num_corners) == 0, shift, -shift).astype(np.int64)
        ys = bottom - height + (rng.uniform(0.08, 0.35, num_corners) * height).astype(np.int64)
    else:
        reach = max(1, min(width, right - left) // 4)  # the middle of each object is over the other one
        xs = middle + rng.integers(-reach, reach + 1, num_corners)
        overlap = rng.integers(2, 6, num_corners)
        ys = top - height + overlap if relation == "on" else bottom - overlap
    return np.stack([xs, ys], axis=1).astype(np.int64)
