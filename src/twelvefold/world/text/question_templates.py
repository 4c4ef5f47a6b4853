"""What can be asked of a picture, before it has words: subjects and answers, balanced by construction.

Each function draws the wanted answer first and then looks for a subject that has it, or takes only a frame for
which the picture holds both a yes and a no; None where this picture has neither. VQA and Visual Genome word the
same asks differently.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from twelvefold.world.categories import BACKGROUND, COLOURS, KINDS, PATTERNS, SIZES
from twelvefold.world.text.description import MIRROR, TIMES_LARGER, Description, at_place, denote, holds, identify
from twelvefold.world.text.description import View as View
from twelvefold.world.text.lexicon import CLASSES, NUMBERS, chance, pick, shuffled

TOUCHING: Final = ("on", "under", "in front of", "behind", "next to")
WANTED: Final[dict[str, tuple[str, ...]]] = {
    "colour": tuple(COLOURS),
    "pattern": ("plain", "plain", *(name for name in PATTERNS if name != "plain" for _ in range(3))),
    "size": tuple(SIZES),
}
"""Values to draw from; half of all things are plain, so it is wanted less often."""
COUNTED_CLASSES: Final = ("animal", "vehicle", "food")
"""Classes large enough for a picture to hold none, one, two or three of them."""
COUNT_WEIGHTS: Final[dict[str, tuple[float, ...]]] = {
    "kind": (1, 1.5, 2, 7),
    "colour": (1, 1, 2, 12),
    "pattern": (1, 1, 2, 8),
    "animal": (3, 1.5, 2, 6),
    "vehicle": (1.3, 1, 2, 8),
    "food": (1, 1, 2.5, 14),
}
"""How often 0, 1, 2, 3 is wanted in a count: the rarer a number is in pictures, the more, which evens the answers."""


ANYTHING: Final = Description()


@dataclass(frozen=True, slots=True)
class Ask:
    """A subject, what is asked about it (``detail``: a relation, a colour, a place) and the true answer.

    ``template`` groups asks whose answers are balanced; ``things`` lists subject, then others, by place.
    """

    template: str
    answer: str
    subject: Description = ANYTHING
    other: Description = ANYTHING
    detail: str = ""
    things: tuple[int, ...] = ()


def attribute(view: View, rng: np.random.Generator, name: str, *, places: bool = True) -> Ask | None:
    """The colour, pattern or size of one thing, every value equally wanted. ``places``: may tell it by its place."""
    wanted = pick(rng, WANTED[name])
    having = [i for i, t in enumerate(view.things) if getattr(t, name) == wanted]
    if not having and name == "colour":
        having = list(range(view.count))  # every colour is as common as the other, so any will do as well
    if not having:
        return None
    thing = pick(rng, having)
    subject = identify(view, thing, rng, without=(name,), places=places, relations=True)
    return None if subject is None else Ask(name, getattr(view.things[thing], name), subject, things=(thing,))


def crossed(view: View, rng: np.random.Generator, name: str) -> tuple[int, int] | None:
    """Two things of different kinds and values: asking of either about either value is yes twice and no twice."""
    a, b = shuffled(rng, range(view.count))[:2]
    one, two = view.things[a], view.things[b]
    differ = one.kind != two.kind and getattr(one, name) != getattr(two, name)
    return (a, b) if differ else None


def attribute_check(view: View, rng: np.random.Generator, name: str, *, places: bool = True) -> Ask | None:
    """Yes or no: whether one thing has a value. Subject and value come from two crossed things, so neither tells."""
    pair = crossed(view, rng, name)
    if pair is None:
        return None
    thing, value = pick(rng, pair), getattr(view.things[pick(rng, pair)], name)
    subject = identify(view, thing, rng, without=(name,), places=places, relations=True)
    if subject is None:
        return None
    answer = "yes" if getattr(view.things[thing], name) == value else "no"
    return Ask(f"{name} check", answer, subject, detail=value, things=(thing,))


def attribute_choice(view: View, rng: np.random.Generator, name: str, *, places: bool = True) -> Ask | None:
    """Which of two values a thing has; ``detail`` is ``red|blue`` in a drawn order."""
    ask = attribute(view, rng, name, places=places)
    if ask is None:
        return None
    values = {"colour": tuple(COLOURS), "pattern": PATTERNS, "size": ("small", "large")}[name]
    if ask.answer not in values:
        return None
    wrong = pick(rng, [value for value in values if value != ask.answer])
    return replace(ask, template=f"{name} choice", detail="|".join(shuffled(rng, [ask.answer, wrong])))


def count(view: View, rng: np.random.Generator) -> Ask | None:
    """How many things of a kind, a class, a colour, a pattern; ``answer`` is a number word."""
    level = pick(rng, ("kind", "kind", "colour", "pattern", *COUNTED_CLASSES))
    weights = COUNT_WEIGHTS[level]
    wanted = int(np.searchsorted(np.cumsum(weights), rng.random() * sum(weights), side="right"))
    if level == "kind":
        kinds = list(view.by_kind) if wanted else [k.name for k in KINDS if k.name not in view.by_kind]
        found = [Description(kind=name) for name in kinds]
    elif level == "colour":
        found = [Description(colour=name) for name in COLOURS]
    elif level == "pattern":
        found = [Description(pattern=name) for name in PATTERNS if name != "plain"]
    else:
        found = [Description(class_=level)]
    for what in shuffled(rng, found):
        things = certain(view, what)
        if things is not None and len(things) == wanted:
            return Ask("count class" if what.class_ else f"count {level}", NUMBERS[wanted], what, things=things)
    return None


def certain(view: View, what: Description) -> tuple[int, ...] | None:
    """The things that a description without order holds of, or None if it is open to argument for any of them."""
    if what.class_ and any(t.kind in CLASSES[what.class_].unsure for t in view.things):
        return None
    return denote(view, what)


def existence(view: View, rng: np.random.Generator) -> Ask | None:
    """Yes or no: is there a dog, a red dog, a striped animal. The no joins two crossed things of the picture."""
    yes = chance(rng, 0.5)
    if chance(rng, 0.35):
        kinds = list(view.by_kind) if yes else [k.name for k in KINDS if k.name not in view.by_kind]
        return Ask("existence kind", "yes" if yes else "no", Description(kind=pick(rng, kinds)))
    name = pick(rng, ("colour", "pattern"))
    pair = crossed(view, rng, name)
    if pair is None:
        return None
    whole = [c.name for c in CLASSES.values() if view.things[pair[0]].kind in c.members]
    other = [c.name for c in CLASSES.values() if view.things[pair[1]].kind in c.members]
    if chance(rng, 0.4) and whole and other and whole[0] != other[0]:
        nouns = [Description(class_=whole[0]), Description(class_=other[0])]
    else:
        nouns = [Description(kind=view.things[i].kind) for i in pair]
    values = [getattr(view.things[i], name) for i in pair]
    grid = [[certain(view, replace(what, **{name: value})) for value in values] for what in nouns]
    if grid[0][1] != () or grid[1][0] != () or not grid[0][0] or not grid[1][1]:
        return None
    row = int(rng.random() * 2)
    what = replace(nouns[row], **{name: values[row if yes else 1 - row]})
    return Ask(f"existence {name}", "yes" if yes else "no", what)


def relation_check(view: View, rng: np.random.Generator) -> Ask | None:
    """Yes or no: does one thing stand in a relation to another. Only relations that the picture has both ways."""
    if chance(rng, 0.5):
        a, b = shuffled(rng, range(view.count))[:2]
        name = pick(rng, ("left of", "right of"))
        truth = holds(view, name, a, b)
        if truth is None:
            return None
        yes = chance(rng, 0.5)
        name = name if truth is yes else MIRROR[name]
        return _about_two(view, rng, "side check", yes, name, a, b)
    name = pick(rng, TOUCHING)
    true = [pair for pair, held in view.linked.items() if held == name]
    if not true:
        return None
    yes = chance(rng, 0.5)
    if yes:
        a, b = pick(rng, true)
    else:
        linked = [pair for pair, held in view.linked.items() if held != name]
        a, b = pick(rng, linked) if linked and chance(rng, 0.6) else tuple(shuffled(rng, range(view.count))[:2])
        if holds(view, name, a, b):
            return None
    return _about_two(view, rng, "touch check", yes, name, a, b)


def _about_two(
    view: View,
    rng: np.random.Generator,
    template: str,
    yes: bool,
    detail: str,
    a: int,
    b: int,
    without: str = "",
    places: bool = False,
) -> Ask | None:
    first = identify(view, a, rng, redundant=0.15, without=(without,), places=places)
    second = identify(view, b, rng, redundant=0.15, without=(without,), places=places)
    if first is None or second is None:
        return None
    return Ask(template, "yes" if yes else "no", first, second, detail, (a, b))


def comparison(view: View, rng: np.random.Generator, *, places: bool = True) -> Ask | None:
    """Yes or no: is one thing larger (or smaller) than another; either order is as likely."""
    a, b = shuffled(rng, range(view.count))[:2]
    if max(view.area[a], view.area[b]) < TIMES_LARGER * min(view.area[a], view.area[b]):
        return None
    detail = pick(rng, ("large", "small"))
    yes = (view.area[a] > view.area[b]) is (detail == "large")
    return _about_two(view, rng, "comparison", yes, detail, a, b, "size", places)


def sameness(view: View, rng: np.random.Generator, *, places: bool = True) -> Ask | None:
    """Yes or no: have two things the same colour (pattern, size); pictures with a pair of either sort only."""
    name = pick(rng, ("colour", "colour", "pattern", "size"))
    values = [getattr(t, name) for t in view.things]
    pairs = [(a, b) for a in range(view.count) for b in range(view.count) if a != b]
    same = [pair for pair in pairs if values[pair[0]] == values[pair[1]]]
    if not same or len(same) == len(pairs):
        return None
    yes = chance(rng, 0.5)
    a, b = pick(rng, same if yes else [pair for pair in pairs if pair not in same])
    return _about_two(view, rng, f"same {name}", yes, name, a, b, name, places)


def neighbour(view: View, rng: np.random.Generator) -> Ask | None:
    """What stands in a relation to a thing: the kind of the one thing that does."""
    if not view.linked:
        return None
    (a, b), name = pick(rng, list(view.linked.items()))
    landmark = identify(view, b, rng, redundant=0.15)
    if landmark is None:
        return None
    return Ask("neighbour", view.things[a].kind, landmark, detail=name, things=(a, b))


def kind_of(view: View, rng: np.random.Generator) -> Ask | None:
    """What the red thing is: a subject told without its kind, by its looks or its place."""
    thing = pick(rng, range(view.count))
    subject = identify(view, thing, rng, without=("kind",), places=True)
    return None if subject is None else Ask("kind", view.things[thing].kind, subject, things=(thing,))


def side(view: View, rng: np.random.Generator) -> Ask | None:
    """On which side of the picture a thing is: left or right."""
    wanted = pick(rng, ("left", "right"))
    having = [i for i in range(view.count) if at_place(view, wanted, i)]
    if not having:
        return None
    thing = pick(rng, having)
    subject = identify(view, thing, rng)
    return None if subject is None else Ask("side", wanted, subject, things=(thing,))


def place(view: View, rng: np.random.Generator) -> Ask:
    """Where the picture was taken: the name of its background."""
    return Ask("place", view.scene.background)


def place_check(view: View, rng: np.random.Generator) -> Ask:
    """Yes or no: was it taken there; ``detail`` names the place asked about."""
    yes = chance(rng, 0.5)
    own = view.scene.background
    detail = own if yes else pick(rng, [name for name in BACKGROUND if name != own])
    return Ask("place check", "yes" if yes else "no", detail=detail)


def indoors(view: View, rng: np.random.Generator) -> Ask | None:
    """Indoors or outdoors. Three places are in and five out, so two fifths of the latter's pictures are passed over."""
    inside = BACKGROUND[view.scene.background].indoors
    if inside is None or (not inside and chance(rng, 0.4)):
        return None
    return Ask("indoors", "indoors" if inside else "outdoors")


def when(view: View, rng: np.random.Generator) -> Ask | None:
    """Night, winter or daytime, as the place shows; by day two of three pictures are passed over, to even them."""
    place = view.scene.background
    if BACKGROUND[place].indoors is not False or (place not in WHEN and chance(rng, 0.67)):
        return None
    return Ask("when", WHEN.get(place, "daytime"))


WHEN: Final = {"night": "night", "snow": "winter"}
"""What tells the time in a picture; every other outdoor place is seen by day."""

Asker = Callable[[View, np.random.Generator], Ask | None]
