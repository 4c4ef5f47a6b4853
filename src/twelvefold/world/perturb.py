"""The same scene with one object changed: images that look similar and are not duplicates.

NLVR2's statements about two images use them, and tests of the search for near-duplicates (section 2.2).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final, Literal, TypeVar, get_args

from numpy.random import Generator

from twelvefold.world.categories import CATEGORIES, CATEGORY_BY_NAME, COLORS, PATTERNS, SIZES
from twelvefold.world.scene import Scene, SceneObject, min_gap_px

Change = Literal["color", "pattern", "category", "size", "removed"]
CHANGES: Final[tuple[Change, ...]] = get_args(Change)

_ATTEMPTS = 6
T = TypeVar("T")


def perturb_scene(scene: Scene, rng: Generator, change: Change | None = None) -> Scene | None:
    """Return the scene with one object of another color, pattern, category or size, or removed.

    Background, light, noise and the other objects stay, except for what is visible behind the changed object and the
    indices in relations after a removed one. Seed and index are those of the original.

    Args:
        change: The change to make. A random one by default.

    Returns:
        The changed scene, or None where it has no room for the change.
    """
    changes = CHANGES if change is None else (change,)
    for i in rng.permutation(len(changes)):
        for index in rng.permutation(len(scene.objects)):
            variant = _perturb_object(scene, int(index), changes[int(i)], rng)
            if variant is not None:
                return variant
    return None


def _perturb_object(scene: Scene, index: int, change: Change, rng: Generator) -> Scene | None:
    obj = scene.objects[index]
    if change == "color":
        return scene.replace_object(index, replace(obj, color=_choose_other(COLORS, obj.color, rng)))
    if change == "pattern":
        return scene.replace_object(index, replace(obj, pattern=_choose_other(PATTERNS, obj.pattern, rng)))
    if scene.is_base(index):
        return None  # the position of another object depends on this one
    if change == "removed":
        return scene.remove_object(index) if len(scene.objects) > 1 else None
    for _ in range(_ATTEMPTS):
        new = _other_category(obj, rng) if change == "category" else _other_size(obj, rng)
        if new.has_valid_size() and (variant := _exchange(scene, index, new)) is not None:
            return variant
    return None


def _choose_other(options: Iterable[T], current: T, rng: Generator) -> T:
    others = [option for option in options if option != current]
    return others[rng.integers(len(others))]


def _other_category(obj: SceneObject, rng: Generator) -> SceneObject:
    """Return the object with another category that also stands, or also flies."""
    flies = CATEGORY_BY_NAME[obj.category].flies
    names = [category.name for category in CATEGORIES if category.flies == flies]
    return replace(obj, category=_choose_other(names, obj.category, rng))


def _other_size(obj: SceneObject, rng: Generator) -> SceneObject:
    size = _choose_other(SIZES, obj.size, rng)
    low, high = SIZES[size]
    return replace(obj, size=size, pose=obj.pose._replace(long_px=int(rng.integers(low, high + 1))))


def _exchange(scene: Scene, index: int, new: SceneObject) -> Scene | None:
    """Return the scene with ``new`` in place of an object, or None if the rules of a scene do not allow it."""
    x, y = _corner(scene, scene.objects[index], new)
    extended = scene.remove_object(index).add_object(new.move_to(x, y), min_gap_px(len(scene.objects)))
    if extended is None:
        return None
    variant = scene.replace_object(index, extended.objects[-1])
    if new.relation is None:
        return variant
    base = new.relation[1]  # comes before ``index``, so its index has not changed
    return variant.replace_object(base, extended.objects[base])


def _corner(scene: Scene, old: SceneObject, new: SceneObject) -> tuple[int, int]:
    """Return x, y with which ``new`` stands, hangs or touches as ``old`` did."""
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
