"""Referring expressions: RefCOCO (short, places allowed), RefCOCO+ (looks only), RefCOCOg (long, relations).

An expression is a ``Description`` that denotes one thing of its picture and no other, then words. Things are chosen
so that most of them have a rival of the same kind or colour: the expression has to say what sets them apart.
Paper: section 2.1, G3.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from twelvefold.world.scene import Scene
from twelvefold.world.text.annotations import Expression, Reference, ReferStyle
from twelvefold.world.text.description import MIRROR, Description, View, denote, identify, placed, related
from twelvefold.world.text.lexicon import (
    ABILITIES,
    COLOUR_WORDS,
    KIND_NOUNS,
    LOCATION_WORDS,
    PATTERN_TAILS,
    PATTERN_WORDS,
    RELATION_WORDS,
    SIZE_WORDS,
    chance,
    pick,
    shuffled,
    words_of,
)
from twelvefold.world.text.realize import say

SENTENCES: Final[dict[ReferStyle, tuple[int, ...]]] = {
    "refcoco": (2, 3, 3, 3, 4),
    "refcoco+": (2, 3, 3, 3, 4),
    "refcocog": (1, 2, 2, 2, 3),
}
"""Expressions per thing: about 2.8 in RefCOCO and RefCOCO+, 1.9 in RefCOCOg."""

ORDER_SHORT: Final[dict[str, tuple[str, ...]]] = {
    "left": ("left {}", "leftmost {}", "{} on left", "far left {}", "{} to the left", "{} on far left"),
    "right": ("right {}", "rightmost {}", "{} on right", "far right {}", "{} to the right", "{} on far right"),
    "top": ("top {}", "highest {}", "upper {}", "{} on top", "{} furthest up"),
    "bottom": ("bottom {}", "lowest {}", "lower {}", "{} at bottom", "{} furthest down"),
    "large": ("biggest {}", "largest {}", "bigger {}"),
    "small": ("smallest {}", "tiniest {}", "smaller {}"),
}
SECOND_SHORT: Final = ("second {0} from {1}", "2nd {0} from {1}", "second {0} from the {1}", "{1} side, second {0}")
PLACE_SHORT: Final = ("{1} {0}", "{0} {1}", "{0} on {1}", "{0} on the {1}", "{1} side {0}")
CORNER_SHORT: Final = ("{1} {0}", "{0} {1}", "{0} {1} corner", "{0} in {1} corner", "{1} corner {0}")
MIDDLE_SHORT: Final = ("middle {}", "{} in middle", "center {}", "{} in the center", "{} dead center")


def references(
    scene: Scene, rng: np.random.Generator, count: int = 2, style: ReferStyle = "refcoco"
) -> tuple[Reference, ...]:
    """At most ``count`` things of the picture, each with the different expressions that people gave for it."""
    view = View(scene)
    found = []
    for target in _targets(view, rng):
        said: dict[str, Expression] = {}
        for _ in range(pick(rng, SENTENCES[style])):
            expression = _expression(view, target, style, rng)
            if expression is not None:
                said.setdefault(expression.sent, expression)
        if said:
            found.append(Reference(target, tuple(said.values())))
        if len(found) == count:
            break
    return tuple(found)


def _targets(view: View, rng: np.random.Generator) -> list[int]:
    """Things in a drawn order, those with a rival of their own kind rather first, as in RefCOCO."""
    order = shuffled(rng, range(view.count))
    if chance(rng, 0.7):
        order.sort(key=lambda i: len(view.by_kind[view.things[i].kind]) == 1)
    return order


def _expression(view: View, target: int, style: ReferStyle, rng: np.random.Generator) -> Expression | None:
    without = ("kind",) if chance(rng, 0.15) else ()
    places, relations = style == "refcoco", style != "refcoco+"
    redundant = {"refcoco": 0.3, "refcoco+": 0.35, "refcocog": 0.6}[style]
    what = _by_place(view, target, rng) if places and chance(rng, 0.45) else None
    if what is None:
        what = identify(view, target, rng, without=without, places=places, relations=relations, redundant=redundant)
    if what is None and style == "refcocog":
        what = identify(view, target, rng, places=True, relations=True)
    if what is None:
        return None
    if style == "refcocog":
        what = _longer(view, target, what, rng)
        raw = _long(what, rng)
    else:
        raw = _short(what, rng, looks_only=style == "refcoco+")
    sent = " ".join(words_of(raw))
    return Expression(raw, sent, tuple(sent.split()), what)


def _by_place(view: View, target: int, rng: np.random.Generator) -> Description | None:
    """A place or an order that singles the thing out, among its own kind or sometimes among everything."""
    base = Description() if chance(rng, 0.2) else Description(kind=view.things[target].kind)
    return next((what for what in placed(view, target, base, rng) if denote(view, what) == (target,)), None)


def _longer(view: View, target: int, what: Description, rng: np.random.Generator) -> Description:
    """RefCOCOg's speakers say more than is needed: a fact too many, a relation to another thing."""
    free = [name for name in ("colour", "pattern", "size") if not getattr(what, name)]
    if free and chance(rng, 0.5):
        name = pick(rng, free)
        what = replace(what, **{name: getattr(view.things[target], name)})
    if what.relation is not None or chance(rng, 0.2):
        return what
    for longer in related(view, target, what, rng):
        if denote(view, longer) == (target,):
            return longer
    return what


def _short(what: Description, rng: np.random.Generator, *, looks_only: bool) -> str:
    """As typed in a hurry: few articles, place first or last, sometimes capitals or a blank too many."""
    front: list[str] = []
    back: list[str] = []
    if what.size:
        front.append(pick(rng, SIZE_WORDS[what.size]))
    if what.pattern and chance(rng, 0.25):
        back.append(PATTERN_TAILS[what.pattern])
    elif what.pattern:
        front.append(pick(rng, PATTERN_WORDS[what.pattern]))
    if what.colour:
        front.append(pick(rng, COLOUR_WORDS.get(what.colour, (what.colour,))))
    if chance(rng, 0.15):
        front = shuffled(rng, front)
    if what.ability:
        back.append("that " + pick(rng, ABILITIES[what.ability].can))
    if what.relation is not None:
        name, other = what.relation
        back.append(f"{pick(rng, RELATION_WORDS[name])} {say(other, rng, 'the' if chance(rng, 0.5) else '')}")
    text = " ".join([*front, _short_noun(what, rng, looks_only=looks_only), *back])
    if what.order is not None:
        axis, rank = what.order
        text = pick(rng, SECOND_SHORT).format(text, axis) if rank else pick(rng, ORDER_SHORT[axis]).format(text)
    if what.place == "middle":
        text = pick(rng, MIDDLE_SHORT).format(text)
    elif what.place:
        text = pick(rng, CORNER_SHORT if " " in what.place else PLACE_SHORT).format(text, what.place)
    if chance(rng, 0.2):
        text = "the " + text
    return text.upper() if chance(rng, 0.02) else text + " " if chance(rng, 0.02) else text


def _short_noun(what: Description, rng: np.random.Generator, *, looks_only: bool) -> str:
    if not what.kind:
        return pick(rng, ("thing", "one", "object", "item"))
    names = [name for name, _ in KIND_NOUNS[what.kind] if not (looks_only and LOCATION_WORDS & set(name.split()))]
    return pick(rng, names)


def _long(what: Description, rng: np.random.Generator) -> str:
    """Whole phrases and sentences, as RefCOCOg's writers made them."""
    if what.relation is None or chance(rng, 0.3):
        the = say(what, rng, pick(rng, ("the", "the", "a")))
        tail = pick(rng, ("", "", "", " in the picture", " that you can see here", " shown in the photo"))
        return pick(rng, (f"{the}{tail}", f"{the}{tail}.", f"{the}{tail}"))
    name, other = what.relation
    alone = replace(what, relation=None)
    the, that = say(alone, rng, pick(rng, ("the", "a", "the"))), say(other, rng, pick(rng, ("the", "the", "a")))
    where = pick(rng, RELATION_WORDS[name])
    seen = pick(rng, ("standing", "placed", "sitting", "located", "which is", "that is", "that can be seen", "shown"))
    ways = [f"{the} {seen} {where} {that}", f"{the} {seen} {where} {that}", f"{the} is {where} {that}"]
    if name in ("on", "under", "in front of", "behind", "next to"):
        ways.append(f"{the} that has {that} {pick(rng, RELATION_WORDS[MIRROR[name]])} it")
    text = pick(rng, ways)
    return text + pick(rng, (".", "", ""))
