"""The objects of a scene with their relations, and the objects that a description matches.

``matching_objects`` evaluates a description. A fact close to a threshold (an object almost in the middle, two objects
at almost the same height) is neither true nor false, and no description depends on one.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, combinations, pairwise
from typing import Final

from numpy.random import Generator

from twelvefold.world.scene import Scene
from twelvefold.world.text.description import ATTRIBUTES, ObjectDescription, Order
from twelvefold.world.text.lexicon import ABILITIES, HYPERNYMS, Ability, Hypernym
from twelvefold.world.text.sampling import bernoulli, choice, shuffled

Truth = bool | None
"""True, False, or None where people would disagree."""

SIDE_SHARE: Final = 0.40
"""An object is on the left if its center is within this share of the width, and is not from 0.5 on."""
MIN_DISTANCE_SHARE: Final = 0.08
"""Centers of two ordered objects are at least this share of the image's side apart."""
MIN_AREA_RATIO: Final = 1.5
"""The larger of two objects has at least this many times the area of the other."""
INVERSE_RELATIONS: Final = {
    "left of": "right of",
    "right of": "left of",
    "on": "under",
    "under": "on",
    "in front of": "behind",
    "behind": "in front of",
    "next to": "next to",
}
_POSITIONS_AND_ORDERS: Final[tuple[str | Order, ...]] = (
    *("left", "right", "top", "bottom", "middle", "top left", "top right", "bottom left", "bottom right"),
    *((axis, 0) for axis in ("left", "right", "top", "bottom", "large", "small")),
    *((axis, 1) for axis in ("left", "right")),
)


class SceneGraph:
    """The objects of a scene with their relative centers, areas in pixels, and relations.

    ``relations``: (object, other object) -> name. ``partners``: object -> (name, other object). Both directions of
    a relation are present.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.objects = scene.objects
        self.num_objects = len(scene.objects)
        self.center_x = [(o.box_px[0] + o.box_px[2]) / 2 / scene.width for o in scene.objects]
        self.center_y = [(o.box_px[1] + o.box_px[3]) / 2 / scene.height for o in scene.objects]
        self.area = [(o.whole_px[2] - o.whole_px[0]) * (o.whole_px[3] - o.whole_px[1]) for o in scene.objects]
        self.relations: dict[tuple[int, int], str] = {}
        self.partners: dict[int, tuple[str, int]] = {}
        self.by_category: dict[str, list[int]] = {}
        for index, obj in enumerate(scene.objects):
            self.by_category.setdefault(obj.category, []).append(index)
            if obj.relation is not None:
                name, base = obj.relation
                self.relations |= {(index, base): name, (base, index): INVERSE_RELATIONS[name]}
                self.partners |= {index: (name, base), base: (INVERSE_RELATIONS[name], index)}

    def relation_holds(self, relation: str, a: int, b: int) -> Truth:
        """Return whether object ``a`` is in ``relation`` to object ``b``.

        Objects without a relation keep a gap, so ``on``, ``under``, ``in front of``, ``behind`` and ``next to`` hold
        exactly where the scene states them. Left and right compare centers.
        """
        if relation not in ("left of", "right of"):
            return self.relations.get((a, b)) == relation
        distance = self.center_x[b] - self.center_x[a]
        if relation == "right of":
            distance = -distance
        return True if distance >= MIN_DISTANCE_SHARE else False if distance <= -MIN_DISTANCE_SHARE else None

    def is_at_position(self, position: str, index: int) -> Truth:
        """Return whether the object is in that part of the image. ``top left`` needs both."""
        if " " in position:
            return _all(self.is_at_position(part, index) for part in position.split())
        x, y = self.center_x[index], self.center_y[index]
        if position == "middle":
            distance = max(abs(x - 0.5), abs(y - 0.5))
            return True if distance < 0.14 else False if distance > 0.22 else None
        along = x if position in ("left", "right") else y
        if position in ("right", "bottom"):
            along = 1 - along
        return True if along < SIDE_SHARE else False if along > 0.5 else None

    def matches(self, index: int, description: ObjectDescription) -> Truth:
        """Return whether every fact except ``order`` is true of the object."""
        return _all(self._truths(index, description))

    def _truths(self, index: int, description: ObjectDescription) -> Iterator[Truth]:
        obj = self.objects[index]
        yield description.category in ("", obj.category)
        yield all(getattr(obj, name) == value for name, value in description.attributes().items())
        if description.hypernym:
            yield _is_member(obj.category, HYPERNYMS[description.hypernym])
        if description.ability:
            yield _is_member(obj.category, ABILITIES[description.ability])
        if description.position:
            yield self.is_at_position(description.position, index)
        if description.relation is not None:
            name, other = description.relation
            landmarks = self.matching_objects(other)
            if len(landmarks) == 1:
                yield index != landmarks[0] and self.relation_holds(name, index, landmarks[0])
            else:
                yield None

    def possible_matches(self, description: ObjectDescription, candidates: Iterable[int] | None = None) -> list[int]:
        """Return the objects of which no fact except ``order`` is false, in scene order."""
        candidates = range(self.num_objects) if candidates is None else candidates
        return [index for index in candidates if self.matches(index, description) is not False]

    def matching_objects(
        self, description: ObjectDescription, candidates: Iterable[int] | None = None
    ) -> tuple[int, ...]:
        """Return the objects that the description is true of, in scene order.

        If a candidate is a borderline case, all objects that the description may mean are returned, a single one twice:
        one object is returned only for a description that people agree about.
        """
        matches = self.possible_matches(description, candidates)
        if description.order is not None:
            return self._in_order(matches, description.order)
        is_borderline = len(matches) == 1 and self.matches(matches[0], description) is None
        return tuple(matches * 2 if is_borderline else matches)

    def undisputed_matches(self, description: ObjectDescription) -> tuple[int, ...] | None:
        """Return the matching objects, or None where an object may or may not count as the hypernym."""
        if description.hypernym and any(o.category in HYPERNYMS[description.hypernym].unsure for o in self.objects):
            return None
        return self.matching_objects(description)

    def _in_order(self, found: Sequence[int], order: Order) -> tuple[int, ...]:
        """Return the object of that rank if it is clearly apart from its neighbors in the order, else all of them."""
        axis, rank = order
        if rank >= len(found) or len(found) < 2:
            return tuple(found) if len(found) > 1 else ()
        by_area = axis in ("large", "small")
        along = self.area if by_area else self.center_x if axis in ("left", "right") else self.center_y
        ranked = sorted(found, key=along.__getitem__, reverse=axis in ("large", "right", "bottom"))
        clear = [
            self.differ_in_size(a, b) if by_area else abs(along[a] - along[b]) >= MIN_DISTANCE_SHARE
            for a, b in pairwise(ranked)
        ]
        is_clear = (rank == 0 or clear[rank - 1]) and (rank == len(found) - 1 or clear[rank])
        return (ranked[rank],) if is_clear else tuple(found)

    def differ_in_size(self, a: int, b: int) -> bool:
        """Return whether one of two objects is clearly larger."""
        return max(self.area[a], self.area[b]) >= MIN_AREA_RATIO * min(self.area[a], self.area[b])

    def describe_uniquely(
        self,
        target: int,
        rng: Generator,
        *,
        exclude: Container[str] = (),
        use_position: bool = False,
        use_relation: bool = False,
        redundancy: float = 0.2,
        candidates: Sequence[int] | None = None,
    ) -> ObjectDescription | None:
        """Return the shortest description that matches ``target`` only, or None if there is none.

        Args:
            exclude: Fields that must not be used, for example the one that a question asks for.
            use_position: Allow parts of the image and orders if attributes are not enough, and sometimes before them.
            use_relation: Allow a relation to another object in the same way.
            redundancy: Probability of an attribute more than is needed.
            candidates: Objects to distinguish the target from. All objects by default.
        """
        base = ObjectDescription(category="" if "category" in exclude else self.objects[target].category)
        free = [name for name in shuffled(rng, ATTRIBUTES) if name not in exclude]
        if base.category and self.matching_objects(base, candidates) == (target,):
            return self._with_attributes(target, base, free[:1]) if bernoulli(rng, redundancy) else base
        generators = [self.with_positions] if use_position else []
        if use_relation:
            generators.append(self.with_relations)
        if not bernoulli(rng, 0.5):
            generators.reverse()
        single = (self._with_attributes(target, base, [name]) for name in free)
        others = (
            description
            for generator in generators
            for description in generator(target, base, rng)
            if not ("size" in exclude and description.order and description.order[0] in ("large", "small"))
        )
        first, second = (others, single) if bernoulli(rng, 0.5) else (single, others)
        several = (self._with_attributes(target, base, names) for names in (*combinations(free, 2), free))
        for description in chain(first, second, several):
            if self.matching_objects(description, candidates) == (target,):
                return description
        return None

    def _with_attributes(self, target: int, base: ObjectDescription, names: Iterable[str]) -> ObjectDescription:
        return base.with_attributes({name: getattr(self.objects[target], name) for name in names})

    def with_positions(self, target: int, base: ObjectDescription, rng: Generator) -> Iterator[ObjectDescription]:
        """Yield ``base`` with each part of the image that the object is in, and each order in which it is early."""
        rivals = self.possible_matches(base)
        for position in shuffled(rng, _POSITIONS_AND_ORDERS):
            if isinstance(position, str):
                if self.is_at_position(position, target):
                    yield replace(base, position=position)
            elif len(rivals) >= 2 + position[1] and self._in_order(rivals, position) == (target,):
                yield replace(base, order=position)

    def with_relations(self, target: int, base: ObjectDescription, rng: Generator) -> Iterator[ObjectDescription]:
        """Yield ``base`` with each relation of the object to one that its own attributes identify."""
        if target in self.partners:
            name, partner = self.partners[target]
            if landmark := self.describe_uniquely(partner, rng, redundancy=0.1):
                yield replace(base, relation=(name, landmark))
        other = choice(rng, range(self.num_objects))
        for side in ("left of", "right of"):
            holds = other != target and self.relation_holds(side, target, other)
            if holds and (landmark := self.describe_uniquely(other, rng, redundancy=0.1)):
                yield replace(base, relation=(side, landmark))


def _all(truths: Iterable[Truth]) -> Truth:
    """Return False if any is False, else None if any is None, else True."""
    result: Truth = True
    for truth in truths:
        if truth is False:
            return False
        if truth is None:
            result = None
    return result


def _is_member(category: str, group: Hypernym | Ability) -> Truth:
    return True if category in group.members else None if category in group.unsure else False
