"""Scenes: which things stand where in a picture, a function of (seed, index) alone.

Things come in pairs or alone. A thing that has a relation touches, covers or stands close to the earlier thing it
names, and nothing else; things without a relation between them keep a clear gap. So a relation said of a picture is
true exactly where the scene says so. The paper has photographs here (section 2.1).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np
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
"""Width, height: about 64,000 pixels each and multiples of 32, so that a detector needs no padding."""

LEAST_VISIBLE: Final = 0.68
"""A placement that would leave an earlier thing less than this share to see is refused."""

STREAM, CROWDED_STREAM = 1, 2
"""Second word of the random seed; other rooms of the world use other numbers, so that no two share numbers."""

CROWD: Final = 10
"""Things from which a scene is a crowd; GuessWhat's pictures have 3 to 20."""

_TILT, _MARGIN = 14, 3
_RELATIONS: tuple[Relation, ...] = ("next to", "on", "under", "in front of")
_SIZE_NAMES: tuple[Size, ...] = tuple(SIZES)


class Pose(NamedTuple):
    """Where and how a thing is drawn: x, y of its whole box, the long side asked for, degrees, mirrored or not.

    ``grain`` seeds what is random about its looks: the shade of its colour, the phase of its pattern.
    """

    x: int
    y: int
    long_px: int
    angle: int
    flip: bool
    grain: int


@dataclass(frozen=True, slots=True)
class SceneObject:
    """One thing in a picture.

    box_px: tight around the pixels that can be seen. whole_px: tight around the thing if nothing covered it.
    visible: share of its pixels that can be seen, 0..1. relation: what it is to the earlier thing of that index
    ("on", 2); ``under`` is the mirror of ``on``, the earlier thing then stands on this one.
    """

    category: str
    color: str
    size: Size
    pattern: Pattern
    drawing: int
    box_px: Box
    visible: float
    relation: tuple[Relation, int] | None
    whole_px: Box
    pose: Pose

    @property
    def sprite(self) -> Sprite:
        return sprite(self.category, self.drawing, self.pose.long_px, self.pose.angle, self.pose.flip)

    def same_looks(self, other: SceneObject) -> bool:
        """Whether words can't tell the two apart: the same kind, colour, size and pattern."""
        return (self.category, self.color, self.size, self.pattern) == (
            other.category,
            other.color,
            other.size,
            other.pattern,
        )


class Light(NamedTuple):
    """How the picture was taken: brightness factor, blur radius and noise in pixels and levels, JPEG quality."""

    brightness: float
    blur: float
    noise: float
    quality: int
    grain: int


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture before it is drawn. ``things`` in drawing order: later is nearer. ``horizon``: y of the ground's far
    edge in pixels, 0 where the ground is seen from above."""

    seed: int
    index: int
    width: int
    height: int
    background: str
    horizon: int
    light: Light
    objects: tuple[SceneObject, ...]


class _Plan(NamedTuple):
    """What a scene asks of its things: how many, and how likely each size is."""

    objects: int
    sizes: tuple[float, float, float]

    @property
    def gap_px(self) -> int:
        return clear_gap(self.objects)


def clear_gap(objects: int) -> int:
    """Pixels that things without a relation keep between them, in a scene of so many."""
    return 12 if objects < CROWD else 5


def make_scene(seed: int, index: int, *, crowded: bool = False) -> Scene:
    """The scene of picture ``index``: 3 to 9 things, six on average; 10 to 20, most of them small, when crowded.

    Raises: TwelvefoldError for a negative seed or index.
    """
    if seed < 0 or index < 0:
        raise TwelvefoldError(f"a scene needs a seed and an index of at least 0, got {seed} and {index}")
    rng = np.random.Generator(np.random.PCG64([seed, CROWDED_STREAM if crowded else STREAM, index]))
    width, height = SHAPES[rng.integers(len(SHAPES))]
    background = list(BACKGROUND_BY_NAME)[rng.integers(len(BACKGROUND_BY_NAME))]
    low, high = (0.26, 0.32) if crowded else (0.30, 0.48)
    horizon = round(height * rng.uniform(low, high)) if BACKGROUND_BY_NAME[background].horizon else 0
    if crowded:
        plan = _Plan(int(rng.integers(CROWD, 21)), (0.86, 0.12, 0.02))
    else:
        plan = _Plan(3 + int(rng.binomial(6, 0.5)), (0.38, 0.36, 0.26))
    scene = Scene(seed, index, width, height, background, horizon, _light(rng), ())
    while len(scene.objects) < plan.objects:
        scene = _add(scene, plan, rng) or _start_again(scene)
    return scene


def _start_again(scene: Scene) -> Scene:
    """No room for the next thing: clear the picture; the random stream goes on, so the next try is another."""
    return replace(scene, objects=())


def _light(rng: np.random.Generator) -> Light:
    return Light(
        brightness=round(float(rng.uniform(0.95, 1.05)), 3),
        blur=round(float(rng.uniform(0.4, 0.9)), 2) if rng.random() < 0.25 else 0.0,
        noise=round(float(rng.uniform(2, 7)), 1) if rng.random() < 0.5 else 0.0,
        quality=int(rng.integers(78, 94)),
        grain=int(rng.integers(2**31)),
    )


def _add(scene: Scene, plan: _Plan, rng: np.random.Generator) -> Scene | None:
    """The scene with one thing more, or None when a dozen tries found no room for one."""
    for attempt in range(12):
        obj = _new_object(scene, plan if attempt < 6 else plan._replace(sizes=(1.0, 0.0, 0.0)), rng)
        if obj is None:
            continue
        wanted: list[tuple[Relation, int] | None] = []
        if rng.random() < 0.55 and (base := _free_base(scene, rng)) is not None:
            # Another relation before none at all: a drawing is dear, a place is cheap.
            wanted += [(_RELATIONS[int(i)], base) for i in rng.permutation(len(_RELATIONS))]
        for relation in (*wanted, None):
            related = replace(obj, relation=relation)
            for x, y in _places(scene, related, rng, plan.gap_px):
                if (grown := settle(scene, moved(related, x, y), plan.gap_px)) is not None:
                    return grown
    return None


def _free_base(scene: Scene, rng: np.random.Generator) -> int | None:
    """An earlier thing that is in no relation yet."""
    taken = {obj.relation[1] for obj in scene.objects if obj.relation}
    free = [i for i, obj in enumerate(scene.objects) if obj.relation is None and i not in taken]
    return free[rng.integers(len(free))] if free else None


def _new_object(scene: Scene, plan: _Plan, rng: np.random.Generator) -> SceneObject | None:
    """A thing with everything but its place and relation, or None where it came out at no true size."""
    earlier = sorted({obj.category for obj in scene.objects})
    repeats = bool(earlier) and rng.random() < 0.30
    category = earlier[rng.integers(len(earlier))] if repeats else CATEGORIES[rng.integers(len(CATEGORIES))].name
    size = _SIZE_NAMES[int(rng.choice(3, p=plan.sizes))]
    pose = Pose(
        x=0,
        y=0,
        long_px=int(rng.integers(SIZES[size][0], SIZES[size][1] + 1)),
        angle=int(rng.integers(-_TILT, _TILT + 1)) if rng.random() < 0.5 else 0,
        flip=bool(rng.integers(2)),
        grain=int(rng.integers(2**31)),
    )
    obj = SceneObject(
        category=category,
        color=list(COLORS)[rng.integers(len(COLORS))],
        size=size,
        pattern="plain" if rng.random() < 0.5 else PATTERNS[1 + rng.integers(len(PATTERNS) - 1)],
        drawing=int(rng.integers(NUM_DRAWINGS)),
        box_px=(0.0, 0.0, 0.0, 0.0),
        visible=1.0,
        relation=None,
        whole_px=(0.0, 0.0, 0.0, 0.0),
        pose=pose,
    )
    return obj if size_is_true(obj) else None


def size_is_true(obj: SceneObject) -> bool:
    """Whether the long side of the drawing lies inside its size's range."""
    low, high = SIZES[obj.size]
    return low <= max(obj.sprite.width, obj.sprite.height) <= high


def moved(obj: SceneObject, x: int, y: int) -> SceneObject:
    """The thing, uncovered, with the corner of its whole box at x, y."""
    box = (float(x), float(y), float(x + obj.sprite.width), float(y + obj.sprite.height))
    return replace(obj, pose=obj.pose._replace(x=x, y=y), box_px=box, whole_px=box, visible=1.0)


def _places(scene: Scene, obj: SceneObject, rng: np.random.Generator, gap_px: int) -> NDArray[np.int64]:
    """(N, 2) x, y: corners that fit the frame, the ground and the relation, in random order."""
    width, height = obj.sprite.width, obj.sprite.height
    tries = 40 if obj.relation is None else 3
    if obj.relation is None:
        low, high = _MARGIN, scene.height - _MARGIN - height
        if not CATEGORY_BY_NAME[obj.category].flies:
            low = max(low, scene.horizon + 6 - height)
        xs = rng.integers(_MARGIN, max(_MARGIN + 1, scene.width - _MARGIN - width + 1), tries)
        ys = rng.integers(low, max(low + 1, high + 1), tries)
        places = np.stack([xs, ys], axis=1)
        return places[_clear(scene, places, width, height, gap_px)][:1]
    relation, base = obj.relation
    left, top, right, bottom = (int(edge) for edge in scene.objects[base].whole_px)
    middle = (left + right - width) // 2
    if relation == "next to":
        gaps, sides = rng.integers(2, 6, tries), rng.integers(2, size=tries)
        xs = np.where(sides == 0, right + gaps, left - gaps - width)
        ys = bottom - height + rng.integers(-2, 3, tries)
    elif relation == "in front of":
        slide = rng.uniform(0.35, 0.75, tries) * (width + right - left) / 2
        xs = middle + np.where(rng.integers(2, size=tries) == 0, slide, -slide).astype(np.int64)
        ys = bottom - height + (rng.uniform(0.08, 0.35, tries) * height).astype(np.int64)
    else:
        reach = max(1, min(width, right - left) // 4)  # each one's middle over the other
        xs = middle + rng.integers(-reach, reach + 1, tries)
        touch = rng.integers(2, 6, tries)
        ys = top - height + touch if relation == "on" else bottom - touch
    return np.stack([xs, ys], axis=1).astype(np.int64)


def _clear(scene: Scene, places: NDArray[np.int64], width: int, height: int, gap_px: int) -> NDArray[np.bool_]:
    """(N,): whether a box of that size at each place keeps ``gap_px`` from every thing of the scene."""
    others = np.array([obj.whole_px for obj in scene.objects], dtype=np.float64).reshape(-1, 4)
    left, top = places[:, :1], places[:, 1:]
    apart = np.maximum(
        np.maximum(others[:, 0] - (left + width), left - others[:, 2]),
        np.maximum(others[:, 1] - (top + height), top - others[:, 3]),
    )
    return np.asarray((apart >= gap_px).all(axis=1))


def settle(scene: Scene, obj: SceneObject, gap_px: int) -> Scene | None:
    """The scene with ``thing`` as its nearest, what it covers accounted for; None where the rules refuse it.

    The rules: inside the frame; standing on the ground, unless it flies or stands on something; ``gap_px`` away
    from all but the thing it relates to; that one still 68 % visible; ``in front of`` covers 5 % at least.
    """
    left, top, right, bottom = obj.whole_px
    inside = left >= _MARGIN and top >= _MARGIN
    inside &= right <= scene.width - _MARGIN and bottom <= scene.height - _MARGIN
    flies = CATEGORY_BY_NAME[obj.category].flies or (obj.relation is not None and obj.relation[0] == "on")
    base = obj.relation[1] if obj.relation else None
    others = replace(scene, objects=tuple(t for i, t in enumerate(scene.objects) if i != base))
    place = np.array([[obj.pose.x, obj.pose.y]])
    if not inside or (not flies and bottom < scene.horizon + 6):
        return None
    if not _clear(others, place, obj.sprite.width, obj.sprite.height, gap_px)[0]:
        return None
    objects = list(scene.objects)
    if obj.relation is not None and base is not None:
        under = covered(objects[base], obj)
        if under is None or (obj.relation[0] == "in front of" and under.visible > 0.95):
            return None
        objects[base] = under
    return replace(scene, objects=(*objects, obj))


def covered(base: SceneObject, nearer: SceneObject) -> SceneObject | None:
    """``base`` with what can be seen of it behind ``nearer``; None when that is too little."""
    left, top = nearer.pose.x - base.pose.x, nearer.pose.y - base.pose.y
    seen = base.sprite.solid.copy()
    height, width = seen.shape
    x1, x2 = max(0, left), min(width, left + nearer.sprite.width)
    y1, y2 = max(0, top), min(height, top + nearer.sprite.height)
    if x1 < x2 and y1 < y2:
        seen[y1:y2, x1:x2] &= ~nearer.sprite.solid[y1 - top : y2 - top, x1 - left : x2 - left]
    visible = float(seen.sum() / base.sprite.solid.sum())
    if visible < LEAST_VISIBLE:
        return None
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    x, y = base.pose.x, base.pose.y
    box = (float(x + columns[0]), float(y + rows[0]), float(x + columns[-1] + 1), float(y + rows[-1] + 1))
    return replace(base, box_px=box, visible=visible)
