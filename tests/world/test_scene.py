"""Scenes keep their word: sizes, visibility, relations and variants, checked against masks laid over each other."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from twelvefold.schema import TwelvefoldError
from twelvefold.world.categories import BACKGROUND, COLOURS, DRAWINGS, KIND, KINDS, PATTERNS, SIZES
from twelvefold.world.perturb import CHANGES, Change, vary, without
from twelvefold.world.scene import LEAST_VISIBLE, SHAPES, Scene, Thing, clear_gap, make_scene

SCENES = [make_scene(3, index) for index in range(250)]
CROWDS = [make_scene(3, index, crowded=True) for index in range(20)]


def owners(scene: Scene) -> NDArray[np.int64]:
    """(H, W): which thing each pixel shows, -1 for the ground; later things over earlier ones."""
    owner = np.full((scene.height, scene.width), -1)
    for index, thing in enumerate(scene.things):
        shape = thing.sprite
        region = owner[thing.pose.y : thing.pose.y + shape.height, thing.pose.x : thing.pose.x + shape.width]
        region[shape.solid] = index
    return owner


def gap(a: Thing, b: Thing) -> float:
    """Pixels between two whole boxes along the axis that parts them; negative where they overlap."""
    ax1, ay1, ax2, ay2 = a.whole_px
    bx1, by1, bx2, by2 = b.whole_px
    return max(bx1 - ax2, ax1 - bx2, by1 - ay2, ay1 - by2)


def test_counts_and_shapes() -> None:
    assert {len(scene.things) for scene in SCENES} >= {4, 5, 6, 7, 8}
    assert all(3 <= len(scene.things) <= 9 for scene in SCENES)
    assert all(10 <= len(scene.things) <= 20 for scene in CROWDS)
    assert max(len(scene.things) for scene in CROWDS) >= 18
    assert {(scene.width, scene.height) for scene in SCENES} == set(SHAPES)
    assert abs(np.mean([len(scene.things) for scene in SCENES]) - 6) < 0.3


def test_a_scene_is_a_function_of_seed_index_and_crowding() -> None:
    assert make_scene(3, 7) == SCENES[7]
    assert make_scene(4, 7) != SCENES[7]
    assert make_scene(3, 7, crowded=True).things[0].pose != SCENES[7].things[0].pose


def test_everything_occurs() -> None:
    things = [thing for scene in SCENES for thing in scene.things]
    assert {thing.kind for thing in things} == {kind.name for kind in KINDS}
    assert {thing.colour for thing in things} == set(COLOURS)
    assert {thing.pattern for thing in things} == set(PATTERNS)
    assert {thing.size for thing in things} == set(SIZES)
    assert {thing.drawing for thing in things} == set(range(DRAWINGS))
    assert {scene.background for scene in SCENES} == set(BACKGROUND)
    relations = Counter(thing.relation[0] for thing in things if thing.relation)
    assert set(relations) == {"on", "under", "next to", "in front of"}
    assert min(relations.values()) > 0.1 * relations.total()
    repeats = sum(len(scene.things) - len({thing.kind for thing in scene.things}) for scene in SCENES)
    assert 0.15 < repeats / len(things) < 0.40


@pytest.mark.parametrize("scene", SCENES[:60] + CROWDS, ids=lambda scene: f"{scene.index}x{len(scene.things)}")
def test_boxes_sizes_and_visibility_are_what_the_masks_show(scene: Scene) -> None:
    owner = owners(scene)
    for index, thing in enumerate(scene.things):
        seen = owner == index
        rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
        assert thing.box_px == (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        assert thing.visible == pytest.approx(seen.sum() / thing.sprite.solid.sum())
        assert thing.visible >= LEAST_VISIBLE
        x1, y1, x2, y2 = thing.whole_px
        assert 0 < x1 < x2 < scene.width
        assert 0 < y1 < y2 < scene.height
        low, high = SIZES[thing.size]
        assert low <= max(x2 - x1, y2 - y1) <= high


@pytest.mark.parametrize("scene", SCENES + CROWDS, ids=lambda scene: f"{scene.index}x{len(scene.things)}")
def test_relations_pair_things_up_and_all_others_keep_apart(scene: Scene) -> None:
    pairs = [(index, thing.relation[1]) for index, thing in enumerate(scene.things) if thing.relation]
    assert len({member for pair in pairs for member in pair}) == 2 * len(pairs)
    for index, thing in enumerate(scene.things):
        for earlier in range(index):
            if (index, earlier) not in pairs:
                assert gap(thing, scene.things[earlier]) >= clear_gap(len(scene.things))
        if thing.relation is None:
            on_the_ground = thing.whole_px[3] >= scene.horizon + 6
            assert on_the_ground or KIND[thing.kind].flies
            continue
        relation, base = thing.relation[0], scene.things[thing.relation[1]]
        if relation == "next to":
            assert 0 < gap(thing, base) < clear_gap(len(SCENES[0].things))
            assert abs(thing.whole_px[3] - base.whole_px[3]) <= 2
        elif relation == "in front of":
            assert base.visible <= 0.95
            assert thing.whole_px[3] >= base.whole_px[3]
        else:
            upper, lower = (thing, base) if relation == "on" else (base, thing)
            assert -6 < upper.whole_px[3] - lower.whole_px[1] - 6 < 0
            for one, other in ((upper, lower), (lower, upper)):
                middle = (one.whole_px[0] + one.whole_px[2]) / 2
                assert other.whole_px[0] < middle < other.whole_px[2]


LOOKS = ("kind", "colour", "size", "pattern", "drawing")


def looks(thing: Thing) -> tuple[object, ...]:
    return tuple(getattr(thing, name) for name in LOOKS)


@pytest.mark.parametrize("change", CHANGES)
def test_a_variant_differs_in_exactly_one_thing(change: Change) -> None:
    rng = np.random.default_rng(5)
    variants = [(scene, vary(scene, rng, change)) for scene in SCENES[:40] + CROWDS[:5]]
    assert sum(variant is not None for _, variant in variants) > 30
    for scene, variant in variants:
        if variant is None:
            continue
        assert replace(variant, things=()) == replace(scene, things=())
        if change == "removed":
            left = Counter((looks(thing), thing.pose) for thing in scene.things)
            left.subtract((looks(thing), thing.pose) for thing in variant.things)
            assert sorted(left.values()) == [0] * (len(left) - 1) + [1]
        else:
            pairs = [(a, b) for a, b in zip(scene.things, variant.things, strict=True) if looks(a) != looks(b)]
            assert len(pairs) == 1
            old, new = pairs[0]
            assert [name for name in LOOKS if getattr(old, name) != getattr(new, name)] == [change]
            assert sum(a.pose != b.pose for a, b in zip(scene.things, variant.things, strict=True)) <= 1
        test_boxes_sizes_and_visibility_are_what_the_masks_show(variant)
        test_relations_pair_things_up_and_all_others_keep_apart(variant)


def test_taking_a_thing_away_shows_what_it_hid_and_renumbers() -> None:
    scene = next(s for s in SCENES if any(t.relation and t.relation[0] == "in front of" for t in s.things[:-1]))
    front = next(i for i, t in enumerate(scene.things) if t.relation and t.relation[0] == "in front of")
    base = scene.things[front].relation
    assert base is not None
    rest = without(scene, front)
    assert scene.things[base[1]].visible < 1
    assert rest.things[base[1]].visible == 1
    for before, after in zip([t for i, t in enumerate(scene.things) if i != front], rest.things, strict=True):
        if before.relation:
            assert after.relation is not None
            assert rest.things[after.relation[1]].pose == scene.things[before.relation[1]].pose


def test_no_room_for_a_change_is_none() -> None:
    alone = replace(SCENES[0], things=SCENES[0].things[:1])
    assert vary(alone, np.random.default_rng(0), "removed") is None


@pytest.mark.parametrize(("seed", "index"), [(-1, 0), (0, -1)])
def test_negative_seeds_are_refused(seed: int, index: int) -> None:
    with pytest.raises(TwelvefoldError, match="at least 0"):
        make_scene(seed, index)


def test_words_of_kinds_are_no_two_kinds_words() -> None:
    words = [word for kind in KINDS for word in {kind.name, kind.plural, *kind.synonyms}]
    assert len(words) == len(set(words))
    assert len(KINDS) == 60
    assert {kind.name: kind.article for kind in KINDS if kind.article == "an"}.keys() == {
        "elephant", "owl", "airplane", "umbrella", "apple", "ice cream",
    }  # fmt: skip
