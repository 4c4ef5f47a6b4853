"""What a noun phrase means: facts about a thing, and which things of a picture they hold of.

Every task speaks through these: an expression, a question's subject or a guess is a ``Description`` first and
words later, and ``denote`` says by evaluation, not by trust, what it picks out. Facts near a border (a thing almost
in the middle, two things almost equally high) are neither true nor false: such a description is never used.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, combinations, pairwise
from typing import Final, Literal

import numpy as np

from twelvefold.world.scene import Scene
from twelvefold.world.text.lexicon import ABILITIES, CLASSES, bernoulli, choice, shuffled

Place = Literal["left", "right", "top", "bottom", "middle"]
Order = tuple[str, int]
Truth = bool | None
"""True, False, or None where people would not agree."""

SIDE_SHARE: Final = 0.40
"""On the left: centre within this share of the width; 0.5 and beyond is not; between them nobody agrees."""
APART_SHARE: Final = 0.08
"""Left of, or before in an order: centres at least this share of the picture's side apart."""
TIMES_LARGER: Final = 1.5
"""The largest thing has at least this many times the area of the next (the size classes leave such gaps)."""
MIRROR: Final = {
    "left of": "right of",
    "right of": "left of",
    "on": "under",
    "under": "on",
    "in front of": "behind",
    "behind": "in front of",
    "next to": "next to",
}


@dataclass(frozen=True, slots=True)
class Description:
    """Facts that hold together of one thing; an empty field says nothing.

    ``kind`` is a kind's name; ``class_`` the name of a ``NounClass``; ``ability`` of an ``Ability``. ``place`` is a
    part of the picture (one of ``Place``, or two: ``top left``). ``order``: (axis, rank) among the things that all
    other facts leave: ("left", 0) is the leftmost, ("left", 1) the second from the left; axes are left, right, top,
    bottom, large, small. ``relation``: to the one thing that another description denotes.
    """

    category: str = ""
    class_: str = ""
    ability: str = ""
    color: str = ""
    size: str = ""
    pattern: str = ""
    place: str = ""
    order: Order | None = None
    relation: tuple[str, Description] | None = None


class SceneGraph:
    """A scene read once: centres, areas and who is related to whom, for the questions that follow."""

    __slots__ = ("area", "by_category", "count", "linked", "objects", "partners", "scene", "x", "y")

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.objects = scene.objects
        self.count = len(scene.objects)
        self.x = [(t.box_px[0] + t.box_px[2]) / 2 / scene.width for t in scene.objects]
        self.y = [(t.box_px[1] + t.box_px[3]) / 2 / scene.height for t in scene.objects]
        self.area = [(t.whole_px[2] - t.whole_px[0]) * (t.whole_px[3] - t.whole_px[1]) for t in scene.objects]
        self.linked: dict[tuple[int, int], str] = {}
        self.partners: dict[int, tuple[str, int]] = {}
        self.by_category: dict[str, list[int]] = {}
        for index, obj in enumerate(scene.objects):
            self.by_category.setdefault(obj.category, []).append(index)
            if obj.relation is not None:
                name, base = obj.relation
                self.linked[index, base] = name
                self.linked[base, index] = MIRROR[name]
                self.partners[index] = (name, base)
                self.partners[base] = (MIRROR[name], index)

    def partner(self, index: int) -> tuple[str, int] | None:
        """What the thing is to the one it touches, covers or stands by: ("on", 2)."""
        return self.partners.get(index)


def holds(graph: SceneGraph, relation: str, a: int, b: int) -> Truth:
    """Whether thing ``a`` stands in ``relation`` to thing ``b``.

    Things without a link keep a clear gap, so ``on``, ``under``, ``in front of``, ``behind`` and ``next to`` are
    true exactly where the scene says so. Left and right compare centres.
    """
    if relation == "left of" or relation == "right of":
        apart = graph.x[b] - graph.x[a] if relation == "left of" else graph.x[a] - graph.x[b]
        return True if apart >= APART_SHARE else False if apart <= -APART_SHARE else None
    return graph.linked.get((a, b)) == relation


def is_at_position(graph: SceneGraph, place: str, index: int) -> Truth:
    """Whether the thing lies in that part of the picture; ``top left`` needs both."""
    if " " in place:
        parts = [is_at_position(graph, part, index) for part in place.split()]
        return False if False in parts else None if None in parts else True
    if place == "middle":
        off = max(abs(graph.x[index] - 0.5), abs(graph.y[index] - 0.5))
        return True if off < 0.14 else False if off > 0.22 else None
    along = graph.x[index] if place in ("left", "right") else graph.y[index]
    if place in ("right", "bottom"):
        along = 1 - along
    return True if along < SIDE_SHARE else False if along > 0.5 else None


def matches(graph: SceneGraph, index: int, description: Description) -> Truth:
    """Whether every fact but ``order`` holds of the thing."""
    obj = graph.objects[index]
    if (
        (description.category and obj.category != description.category)
        or (description.color and obj.color != description.color)
        or (description.size and obj.size != description.size)
        or (description.pattern and obj.pattern != description.pattern)
    ):
        return False
    unsure = False
    for name, table in ((description.class_, CLASSES), (description.ability, ABILITIES)):
        if name and obj.category not in table[name].members:
            if obj.category not in table[name].unsure:
                return False
            unsure = True
    if description.place:
        inside = is_at_position(graph, description.place, index)
        if inside is False:
            return False
        unsure = unsure or inside is None
    if description.relation is not None:
        name, other = description.relation
        bases = matching_objects(graph, other)
        if len(bases) != 1:
            return None
        related = index != bases[0] and holds(graph, name, index, bases[0])
        if related is False:
            return False
        unsure = unsure or related is None
    return None if unsure else True


def matching_objects(
    graph: SceneGraph, description: Description, among: Iterable[int] | None = None
) -> tuple[int, ...]:
    """The things that the description is true of, in scene order; ``among`` narrows the things looked at.

    A border case among them makes the description useless: the answer is then everything it might mean, so that
    ``len(denote(...)) == 1`` is true only of a description that nobody would misread.
    """
    found = [i for i in (range(graph.count) if among is None else among) if matches(graph, i, description) is not False]
    if description.order is not None:
        return _in_order(graph, found, description.order)
    if len(found) == 1 and matches(graph, found[0], description) is None:
        return (found[0], found[0])
    return tuple(found)


def _in_order(graph: SceneGraph, found: Sequence[int], order: Order) -> tuple[int, ...]:
    """The thing of that rank, if its neighbours in the order are clearly before and after it; else all of them."""
    axis, rank = order
    if rank >= len(found) or len(found) < 2:
        return tuple(found) if len(found) > 1 else ()
    along = graph.area if axis in ("large", "small") else graph.x if axis in ("left", "right") else graph.y
    ranked = sorted(found, key=along.__getitem__, reverse=axis in ("large", "right", "bottom"))
    clear = [
        _much_larger(graph, a, b) if along is graph.area else abs(along[a] - along[b]) >= APART_SHARE
        for a, b in pairwise(ranked)
    ]
    before, after = rank == 0 or clear[rank - 1], rank == len(found) - 1 or clear[rank]
    return (ranked[rank],) if before and after else tuple(found)


def _much_larger(graph: SceneGraph, a: int, b: int) -> bool:
    return max(graph.area[a], graph.area[b]) >= TIMES_LARGER * min(graph.area[a], graph.area[b])


ATTRIBUTES: Final = ("color", "pattern", "size")


def describe_uniquely(
    graph: SceneGraph,
    target: int,
    rng: np.random.Generator,
    *,
    without: Container[str] = (),
    places: bool = False,
    relations: bool = False,
    redundant: float = 0.2,
    among: Sequence[int] | None = None,
) -> Description | None:
    """The shortest description that denotes ``target`` alone, sometimes with a fact too many; None if there is none.

    ``without`` names fields that may not be used (what a question asks for, say). ``places`` allows parts of the
    picture and orders, ``relations`` a relation to another thing; both are tried where attributes don't suffice,
    and sometimes before them.
    """
    base = Description() if "category" in without else Description(category=graph.objects[target].category)
    free = [name for name in shuffled(rng, ATTRIBUTES) if name not in without]
    if base.category and matching_objects(graph, base, among) == (target,):
        return _add(graph, target, base, free[:1]) if bernoulli(rng, redundant) else base
    extras = (with_positions, related) if bernoulli(rng, 0.5) else (related, with_positions)
    categories = [makes for makes in extras if (places if makes is with_positions else relations)]
    single = (_add(graph, target, base, [name]) for name in free)
    others = (
        description
        for makes in categories
        for description in makes(graph, target, base, rng)
        if not ("size" in without and description.order and description.order[0] in ("large", "small"))
    )
    first, second = (others, single) if bernoulli(rng, 0.5) else (single, others)
    pairs = (_add(graph, target, base, list(names)) for names in combinations(free, 2))
    everything = (_add(graph, target, base, free) for _ in range(1))
    for description in chain(first, second, pairs, everything):
        if matching_objects(graph, description, among) == (target,):
            return description
    return None


def _add(graph: SceneGraph, target: int, description: Description, names: Sequence[str]) -> Description:
    """``what`` with the target's own colour, pattern or size added."""
    for name in names:
        description = with_attribute(description, name, getattr(graph.objects[target], name))
    return description


def with_attribute(description: Description, name: str, value: str) -> Description:
    """``what`` with a colour, a pattern or a size added."""
    if name == "color":
        return replace(description, color=value)
    return replace(description, pattern=value) if name == "pattern" else replace(description, size=value)


def with_positions(
    graph: SceneGraph, target: int, base: Description, rng: np.random.Generator
) -> Iterator[Description]:
    """``base`` with each part of the picture that the thing is in, and each order that it is first or second in."""
    rivals = [i for i in range(graph.count) if matches(graph, i, base) is not False]
    for where in shuffled(rng, _WHERE):
        if isinstance(where, str):
            if is_at_position(graph, where, target):
                yield replace(base, place=where)
        elif len(rivals) >= 2 + where[1] and _in_order(graph, rivals, where) == (target,):
            yield replace(base, order=where)


_WHERE: Final[tuple[str | Order, ...]] = (
    *("left", "right", "top", "bottom", "middle", "top left", "top right", "bottom left", "bottom right"),
    *((axis, 0) for axis in ("left", "right", "top", "bottom", "large", "small")),
    *((axis, 1) for axis in ("left", "right")),
)


def related(graph: SceneGraph, target: int, base: Description, rng: np.random.Generator) -> Iterator[Description]:
    """``base`` with each relation that the thing has to something that can be told by its own looks."""
    partner = graph.partner(target)
    if partner is not None:
        landmark = describe_uniquely(graph, partner[1], rng, redundant=0.1)
        if landmark is not None:
            yield replace(base, relation=(partner[0], landmark))
    other = choice(rng, range(graph.count))
    for side in ("left of", "right of"):
        if other != target and holds(graph, side, target, other):
            landmark = describe_uniquely(graph, other, rng, redundant=0.1)
            if landmark is not None:
                yield replace(base, relation=(side, landmark))
