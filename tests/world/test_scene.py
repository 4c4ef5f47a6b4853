"""Sizes, visibility, relations and variants of scenes agree with the masks of the objects."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from twelvefold.schema import TwelvefoldError
from twelvefold.world.categories import (
    BACKGROUND_BY_NAME,
    CATEGORIES,
    CATEGORY_BY_NAME,
    COLORS,
    NUM_DRAWINGS,
    PATTERNS,
    SIZES,
)
from twelvefold.world.perturb import CHANGES, Change, perturb_scene
from twelvefold.world.scene import MIN_VISIBLE, SHAPES, Scene, SceneObject, make_scene, min_gap_px

SCENES = [make_scene(3, index) for index in range(250)]
CROWDS = [make_scene(3, index, crowded=True) for index in range(20)]


def draw_indices(scene: Scene) -> NDArray[np.int64]:
    """Return (H, W): the index of the object that each pixel shows, -1 for the background."""
    indices = np.full((scene.height, scene.width), -1)
    for index, obj in enumerate(scene.objects):
        shape = obj.sprite
        region = indices[obj.pose.y : obj.pose.y + shape.height, obj.pose.x : obj.pose.x + shape.width]
        region[shape.solid] = index
    return indices


def gap_px(a: SceneObject, b: SceneObject) -> float:
    """Return the pixels between two whole boxes along the axis that separates them, negative if they overlap."""
    ax1, ay1, ax2, ay2 = a.whole_px
    bx1, by1, bx2, by2 = b.whole_px
    return max(bx1 - ax2, ax1 - bx2, by1 - ay2, ay1 - by2)


def test_numbers_of_objects_and_image_shapes() -> None:
    assert {len(scene.objects) for scene in SCENES} >= {4, 5, 6, 7, 8}
    assert all(3 <= len(scene.objects) <= 9 for scene in SCENES)
    assert all(10 <= len(scene.objects) <= 20 for scene in CROWDS)
    assert max(len(scene.objects) for scene in CROWDS) >= 18
    assert {(scene.width, scene.height) for scene in SCENES} == set(SHAPES)
    assert abs(np.mean([len(scene.objects) for scene in SCENES]) - 6) < 0.3


def test_a_scene_depends_on_seed_index_and_crowding_only() -> None:
    assert make_scene(3, 7) == SCENES[7]
    assert make_scene(4, 7) != SCENES[7]
    assert make_scene(3, 7, crowded=True).objects[0].pose != SCENES[7].objects[0].pose


def test_every_value_occurs() -> None:
    objects = [obj for scene in SCENES for obj in scene.objects]
    assert {obj.category for obj in objects} == {category.name for category in CATEGORIES}
    assert {obj.color for obj in objects} == set(COLORS)
    assert {obj.pattern for obj in objects} == set(PATTERNS)
    assert {obj.size for obj in objects} == set(SIZES)
    assert {obj.drawing for obj in objects} == set(range(NUM_DRAWINGS))
    assert {scene.background for scene in SCENES} == set(BACKGROUND_BY_NAME)
    relations = Counter(obj.relation[0] for obj in objects if obj.relation)
    assert set(relations) == {"on", "under", "next to", "in front of"}
    assert min(relations.values()) > 0.1 * relations.total()
    repeats = sum(len(scene.objects) - len({obj.category for obj in scene.objects}) for scene in SCENES)
    assert 0.15 < repeats / len(objects) < 0.40


@pytest.mark.parametrize("scene", SCENES[:60] + CROWDS, ids=lambda scene: f"{scene.index}x{len(scene.objects)}")
def test_boxes_sizes_and_visibility_agree_with_the_masks(scene: Scene) -> None:
    indices = draw_indices(scene)
    for index, obj in enumerate(scene.objects):
        visible = indices == index
        rows, columns = np.flatnonzero(visible.any(axis=1)), np.flatnonzero(visible.any(axis=0))
        assert obj.box_px == (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        assert obj.visible == pytest.approx(visible.sum() / obj.sprite.solid.sum())
        assert obj.visible >= MIN_VISIBLE
        x1, y1, x2, y2 = obj.whole_px
        assert 0 < x1 < x2 < scene.width
        assert 0 < y1 < y2 < scene.height
        low, high = SIZES[obj.size]
        assert low <= max(x2 - x1, y2 - y1) <= high


@pytest.mark.parametrize("scene", SCENES + CROWDS, ids=lambda scene: f"{scene.index}x{len(scene.objects)}")
def test_related_objects_form_pairs_and_all_others_keep_a_gap(scene: Scene) -> None:
    pairs = [(index, obj.relation[1]) for index, obj in enumerate(scene.objects) if obj.relation]
    assert len({member for pair in pairs for member in pair}) == 2 * len(pairs)
    for index, obj in enumerate(scene.objects):
        for earlier in range(index):
            if (index, earlier) not in pairs:
                assert gap_px(obj, scene.objects[earlier]) >= min_gap_px(len(scene.objects))
        if obj.relation is None:
            on_the_ground = obj.whole_px[3] >= scene.horizon + 6
            assert on_the_ground or CATEGORY_BY_NAME[obj.category].flies
            continue
        relation, base = obj.relation[0], scene.objects[obj.relation[1]]
        if relation == "next to":
            assert 0 < gap_px(obj, base) < min_gap_px(len(SCENES[0].objects))
            assert abs(obj.whole_px[3] - base.whole_px[3]) <= 2
        elif relation == "in front of":
            assert base.visible <= 0.95
            assert obj.whole_px[3] >= base.whole_px[3]
        else:
            upper, lower = (obj, base) if relation == "on" else (base, obj)
            assert -6 < upper.whole_px[3] - lower.whole_px[1] - 6 < 0
            for first, second in ((upper, lower), (lower, upper)):
                middle = (first.whole_px[0] + first.whole_px[2]) / 2
                assert second.whole_px[0] < middle < second.whole_px[2]


APPEARANCE = ("category", "color", "size", "pattern", "drawing")


def appearance(obj: SceneObject) -> tuple[object, ...]:
    return tuple(getattr(obj, name) for name in APPEARANCE)


@pytest.mark.parametrize("change", CHANGES)
def test_a_variant_differs_in_exactly_one_object(change: Change) -> None:
    rng = np.random.default_rng(5)
    variants = [(scene, perturb_scene(scene, rng, change)) for scene in SCENES[:40] + CROWDS[:5]]
    assert sum(variant is not None for _, variant in variants) > 30
    for scene, variant in variants:
        if variant is None:
            continue
        assert replace(variant, objects=()) == replace(scene, objects=())
        if change == "removed":
            left = Counter((appearance(obj), obj.pose) for obj in scene.objects)
            left.subtract((appearance(obj), obj.pose) for obj in variant.objects)
            assert sorted(left.values()) == [0] * (len(left) - 1) + [1]
        else:
            pairs = [
                (a, b) for a, b in zip(scene.objects, variant.objects, strict=True) if appearance(a) != appearance(b)
            ]
            assert len(pairs) == 1
            old, new = pairs[0]
            assert [name for name in APPEARANCE if getattr(old, name) != getattr(new, name)] == [change]
            assert sum(a.pose != b.pose for a, b in zip(scene.objects, variant.objects, strict=True)) <= 1
        test_boxes_sizes_and_visibility_agree_with_the_masks(variant)
        test_related_objects_form_pairs_and_all_others_keep_a_gap(variant)


def test_removing_an_object_uncovers_others_and_updates_indices() -> None:
    scene = next(s for s in SCENES if any(t.relation and t.relation[0] == "in front of" for t in s.objects[:-1]))
    front = next(i for i, t in enumerate(scene.objects) if t.relation and t.relation[0] == "in front of")
    base = scene.objects[front].relation
    assert base is not None
    rest = scene.remove_object(front)
    assert scene.objects[base[1]].visible < 1
    assert rest.objects[base[1]].visible == 1
    for before, after in zip([t for i, t in enumerate(scene.objects) if i != front], rest.objects, strict=True):
        if before.relation:
            assert after.relation is not None
            assert rest.objects[after.relation[1]].pose == scene.objects[before.relation[1]].pose


def test_a_change_without_room_returns_none() -> None:
    single = replace(SCENES[0], objects=SCENES[0].objects[:1])
    assert perturb_scene(single, np.random.default_rng(0), "removed") is None


@pytest.mark.parametrize(("seed", "index"), [(-1, 0), (0, -1)])
def test_negative_seeds_are_rejected(seed: int, index: int) -> None:
    with pytest.raises(TwelvefoldError, match="at least 0"):
        make_scene(seed, index)


def test_no_name_belongs_to_two_categories() -> None:
    words = [word for category in CATEGORIES for word in {category.name, *category.synonyms}]
    assert len(words) == len(set(words))
    assert len(CATEGORIES) == 60
