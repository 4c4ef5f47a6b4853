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

from twelvefold.world.categories import BACKGROUND_BY_NAME, CATEGORIES, COLORS, PATTERNS, SIZES
from twelvefold.world.text.description import (
    MIRROR,
    TIMES_LARGER,
    Description,
    describe_uniquely,
    holds,
    is_at_position,
    matching_objects,
)
from twelvefold.world.text.description import SceneGraph as SceneGraph
from twelvefold.world.text.lexicon import CLASSES, NUMBERS, bernoulli, choice, shuffled

TOUCHING: Final = ("on", "under", "in front of", "behind", "next to")
WANTED: Final[dict[str, tuple[str, ...]]] = {
    "color": tuple(COLORS),
    "pattern": ("plain", "plain", *(name for name in PATTERNS if name != "plain" for _ in range(3))),
    "size": tuple(SIZES),
}
"""Values to draw from; half of all things are plain, so it is wanted less often."""
COUNTED_CLASSES: Final = ("animal", "vehicle", "food")
"""Classes large enough for a picture to hold none, one, two or three of them."""
COUNT_WEIGHTS: Final[dict[str, tuple[float, ...]]] = {
    "category": (1, 1.5, 2, 7),
    "color": (1, 1, 2, 12),
    "pattern": (1, 1, 2, 8),
    "animal": (3, 1.5, 2, 6),
    "vehicle": (1.3, 1, 2, 8),
    "food": (1, 1, 2.5, 14),
}
"""How often 0, 1, 2, 3 is wanted in a count: the rarer a number is in pictures, the more, which evens the answers."""


ANYTHING: Final = Description()


@dataclass(frozen=True, slots=True)
class QuestionFrame:
    """A subject, what is asked about it (``detail``: a relation, a colour, a place) and the true answer.

    ``template`` groups asks whose answers are balanced; ``things`` lists subject, then others, by place.
    """

    template: str
    answer: str
    subject: Description = ANYTHING
    other: Description = ANYTHING
    detail: str = ""
    objects: tuple[int, ...] = ()


def attribute(graph: SceneGraph, rng: np.random.Generator, name: str, *, places: bool = True) -> QuestionFrame | None:
    """The colour, pattern or size of one thing, every value equally wanted. ``places``: may tell it by its place."""
    wanted = choice(rng, WANTED[name])
    having = [i for i, t in enumerate(graph.objects) if getattr(t, name) == wanted]
    if not having and name == "color":
        having = list(range(graph.count))  # every colour is as common as the other, so any will do as well
    if not having:
        return None
    obj = choice(rng, having)
    subject = describe_uniquely(graph, obj, rng, without=(name,), places=places, relations=True)
    return None if subject is None else QuestionFrame(name, getattr(graph.objects[obj], name), subject, objects=(obj,))


def contrasting_pair(graph: SceneGraph, rng: np.random.Generator, name: str) -> tuple[int, int] | None:
    """Two things of different kinds and values: asking of either about either value is yes twice and no twice."""
    a, b = shuffled(rng, range(graph.count))[:2]
    one, two = graph.objects[a], graph.objects[b]
    differ = one.category != two.category and getattr(one, name) != getattr(two, name)
    return (a, b) if differ else None


def attribute_check(
    graph: SceneGraph, rng: np.random.Generator, name: str, *, places: bool = True
) -> QuestionFrame | None:
    """Yes or no: whether one thing has a value. Subject and value come from two crossed things, so neither tells."""
    pair = contrasting_pair(graph, rng, name)
    if pair is None:
        return None
    obj, value = choice(rng, pair), getattr(graph.objects[choice(rng, pair)], name)
    subject = describe_uniquely(graph, obj, rng, without=(name,), places=places, relations=True)
    if subject is None:
        return None
    answer = "yes" if getattr(graph.objects[obj], name) == value else "no"
    return QuestionFrame(f"{name} check", answer, subject, detail=value, objects=(obj,))


def attribute_choice(
    graph: SceneGraph, rng: np.random.Generator, name: str, *, places: bool = True
) -> QuestionFrame | None:
    """Which of two values a thing has; ``detail`` is ``red|blue`` in a drawn order."""
    frame = attribute(graph, rng, name, places=places)
    if frame is None:
        return None
    values = {"color": tuple(COLORS), "pattern": PATTERNS, "size": ("small", "large")}[name]
    if frame.answer not in values:
        return None
    wrong = choice(rng, [value for value in values if value != frame.answer])
    return replace(frame, template=f"{name} choice", detail="|".join(shuffled(rng, [frame.answer, wrong])))


def count(graph: SceneGraph, rng: np.random.Generator) -> QuestionFrame | None:
    """How many things of a kind, a class, a colour, a pattern; ``answer`` is a number word."""
    level = choice(rng, ("category", "category", "color", "pattern", *COUNTED_CLASSES))
    weights = COUNT_WEIGHTS[level]
    wanted = int(np.searchsorted(np.cumsum(weights), rng.random() * sum(weights), side="right"))
    if level == "category":
        categories = (
            list(graph.by_category) if wanted else [k.name for k in CATEGORIES if k.name not in graph.by_category]
        )
        found = [Description(category=name) for name in categories]
    elif level == "color":
        found = [Description(color=name) for name in COLORS]
    elif level == "pattern":
        found = [Description(pattern=name) for name in PATTERNS if name != "plain"]
    else:
        found = [Description(class_=level)]
    for description in shuffled(rng, found):
        objects = certain_matches(graph, description)
        if objects is not None and len(objects) == wanted:
            return QuestionFrame(
                "count class" if description.class_ else f"count {level}", NUMBERS[wanted], description, objects=objects
            )
    return None


def certain_matches(graph: SceneGraph, description: Description) -> tuple[int, ...] | None:
    """The things that a description without order holds of, or None if it is open to argument for any of them."""
    if description.class_ and any(t.category in CLASSES[description.class_].unsure for t in graph.objects):
        return None
    return matching_objects(graph, description)


def existence(graph: SceneGraph, rng: np.random.Generator) -> QuestionFrame | None:
    """Yes or no: is there a dog, a red dog, a striped animal. The no joins two crossed things of the picture."""
    yes = bernoulli(rng, 0.5)
    if bernoulli(rng, 0.35):
        categories = list(graph.by_category) if yes else [k.name for k in CATEGORIES if k.name not in graph.by_category]
        return QuestionFrame(
            "existence category", "yes" if yes else "no", Description(category=choice(rng, categories))
        )
    name = choice(rng, ("color", "pattern"))
    pair = contrasting_pair(graph, rng, name)
    if pair is None:
        return None
    whole = [c.name for c in CLASSES.values() if graph.objects[pair[0]].category in c.members]
    other = [c.name for c in CLASSES.values() if graph.objects[pair[1]].category in c.members]
    if bernoulli(rng, 0.4) and whole and other and whole[0] != other[0]:
        nouns = [Description(class_=whole[0]), Description(class_=other[0])]
    else:
        nouns = [Description(category=graph.objects[i].category) for i in pair]
    values = [getattr(graph.objects[i], name) for i in pair]
    grid = [
        [certain_matches(graph, replace(description, **{name: value})) for value in values] for description in nouns
    ]
    if grid[0][1] != () or grid[1][0] != () or not grid[0][0] or not grid[1][1]:
        return None
    row = int(rng.random() * 2)
    description = replace(nouns[row], **{name: values[row if yes else 1 - row]})
    return QuestionFrame(f"existence {name}", "yes" if yes else "no", description)


def relation_check(graph: SceneGraph, rng: np.random.Generator) -> QuestionFrame | None:
    """Yes or no: does one thing stand in a relation to another. Only relations that the picture has both ways."""
    if bernoulli(rng, 0.5):
        a, b = shuffled(rng, range(graph.count))[:2]
        name = choice(rng, ("left of", "right of"))
        truth = holds(graph, name, a, b)
        if truth is None:
            return None
        yes = bernoulli(rng, 0.5)
        name = name if truth is yes else MIRROR[name]
        return _about_two(graph, rng, "side check", yes, name, a, b)
    name = choice(rng, TOUCHING)
    true = [pair for pair, held in graph.linked.items() if held == name]
    if not true:
        return None
    yes = bernoulli(rng, 0.5)
    if yes:
        a, b = choice(rng, true)
    else:
        linked = [pair for pair, held in graph.linked.items() if held != name]
        a, b = choice(rng, linked) if linked and bernoulli(rng, 0.6) else tuple(shuffled(rng, range(graph.count))[:2])
        if holds(graph, name, a, b):
            return None
    return _about_two(graph, rng, "touch check", yes, name, a, b)


def _about_two(
    graph: SceneGraph,
    rng: np.random.Generator,
    template: str,
    yes: bool,
    detail: str,
    a: int,
    b: int,
    without: str = "",
    places: bool = False,
) -> QuestionFrame | None:
    first = describe_uniquely(graph, a, rng, redundant=0.15, without=(without,), places=places)
    second = describe_uniquely(graph, b, rng, redundant=0.15, without=(without,), places=places)
    if first is None or second is None:
        return None
    return QuestionFrame(template, "yes" if yes else "no", first, second, detail, (a, b))


def comparison(graph: SceneGraph, rng: np.random.Generator, *, places: bool = True) -> QuestionFrame | None:
    """Yes or no: is one thing larger (or smaller) than another; either order is as likely."""
    a, b = shuffled(rng, range(graph.count))[:2]
    if max(graph.area[a], graph.area[b]) < TIMES_LARGER * min(graph.area[a], graph.area[b]):
        return None
    detail = choice(rng, ("large", "small"))
    yes = (graph.area[a] > graph.area[b]) is (detail == "large")
    return _about_two(graph, rng, "comparison", yes, detail, a, b, "size", places)


def sameness(graph: SceneGraph, rng: np.random.Generator, *, places: bool = True) -> QuestionFrame | None:
    """Yes or no: have two things the same colour (pattern, size); pictures with a pair of either sort only."""
    name = choice(rng, ("color", "color", "pattern", "size"))
    values = [getattr(t, name) for t in graph.objects]
    pairs = [(a, b) for a in range(graph.count) for b in range(graph.count) if a != b]
    same = [pair for pair in pairs if values[pair[0]] == values[pair[1]]]
    if not same or len(same) == len(pairs):
        return None
    yes = bernoulli(rng, 0.5)
    a, b = choice(rng, same if yes else [pair for pair in pairs if pair not in same])
    return _about_two(graph, rng, f"same {name}", yes, name, a, b, name, places)


def neighbor(graph: SceneGraph, rng: np.random.Generator) -> QuestionFrame | None:
    """What stands in a relation to a thing: the kind of the one thing that does."""
    if not graph.linked:
        return None
    (a, b), name = choice(rng, list(graph.linked.items()))
    landmark = describe_uniquely(graph, b, rng, redundant=0.15)
    if landmark is None:
        return None
    return QuestionFrame("neighbor", graph.objects[a].category, landmark, detail=name, objects=(a, b))


def query_category(graph: SceneGraph, rng: np.random.Generator) -> QuestionFrame | None:
    """What the red thing is: a subject told without its kind, by its looks or its place."""
    obj = choice(rng, range(graph.count))
    subject = describe_uniquely(graph, obj, rng, without=("category",), places=True)
    return None if subject is None else QuestionFrame("category", graph.objects[obj].category, subject, objects=(obj,))


def side(graph: SceneGraph, rng: np.random.Generator) -> QuestionFrame | None:
    """On which side of the picture a thing is: left or right."""
    wanted = choice(rng, ("left", "right"))
    having = [i for i in range(graph.count) if is_at_position(graph, wanted, i)]
    if not having:
        return None
    obj = choice(rng, having)
    subject = describe_uniquely(graph, obj, rng)
    return None if subject is None else QuestionFrame("side", wanted, subject, objects=(obj,))


def place(graph: SceneGraph, rng: np.random.Generator) -> QuestionFrame:
    """Where the picture was taken: the name of its background."""
    return QuestionFrame("place", graph.scene.background)


def place_check(graph: SceneGraph, rng: np.random.Generator) -> QuestionFrame:
    """Yes or no: was it taken there; ``detail`` names the place asked about."""
    yes = bernoulli(rng, 0.5)
    own = graph.scene.background
    detail = own if yes else choice(rng, [name for name in BACKGROUND_BY_NAME if name != own])
    return QuestionFrame("place check", "yes" if yes else "no", detail=detail)


def indoors(graph: SceneGraph, rng: np.random.Generator) -> QuestionFrame | None:
    """Indoors or outdoors. Three places are in and five out, so two fifths of the latter's pictures are passed over."""
    inside = BACKGROUND_BY_NAME[graph.scene.background].indoors
    if inside is None or (not inside and bernoulli(rng, 0.4)):
        return None
    return QuestionFrame("indoors", "indoors" if inside else "outdoors")


def when(graph: SceneGraph, rng: np.random.Generator) -> QuestionFrame | None:
    """Night, winter or daytime, as the place shows; by day two of three pictures are passed over, to even them."""
    place = graph.scene.background
    if BACKGROUND_BY_NAME[place].indoors is not False or (place not in WHEN and bernoulli(rng, 0.67)):
        return None
    return QuestionFrame("when", WHEN.get(place, "daytime"))


WHEN: Final = {"night": "night", "snow": "winter"}
"""What tells the time in a picture; every other outdoor place is seen by day."""

FrameSampler = Callable[[SceneGraph, np.random.Generator], QuestionFrame | None]
