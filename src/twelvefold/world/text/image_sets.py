"""NLVR2's image sets: four pairs of images that differ in a few objects, so that one sentence divides them.

A set is about one category and two colors. Pairs 0 and 1 share one image, pairs 2 and 3 another; the other images are
variants of one scene with some objects exchanged or recolored. So a pair of which a sentence is true differs little
from one of which it is false.

Paper: section 2.1, G4. Differs: NLVR2's authors saw four pairs from an image search, which share no image.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.random import Generator

from twelvefold.schema import TwelvefoldError
from twelvefold.world.categories import CATEGORIES, COLORS, NUM_DRAWINGS
from twelvefold.world.scene import GAP_PX, Scene, make_scene
from twelvefold.world.text.sampling import bernoulli, choice, shuffled

SEED_STREAM: Final = 21
"""Second word of the random seed of a set. ``world/scene.py`` uses 1 and 2."""
FIRST_SCENE_INDEX: Final = 1 << 40
"""The scenes of the sets start here, beyond the index of any other image of a world."""
NUM_SHARED: Final = (0, 1, 1, 1, 2)
"""How many objects of the set's category a shared image contains is drawn from these."""


def make_image_set(seed: int, index: int) -> tuple[tuple[Scene, Scene], ...]:
    """Return the four (left, right) scenes of set ``index``.

    Raises:
        TwelvefoldError: The seed or the index is negative.
    """
    if seed < 0 or index < 0:
        raise TwelvefoldError(f"an image set needs a seed and an index of at least 0, got {seed} and {index}")
    rng = np.random.Generator(np.random.PCG64([seed, SEED_STREAM, index]))
    category = choice(rng, CATEGORIES).name
    colors = tuple(shuffled(rng, COLORS)[:2])
    scenes = [make_scene(seed, FIRST_SCENE_INDEX + 4 * index + slot) for slot in range(4)]
    counts = shuffled(rng, range(4))[:2]
    other_counts = counts if bernoulli(rng, 0.6) else shuffled(rng, range(4))[:2]
    pairs = []
    for shared, varied, wanted in ((scenes[0], scenes[1], counts), (scenes[2], scenes[3], other_counts)):
        scene = _adapt(shared, category, choice(rng, NUM_SHARED), colors, rng)
        pairs += [(scene, _adapt(varied, category, count, colors, rng)) for count in shuffled(rng, wanted)]
    return tuple((b, a) for a, b in pairs) if bernoulli(rng, 0.5) else tuple(pairs)


def _adapt(scene: Scene, category: str, count: int, colors: tuple[str, ...], rng: Generator) -> Scene:
    """Exchange objects until ``count`` are of the category, where there is room, and recolor some."""
    for index in shuffled(rng, range(len(scene.objects))):
        current = sum(obj.category == category for obj in scene.objects)
        if current == count:
            break
        if (scene.objects[index].category == category) is (current > count):
            others = [c.name for c in CATEGORIES if c.name != category]
            new_category = category if current < count else choice(rng, others)
            scene = _exchange(scene, index, new_category, rng) or scene
    objects = list(scene.objects)
    recolored = choice(rng, range(len(objects)))
    for index, obj in enumerate(objects):
        if index == recolored or (obj.category == category and bernoulli(rng, 0.8)):
            objects[index] = replace(obj, color=choice(rng, colors))
    return replace(scene, objects=tuple(objects))


def _exchange(scene: Scene, index: int, category: str, rng: Generator) -> Scene | None:
    """Exchange an object for one of the category, or return None if it has a relation or there is no room."""
    old = scene.objects[index]
    if old.relation is not None or scene.is_base(index):
        return None
    left, _, right, bottom = old.whole_px
    for _ in range(3):
        drawing = int(rng.integers(NUM_DRAWINGS))
        new = replace(old, category=category, drawing=drawing, pose=old.pose._replace(angle=0))
        # The new object stands in the middle of the old one's bottom edge.
        new = new.move_to(round((left + right - new.sprite.width) / 2), round(bottom - new.sprite.height))
        if new.has_valid_size() and scene.remove_object(index).add_object(new, GAP_PX) is not None:
            return scene.replace_object(index, new)
    return None
