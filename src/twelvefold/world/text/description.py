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
from twelvefold.world.text.lexicon import ABILITIES, CLASSES, chance, pick, shuffled

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

    kind: str = ""
    class_: str = ""
    ability: str = ""
    colour: str = ""
    size: str = ""
    pattern: str = ""
    place: str = ""
    order: Order | None = None
    relation: tuple[str, Description] | None = None


class View:
    """A scene read once: centres, areas and who is related to whom, for the questions that follow."""

    __slots__ = ("area", "by_kind", "count", "linked", "partners", "scene", "things", "x", "y")

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.things = scene.things
        self.count = len(scene.things)
        self.x = [(t.box_px[0] + t.box_px[2]) / 2 / scene.width for t in scene.things]
        self.y = [(t.box_px[1] + t.box_px[3]) / 2 / scene.height for t in scene.things]
        self.area = [(t.whole_px[2] - t.whole_px[0]) * (t.whole_px[3] - t.whole_px[1]) for t in scene.things]
        self.linked: dict[tuple[int, int], str] = {}
        self.partners: dict[int, tuple[str, int]] = {}
        self.by_kind: dict[str, list[int]] = {}
        for index, thing in enumerate(scene.things):
            self.by_kind.setdefault(thing.kind, []).append(index)
            if thing.relation is not None:
                name, base = thing.relation
                self.linked[index, base] = name
                self.linked[base, index] = MIRROR[name]
                self.partners[index] = (name, base)
                self.partners[base] = (MIRROR[name], index)

    def partner(self, index: int) -> tuple[str, int] | None:
        """What the thing is to the one it touches, covers or stands by: ("on", 2)."""
        return self.partners.get(index)


def holds(view: View, relation: str, a: int, b: int) -> Truth:
    """Whether thing ``a`` stands in ``relation`` to thing ``b``.

    Things without a link keep a clear gap, so ``on``, ``under``, ``in front of``, ``behind`` and ``next to`` are
    true exactly where the scene says so. Left and right compare centres.
    """
    if relation == "left of" or relation == "right of":
        apart = view.x[b] - view.x[a] if relation == "left of" else view.x[a] - view.x[b]
        return True if apart >= APART_SHARE else False if apart <= -APART_SHARE else None
    return view.linked.get((a, b)) == relation


def at_place(view: View, place: str, index: int) -> Truth:
    """Whether the thing lies in that part of the picture; ``top left`` needs both."""
    if " " in place:
        parts = [at_place(view, part, index) for part in place.split()]
        return False if False in parts else None if None in parts else True
    if place == "middle":
        off = max(abs(view.x[index] - 0.5), abs(view.y[index] - 0.5))
        return True if off < 0.14 else False if off > 0.22 else None
    along = view.x[index] if place in ("left", "right") else view.y[index]
    if place in ("right", "bottom"):
        along = 1 - along
    return True if along < SIDE_SHARE else False if along > 0.5 else None


def has(view: View, index: int, what: Description) -> Truth:
    """Whether every fact but ``order`` holds of the thing."""
    thing = view.things[index]
    if (
        (what.kind and thing.kind != what.kind)
        or (what.colour and thing.colour != what.colour)
        or (what.size and thing.size != what.size)
        or (what.pattern and thing.pattern != what.pattern)
    ):
        return False
    unsure = False
    for name, table in ((what.class_, CLASSES), (what.ability, ABILITIES)):
        if name and thing.kind not in table[name].members:
            if thing.kind not in table[name].unsure:
                return False
            unsure = True
    if what.place:
        inside = at_place(view, what.place, index)
        if inside is False:
            return False
        unsure = unsure or inside is None
    if what.relation is not None:
        name, other = what.relation
        bases = denote(view, other)
        if len(bases) != 1:
            return None
        related = index != bases[0] and holds(view, name, index, bases[0])
        if related is False:
            return False
        unsure = unsure or related is None
    return None if unsure else True


def denote(view: View, what: Description, among: Iterable[int] | None = None) -> tuple[int, ...]:
    """The things that the description is true of, in scene order; ``among`` narrows the things looked at.

    A border case among them makes the description useless: the answer is then everything it might mean, so that
    ``len(denote(...)) == 1`` is true only of a description that nobody would misread.
    """
    found = [i for i in (range(view.count) if among is None else among) if has(view, i, what) is not False]
    if what.order is not None:
        return _in_order(view, found, what.order)
    if len(found) == 1 and has(view, found[0], what) is None:
        return (found[0], found[0])
    return tuple(found)


def _in_order(view: View, found: Sequence[int], order: Order) -> tuple[int, ...]:
    """The thing of that rank, if its neighbours in the order are clearly before and after it; else all of them."""
    axis, rank = order
    if rank >= len(found) or len(found) < 2:
        return tuple(found) if len(found) > 1 else ()
    along = view.area if axis in ("large", "small") else view.x if axis in ("left", "right") else view.y
    ranked = sorted(found, key=along.__getitem__, reverse=axis in ("large", "right", "bottom"))
    clear = [
        _much_larger(view, a, b) if along is view.area else abs(along[a] - along[b]) >= APART_SHARE
        for a, b in pairwise(ranked)
    ]
    before, after = rank == 0 or clear[rank - 1], rank == len(found) - 1 or clear[rank]
    return (ranked[rank],) if before and after else tuple(found)


def _much_larger(view: View, a: int, b: int) -> bool:
    return max(view.area[a], view.area[b]) >= TIMES_LARGER * min(view.area[a], view.area[b])


ATTRIBUTES: Final = ("colour", "pattern", "size")


def identify(
    view: View,
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
    base = Description() if "kind" in without else Description(kind=view.things[target].kind)
    free = [name for name in shuffled(rng, ATTRIBUTES) if name not in without]
    if base.kind and denote(view, base, among) == (target,):
        return _add(view, target, base, free[:1]) if chance(rng, redundant) else base
    extras = (placed, related) if chance(rng, 0.5) else (related, placed)
    kinds = [makes for makes in extras if (places if makes is placed else relations)]
    single = (_add(view, target, base, [name]) for name in free)
    others = (
        what
        for makes in kinds
        for what in makes(view, target, base, rng)
        if not ("size" in without and what.order and what.order[0] in ("large", "small"))
    )
    first, second = (others, single) if chance(rng, 0.5) else (single, others)
    pairs = (_add(view, target, base, list(names)) for names in combinations(free, 2))
    everything = (_add(view, target, base, free) for _ in range(1))
    for what in chain(first, second, pairs, everything):
        if denote(view, what, among) == (target,):
            return what
    return None


def _add(view: View, target: int, what: Description, names: Sequence[str]) -> Description:
    """``what`` with the target's own colour, pattern or size added."""
    for name in names:
        what = with_value(what, name, getattr(view.things[target], name))
    return what


def with_value(what: Description, name: str, value: str) -> Description:
    """``what`` with a colour, a pattern or a size added."""
    if name == "colour":
        return replace(what, colour=value)
    return replace(what, pattern=value) if name == "pattern" else replace(what, size=value)


def placed(view: View, target: int, base: Description, rng: np.random.Generator) -> Iterator[Description]:
    """``base`` with each part of the picture that the thing is in, and each order that it is first or second in."""
    rivals = [i for i in range(view.count) if has(view, i, base) is not False]
    for where in shuffled(rng, _WHERE):
        if isinstance(where, str):
            if at_place(view, where, target):
                yield replace(base, place=where)
        elif len(rivals) >= 2 + where[1] and _in_order(view, rivals, where) == (target,):
            yield replace(base, order=where)


_WHERE: Final[tuple[str | Order, ...]] = (
    *("left", "right", "top", "bottom", "middle", "top left", "top right", "bottom left", "bottom right"),
    *((axis, 0) for axis in ("left", "right", "top", "bottom", "large", "small")),
    *((axis, 1) for axis in ("left", "right")),
)


def related(view: View, target: int, base: Description, rng: np.random.Generator) -> Iterator[Description]:
    """``base`` with each relation that the thing has to something that can be told by its own looks."""
    partner = view.partner(target)
    if partner is not None:
        landmark = identify(view, partner[1], rng, redundant=0.1)
        if landmark is not None:
            yield replace(base, relation=(partner[0], landmark))
    other = pick(rng, range(view.count))
    for side in ("left of", "right of"):
        if other != target and holds(view, side, target, other):
            landmark = identify(view, other, rng, redundant=0.1)
            if landmark is not None:
                yield replace(base, relation=(side, landmark))
