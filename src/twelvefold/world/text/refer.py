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
from twelvefold.world.text.description import (
    MIRROR,
    Description,
    SceneGraph,
    describe_uniquely,
    matching_objects,
    related,
    with_positions,
)
from twelvefold.world.text.lexicon import (
    ABILITIES,
    CATEGORY_NOUNS,
    COLOR_WORDS,
    LOCATION_WORDS,
    PATTERN_TAILS,
    PATTERN_WORDS,
    RELATION_WORDS,
    SIZE_WORDS,
    bernoulli,
    choice,
    shuffled,
    tokenize,
)
from twelvefold.world.text.realize import realize

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


def generate_references(
    scene: Scene, rng: np.random.Generator, count: int = 2, style: ReferStyle = "refcoco"
) -> tuple[Reference, ...]:
    """At most ``count`` things of the picture, each with the different expressions that people gave for it."""
    graph = SceneGraph(scene)
    found = []
    for target in _targets(graph, rng):
        said: dict[str, Expression] = {}
        for _ in range(choice(rng, SENTENCES[style])):
            expression = _expression(graph, target, style, rng)
            if expression is not None:
                said.setdefault(expression.sent, expression)
        if said:
            found.append(Reference(target, tuple(said.values())))
        if len(found) == count:
            break
    return tuple(found)


def _targets(graph: SceneGraph, rng: np.random.Generator) -> list[int]:
    """Things in a drawn order, those with a rival of their own kind rather first, as in RefCOCO."""
    order = shuffled(rng, range(graph.count))
    if bernoulli(rng, 0.7):
        order.sort(key=lambda i: len(graph.by_category[graph.objects[i].category]) == 1)
    return order


def _expression(graph: SceneGraph, target: int, style: ReferStyle, rng: np.random.Generator) -> Expression | None:
    without = ("category",) if bernoulli(rng, 0.15) else ()
    places, relations = style == "refcoco", style != "refcoco+"
    redundant = {"refcoco": 0.3, "refcoco+": 0.35, "refcocog": 0.6}[style]
    description = _by_place(graph, target, rng) if places and bernoulli(rng, 0.45) else None
    if description is None:
        description = describe_uniquely(
            graph, target, rng, without=without, places=places, relations=relations, redundant=redundant
        )
    if description is None and style == "refcocog":
        description = describe_uniquely(graph, target, rng, places=True, relations=True)
    if description is None:
        return None
    if style == "refcocog":
        description = _longer(graph, target, description, rng)
        raw = _long(description, rng)
    else:
        raw = _short(description, rng, looks_only=style == "refcoco+")
    sent = " ".join(tokenize(raw))
    return Expression(raw, sent, tuple(sent.split()), description)


def _by_place(graph: SceneGraph, target: int, rng: np.random.Generator) -> Description | None:
    """A place or an order that singles the thing out, among its own kind or sometimes among everything."""
    base = Description() if bernoulli(rng, 0.2) else Description(category=graph.objects[target].category)
    return next(
        (
            description
            for description in with_positions(graph, target, base, rng)
            if matching_objects(graph, description) == (target,)
        ),
        None,
    )


def _longer(graph: SceneGraph, target: int, description: Description, rng: np.random.Generator) -> Description:
    """RefCOCOg's speakers say more than is needed: a fact too many, a relation to another thing."""
    free = [name for name in ("color", "pattern", "size") if not getattr(description, name)]
    if free and bernoulli(rng, 0.5):
        name = choice(rng, free)
        description = replace(description, **{name: getattr(graph.objects[target], name)})
    if description.relation is not None or bernoulli(rng, 0.2):
        return description
    for longer in related(graph, target, description, rng):
        if matching_objects(graph, longer) == (target,):
            return longer
    return description


def _short(description: Description, rng: np.random.Generator, *, looks_only: bool) -> str:
    """As typed in a hurry: few articles, place first or last, sometimes capitals or a blank too many."""
    front: list[str] = []
    back: list[str] = []
    if description.size:
        front.append(choice(rng, SIZE_WORDS[description.size]))
    if description.pattern and bernoulli(rng, 0.25):
        back.append(PATTERN_TAILS[description.pattern])
    elif description.pattern:
        front.append(choice(rng, PATTERN_WORDS[description.pattern]))
    if description.color:
        front.append(choice(rng, COLOR_WORDS.get(description.color, (description.color,))))
    if bernoulli(rng, 0.15):
        front = shuffled(rng, front)
    if description.ability:
        back.append("that " + choice(rng, ABILITIES[description.ability].can))
    if description.relation is not None:
        name, other = description.relation
        back.append(f"{choice(rng, RELATION_WORDS[name])} {realize(other, rng, 'the' if bernoulli(rng, 0.5) else '')}")
    text = " ".join([*front, _short_noun(description, rng, looks_only=looks_only), *back])
    if description.order is not None:
        axis, rank = description.order
        text = choice(rng, SECOND_SHORT).format(text, axis) if rank else choice(rng, ORDER_SHORT[axis]).format(text)
    if description.place == "middle":
        text = choice(rng, MIDDLE_SHORT).format(text)
    elif description.place:
        text = choice(rng, CORNER_SHORT if " " in description.place else PLACE_SHORT).format(text, description.place)
    if bernoulli(rng, 0.2):
        text = "the " + text
    return text.upper() if bernoulli(rng, 0.02) else text + " " if bernoulli(rng, 0.02) else text


def _short_noun(description: Description, rng: np.random.Generator, *, looks_only: bool) -> str:
    if not description.category:
        return choice(rng, ("thing", "one", "object", "item"))
    names = [
        name
        for name, _ in CATEGORY_NOUNS[description.category]
        if not (looks_only and LOCATION_WORDS & set(name.split()))
    ]
    return choice(rng, names)


def _long(description: Description, rng: np.random.Generator) -> str:
    """Whole phrases and sentences, as RefCOCOg's writers made them."""
    if description.relation is None or bernoulli(rng, 0.3):
        the = realize(description, rng, choice(rng, ("the", "the", "a")))
        tail = choice(rng, ("", "", "", " in the picture", " that you can see here", " shown in the photo"))
        return choice(rng, (f"{the}{tail}", f"{the}{tail}.", f"{the}{tail}"))
    name, other = description.relation
    alone = replace(description, relation=None)
    the, that = (
        realize(alone, rng, choice(rng, ("the", "a", "the"))),
        realize(other, rng, choice(rng, ("the", "the", "a"))),
    )
    where = choice(rng, RELATION_WORDS[name])
    seen = choice(rng, ("standing", "placed", "sitting", "located", "which is", "that is", "that can be seen", "shown"))
    ways = [f"{the} {seen} {where} {that}", f"{the} {seen} {where} {that}", f"{the} is {where} {that}"]
    if name in ("on", "under", "in front of", "behind", "next to"):
        ways.append(f"{the} that has {that} {choice(rng, RELATION_WORDS[MIRROR[name]])} it")
    text = choice(rng, ways)
    return text + choice(rng, (".", "", ""))
