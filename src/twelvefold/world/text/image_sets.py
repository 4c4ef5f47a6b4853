"""NLVR2's picture sets: four pairs of pictures that differ in a few things, so that one sentence splits them.

A set turns on one kind and two colours. Pairs 0 and 1 share one picture, pairs 2 and 3 another; the pictures on the
other side are twins, one scene with some things exchanged or dyed. So a sentence true of one pair and false of its
twin differs from it in little more than what the sentence says. Paper: section 2.1, G4; ``Differs:`` NLVR2's writers
were shown four pairs found by image search, which share no picture.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from twelvefold.schema import TwelvefoldError
from twelvefold.world.categories import CATEGORIES, COLORS, NUM_DRAWINGS
from twelvefold.world.scene import Scene, SceneObject, make_scene, moved, settle, size_is_true
from twelvefold.world.text.lexicon import bernoulli, choice, shuffled

STREAM: Final = 21
"""Second word of the random seed of a set (``world/scene.py`` uses 1 and 2)."""
FIRST_INDEX: Final = 1 << 40
"""The sets' scenes start here, beyond the index of any other picture of a world."""
GAP_PX: Final = 12
"""Clear gap to everything else, as ``make_scene`` keeps it in a picture that is not crowded."""
SHARED_HOLD: Final = (0, 1, 1, 1, 2)
"""How many things of the set's kind a shared picture gets, drawn from these; twins get two different numbers."""


def make_image_set(seed: int, index: int) -> tuple[tuple[Scene, Scene], ...]:
    """The four (left, right) pictures of set ``index``; pairs 0 and 1 are twins, and so are 2 and 3.

    Raises: TwelvefoldError for a negative seed or index.
    """
    if seed < 0 or index < 0:
        raise TwelvefoldError(f"a picture set needs a seed and an index of at least 0, got {seed} and {index}")
    rng = np.random.Generator(np.random.PCG64([seed, STREAM, index]))
    category = choice(rng, CATEGORIES).name
    colors = tuple(shuffled(rng, tuple(COLORS))[:2])
    scenes = [make_scene(seed, FIRST_INDEX + 4 * index + slot) for slot in range(4)]
    numbers = shuffled(rng, range(4))[:2]
    again = numbers if bernoulli(rng, 0.6) else shuffled(rng, range(4))[:2]
    pairs = []
    for shared, twin, wanted in ((scenes[0], scenes[1], numbers), (scenes[2], scenes[3], again)):
        one = _themed(shared, category, choice(rng, SHARED_HOLD), colors, rng)
        pairs += [(one, _themed(twin, category, number, colors, rng)) for number in shuffled(rng, wanted)]
    return tuple((b, a) for a, b in pairs) if bernoulli(rng, 0.5) else tuple(pairs)


def _themed(scene: Scene, category: str, number: int, colors: tuple[str, ...], rng: np.random.Generator) -> Scene:
    """The scene with things exchanged until ``number`` are of the set's kind, as far as there is room, and one dyed."""
    for place in shuffled(rng, range(len(scene.objects))):
        have = sum(obj.category == category for obj in scene.objects)
        if have == number:
            break
        if (scene.objects[place].category == category) is (have > number):
            others = [k.name for k in CATEGORIES if k.name != category]
            scene = _exchanged(scene, place, category if have < number else choice(rng, others), rng) or scene
    objects = list(scene.objects)
    dyed = choice(rng, range(len(objects)))
    for place, obj in enumerate(objects):
        if place == dyed or (obj.category == category and bernoulli(rng, 0.8)):
            objects[place] = replace(obj, color=choice(rng, colors))
    return replace(scene, objects=tuple(objects))


def _exchanged(scene: Scene, place: int, category: str, rng: np.random.Generator) -> Scene | None:
    """The scene with another thing where the one at ``place`` stood; None where it touches others or has no room."""
    old = scene.objects[place]
    others = tuple(obj for i, obj in enumerate(scene.objects) if i != place)
    if old.relation is not None or any(t.relation is not None and t.relation[1] == place for t in others):
        return None
    for _ in range(3):
        new = replace(old, category=category, drawing=int(rng.integers(NUM_DRAWINGS)), pose=old.pose._replace(angle=0))
        new = _standing_at(new, old)
        if size_is_true(new) and settle(replace(scene, objects=others), new, GAP_PX) is not None:
            return replace(scene, objects=(*scene.objects[:place], new, *scene.objects[place + 1 :]))
    return None


def _standing_at(new: SceneObject, old: SceneObject) -> SceneObject:
    """The new thing with its feet where the old one's middle stood."""
    left, _, right, bottom = old.whole_px
    return moved(new, round((left + right - new.sprite.width) / 2), round(bottom - new.sprite.height))
