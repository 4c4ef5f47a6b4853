"""The same scene with one thing changed: pictures that look alike and are not the same.

Statements over two pictures (NLVR2) and the test that cleaning tells likeness from identity (section 2.2) need them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, Literal, get_args

import numpy as np

from twelvefold.world.categories import CATEGORIES, CATEGORY_BY_NAME, COLORS, PATTERNS, SIZES
from twelvefold.world.scene import Scene, SceneObject, clear_gap, moved, settle, size_is_true

Change = Literal["color", "pattern", "category", "size", "removed"]
CHANGES: Final[tuple[Change, ...]] = get_args(Change)

_TRIES = 6


def perturb_scene(scene: Scene, rng: np.random.Generator, what: Change | None = None) -> Scene | None:
    """The scene with exactly one thing of another colour, pattern, kind or size, or gone; ``what`` asks for one.

    All else stays: place, light, noise and the other things, except how much of a thing can be seen behind the
    changed one, and the places in ``things`` that relations name after one is gone. The variant has the seed and
    the index of its original. None where the scene has no room for the change.
    """
    changes = CHANGES if what is None else (what,)
    for change in rng.permutation(len(changes)):
        for index in rng.permutation(len(scene.objects)):
            variant = _vary_one(scene, int(index), changes[int(change)], rng)
            if variant is not None:
                return variant
    return None


def _vary_one(scene: Scene, index: int, change: Change, rng: np.random.Generator) -> Scene | None:
    obj = scene.objects[index]
    if change == "color":
        others = [color for color in COLORS if color != obj.color]
        return _with(scene, index, replace(obj, color=others[rng.integers(len(others))]))
    if change == "pattern":
        patterns = [pattern for pattern in PATTERNS if pattern != obj.pattern]
        return _with(scene, index, replace(obj, pattern=patterns[rng.integers(len(patterns))]))
    if any(other.relation is not None and other.relation[1] == index for other in scene.objects):
        return None  # another thing's place hangs on this one
    if change == "removed":
        return without(scene, index) if len(scene.objects) > 1 else None
    for _ in range(_TRIES):
        new = _other_category(obj, rng) if change == "category" else _other_size(obj, rng)
        if size_is_true(new) and (variant := _in_place(scene, index, new)) is not None:
            return variant
    return None


def without(scene: Scene, index: int) -> Scene:
    """The scene without one thing that no other relates to; what it covered can be seen again."""
    gone = scene.objects[index]
    objects = list(scene.objects)
    if gone.relation is not None:
        base = gone.relation[1]
        objects[base] = moved(objects[base], objects[base].pose.x, objects[base].pose.y)
    del objects[index]
    for i, obj in enumerate(objects):
        if obj.relation is not None and obj.relation[1] > index:
            objects[i] = replace(obj, relation=(obj.relation[0], obj.relation[1] - 1))
    return replace(scene, objects=tuple(objects))


def _with(scene: Scene, index: int, obj: SceneObject) -> Scene:
    return replace(scene, objects=(*scene.objects[:index], obj, *scene.objects[index + 1 :]))


def _other_category(obj: SceneObject, rng: np.random.Generator) -> SceneObject:
    """Another kind that stands, or flies, where this one does."""
    flies = CATEGORY_BY_NAME[obj.category].flies
    categories = [category.name for category in CATEGORIES if category.flies == flies and category.name != obj.category]
    return replace(obj, category=categories[rng.integers(len(categories))])


def _other_size(obj: SceneObject, rng: np.random.Generator) -> SceneObject:
    sizes = [size for size in SIZES if size != obj.size]
    size = sizes[rng.integers(len(sizes))]
    low, high = SIZES[size]
    return replace(obj, size=size, pose=obj.pose._replace(long_px=int(rng.integers(low, high + 1))))


def _in_place(scene: Scene, index: int, new: SceneObject) -> Scene | None:
    """The scene with thing ``index`` replaced by ``new`` where it stood, if the rules of a scene allow it."""
    x, y = _corner(scene, scene.objects[index], new)
    settled = settle(without(scene, index), moved(new, x, y), clear_gap(len(scene.objects)))
    if settled is None:
        return None
    variant = _with(scene, index, settled.objects[-1])
    if new.relation is None:
        return variant
    base = new.relation[1]  # earlier than ``index``, so it has kept its place in the list
    return _with(variant, base, settled.objects[base])


def _corner(scene: Scene, old: SceneObject, new: SceneObject) -> tuple[int, int]:
    """Where the corner of ``new`` goes so that it stands, hangs or touches as ``old`` did."""
    left, top, right, bottom = (int(edge) for edge in old.whole_px)
    x = (left + right - new.sprite.width) // 2
    y = bottom - new.sprite.height
    if old.relation is None:
        return x, y
    relation, base = old.relation[0], scene.objects[old.relation[1]].whole_px
    if relation == "next to":
        x = left if left >= base[2] else right - new.sprite.width
    elif relation != "in front of":
        y = top if relation == "under" else y
        middle = int(base[0] + base[2] - new.sprite.width) // 2
        reach = int(min(new.sprite.width, base[2] - base[0])) // 4
        x = min(max(x, middle - reach), middle + reach)
    return x, y
