"""Questions about a scene before they have words: subject, detail and answer.

Each sampler chooses the answer first and then looks for a subject that has it, or uses only pairs of facts for which
the scene contains a yes and a no. So neither the words nor the image alone reveals the answer. A sampler returns None
where the scene does not offer such a question. VQA, Visual Genome and GQA word the same frames differently.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.random import Generator

from twelvefold.world.categories import BACKGROUND_BY_NAME, CATEGORIES, COLORS, PATTERNS, SIZES
from twelvefold.world.text.description import ANYTHING, ObjectDescription
from twelvefold.world.text.lexicon import HYPERNYMS, NUMBER_WORDS, RELATION_WORDS
from twelvefold.world.text.realize import realize, realize_attribute
from twelvefold.world.text.sampling import bernoulli, choice, fill, shuffled
from twelvefold.world.text.scene_graph import INVERSE_RELATIONS, SceneGraph

VALUES: Final[dict[str, tuple[str, ...]]] = {"color": tuple(COLORS), "pattern": PATTERNS, "size": tuple(SIZES)}
CONTACT_RELATIONS: Final = ("on", "under", "in front of", "behind", "next to")
COUNTED_HYPERNYMS: Final = ("animal", "vehicle", "food")
"""Hypernyms with enough categories for an image to contain none, one, two or three of them."""
COUNT_WEIGHTS: Final[dict[str, tuple[float, ...]]] = {
    "category": (1, 1.5, 2, 7),
    "color": (1, 1, 2, 12),
    "pattern": (1, 1, 2, 8),
    "animal": (3, 1.5, 2, 6),
    "vehicle": (1.3, 1, 2, 8),
    "food": (1, 1, 2.5, 14),
}
"""Weights of the answers 0, 1, 2 and 3. The rarer a number is in images, the higher, which evens out the answers."""
TIME_OF_BACKGROUND: Final = {"night": "night", "snow": "winter"}
"""All other outdoor backgrounds show daytime."""
COMPARATIVES: Final = {"large": "bigger | larger", "small": "smaller"}


@dataclass(frozen=True, slots=True)
class QuestionFrame:
    """A subject, a detail (a relation, a color, a background), the correct answer and the objects involved.

    Answers are balanced for each ``template``. ``objects``: the subject, then the others.
    """

    template: str
    answer: str
    subject: ObjectDescription = ANYTHING
    other: ObjectDescription = ANYTHING
    detail: str = ""
    objects: tuple[int, ...] = ()


FrameSampler = Callable[[SceneGraph, Generator], QuestionFrame | None]

_SLOTS: Final[dict[str, Callable[[QuestionFrame, Generator], str]]] = {
    "relation": lambda frame, rng: fill(rng, RELATION_WORDS[frame.detail]),
    "larger": lambda frame, rng: fill(rng, COMPARATIVES[frame.detail]),
    "an_a": lambda frame, rng: realize(frame.subject, rng, "a"),
    "a": lambda frame, rng: realize(frame.subject, rng),
    "plural": lambda frame, rng: realize(frame.subject, rng, "", plural=True),
    "b": lambda frame, rng: realize(frame.other, rng),
    "value": lambda frame, rng: realize_attribute(frame.template.split()[0], frame.detail, rng),
    "detail": lambda frame, rng: frame.detail,
    "first": lambda frame, rng: frame.detail.split("|")[0],
    "second": lambda frame, rng: frame.detail.split("|")[1],
    "background": lambda frame, rng: BACKGROUND_BY_NAME[frame.detail].phrase,
}
"""``{a}`` is the subject, ``{an_a}`` the subject with ``a``, ``{plural}`` its plural, ``{b}`` the other object; the
rest is the detail in words. Random numbers are drawn in the order of this table."""


def realize_slots(frame: QuestionFrame, rng: Generator, templates: str) -> dict[str, str]:
    """Return the words for the slots that occur in ``templates``."""
    return {name: realize_slot(frame, rng) for name, realize_slot in _SLOTS.items() if f"{{{name}}}" in templates}


def _yes_no(condition: bool) -> str:
    return "yes" if condition else "no"


def about_object(graph: SceneGraph, rng: Generator, frame: QuestionFrame, **options: Any) -> QuestionFrame | None:
    """Return the frame with a unique description of its last object, or None if there is none."""
    subject = graph.describe_uniquely(frame.objects[-1], rng, **options)
    return None if subject is None else replace(frame, subject=subject)


def query_attribute(graph: SceneGraph, rng: Generator, name: str, *, use_position: bool = True) -> QuestionFrame | None:
    """Ask for the color, pattern or size of an object. Every value is equally probable, ``plain`` less."""
    wanted = choice(rng, _WEIGHTED_PATTERNS if name == "pattern" else VALUES[name])
    candidates = [i for i, obj in enumerate(graph.objects) if getattr(obj, name) == wanted]
    if not candidates and name == "color":
        candidates = list(range(graph.num_objects))  # all colors are equally common, so any object will do
    if not candidates:
        return None
    index = choice(rng, candidates)
    frame = QuestionFrame(name, getattr(graph.objects[index], name), objects=(index,))
    return about_object(graph, rng, frame, exclude=(name,), use_position=use_position, use_relation=True)


_WEIGHTED_PATTERNS: Final = ("plain",) * 2 + tuple(p for p in PATTERNS if p != "plain" for _ in range(3))
"""Half of all objects are plain, so it is asked for less often."""


def contrasting_pair(graph: SceneGraph, rng: Generator, name: str) -> tuple[int, int] | None:
    """Return two objects of different categories and values, or None where two random ones are not.

    Questions about one of the two objects and one of the two values have two answers yes and two answers no.
    """
    a, b = shuffled(rng, range(graph.num_objects))[:2]
    first, second = graph.objects[a], graph.objects[b]
    differ = first.category != second.category and getattr(first, name) != getattr(second, name)
    return (a, b) if differ else None


def verify_attribute(
    graph: SceneGraph, rng: Generator, name: str, *, use_position: bool = True
) -> QuestionFrame | None:
    """Ask whether an object has a value. Subject and value come from a contrasting pair."""
    pair = contrasting_pair(graph, rng, name)
    if pair is None:
        return None
    index, value = choice(rng, pair), getattr(graph.objects[choice(rng, pair)], name)
    answer = _yes_no(getattr(graph.objects[index], name) == value)
    frame = QuestionFrame(f"{name} check", answer, detail=value, objects=(index,))
    return about_object(graph, rng, frame, exclude=(name,), use_position=use_position, use_relation=True)


def choose_attribute(
    graph: SceneGraph, rng: Generator, name: str, *, use_position: bool = True
) -> QuestionFrame | None:
    """Ask which of two values an object has. ``detail`` is ``red|blue`` in random order."""
    frame = query_attribute(graph, rng, name, use_position=use_position)
    if frame is None:
        return None
    values = ("small", "large") if name == "size" else VALUES[name]
    if frame.answer not in values:
        return None
    wrong = choice(rng, [value for value in values if value != frame.answer])
    return replace(frame, template=f"{name} choice", detail="|".join(shuffled(rng, [frame.answer, wrong])))


def count_objects(graph: SceneGraph, rng: Generator) -> QuestionFrame | None:
    """Ask for the number of objects of a category, hypernym, color or pattern. The answer is a number word."""
    level = choice(rng, ("category", "category", "color", "pattern", *COUNTED_HYPERNYMS))
    weights = COUNT_WEIGHTS[level]
    wanted = int(np.searchsorted(np.cumsum(weights), rng.random() * sum(weights), side="right"))
    if level == "category":
        categories = list(graph.by_category) if wanted else absent_categories(graph)
        subjects = [ObjectDescription(category=name) for name in categories]
    elif level in VALUES:
        subjects = [ANYTHING.with_attributes({level: value}) for value in VALUES[level] if value != "plain"]
    else:
        subjects = [ObjectDescription(hypernym=level)]
    for subject in shuffled(rng, subjects):
        objects = graph.undisputed_matches(subject)
        if objects is not None and len(objects) == wanted:
            template = "count hypernym" if subject.hypernym else f"count {level}"
            return QuestionFrame(template, NUMBER_WORDS[wanted], subject, objects=objects)
    return None


def absent_categories(graph: SceneGraph) -> list[str]:
    """Return the categories that the scene does not contain."""
    return [category.name for category in CATEGORIES if category.name not in graph.by_category]


def hypernyms_of(graph: SceneGraph, index: int) -> list[str]:
    """Return the hypernyms of an object."""
    return [h.name for h in HYPERNYMS.values() if graph.objects[index].category in h.members]


def verify_existence(graph: SceneGraph, rng: Generator) -> QuestionFrame | None:
    """Ask whether there is a dog, a red dog, a striped animal. A no combines two contrasting objects of the scene."""
    yes = bernoulli(rng, 0.5)
    if bernoulli(rng, 0.35):
        categories = list(graph.by_category) if yes else absent_categories(graph)
        return QuestionFrame("existence category", _yes_no(yes), ObjectDescription(category=choice(rng, categories)))
    name = choice(rng, ("color", "pattern"))
    pair = contrasting_pair(graph, rng, name)
    if pair is None:
        return None
    first, second = (hypernyms_of(graph, i)[:1] for i in pair)
    if bernoulli(rng, 0.4) and first and second and first != second:
        nouns = [ObjectDescription(hypernym=first[0]), ObjectDescription(hypernym=second[0])]
    else:
        nouns = [ObjectDescription(category=graph.objects[i].category) for i in pair]
    values = [getattr(graph.objects[i], name) for i in pair]
    grid = [[graph.undisputed_matches(noun.with_attributes({name: value})) for value in values] for noun in nouns]
    if grid[0][1] != () or grid[1][0] != () or not grid[0][0] or not grid[1][1]:
        return None
    row = int(rng.random() * 2)
    subject = nouns[row].with_attributes({name: values[row if yes else 1 - row]})
    return QuestionFrame(f"existence {name}", _yes_no(yes), subject)


def verify_relation(graph: SceneGraph, rng: Generator) -> QuestionFrame | None:
    """Ask whether an object is in a relation to another one. Only relations that the scene has both ways."""
    if bernoulli(rng, 0.5):
        a, b = shuffled(rng, range(graph.num_objects))[:2]
        name = choice(rng, ("left of", "right of"))
        truth = graph.relation_holds(name, a, b)
        if truth is None:
            return None
        yes = bernoulli(rng, 0.5)
        name = name if truth is yes else INVERSE_RELATIONS[name]
        return _about_two(graph, rng, QuestionFrame("side check", _yes_no(yes), detail=name, objects=(a, b)))
    name = choice(rng, CONTACT_RELATIONS)
    pairs = [pair for pair, relation in graph.relations.items() if relation == name]
    if not pairs:
        return None
    yes = bernoulli(rng, 0.5)
    if yes:
        a, b = choice(rng, pairs)
    else:
        others = [pair for pair, relation in graph.relations.items() if relation != name]
        use_related = others and bernoulli(rng, 0.6)
        a, b = choice(rng, others) if use_related else tuple(shuffled(rng, range(graph.num_objects))[:2])
        if graph.relation_holds(name, a, b):
            return None
    return _about_two(graph, rng, QuestionFrame("contact check", _yes_no(yes), detail=name, objects=(a, b)))


def _about_two(
    graph: SceneGraph, rng: Generator, frame: QuestionFrame, exclude: str = "", use_position: bool = False
) -> QuestionFrame | None:
    """Return the frame with descriptions of its two objects."""
    subject, other = (
        graph.describe_uniquely(index, rng, redundancy=0.15, exclude=(exclude,), use_position=use_position)
        for index in frame.objects
    )
    return replace(frame, subject=subject, other=other) if subject and other else None


def compare_sizes(graph: SceneGraph, rng: Generator, *, use_position: bool = True) -> QuestionFrame | None:
    """Ask whether an object is larger, or smaller, than another one. Both orders are equally probable."""
    a, b = shuffled(rng, range(graph.num_objects))[:2]
    if not graph.differ_in_size(a, b):
        return None
    detail = choice(rng, ("large", "small"))
    yes = (graph.area[a] > graph.area[b]) is (detail == "large")
    frame = QuestionFrame("comparison", _yes_no(yes), detail=detail, objects=(a, b))
    return _about_two(graph, rng, frame, "size", use_position)


def compare_attributes(graph: SceneGraph, rng: Generator, *, use_position: bool = True) -> QuestionFrame | None:
    """Ask whether two objects have the same color, pattern or size. Only scenes with equal and unequal pairs."""
    name = choice(rng, ("color", "color", "pattern", "size"))
    values = [getattr(obj, name) for obj in graph.objects]
    pairs = [(a, b) for a in range(graph.num_objects) for b in range(graph.num_objects) if a != b]
    same = [(a, b) for a, b in pairs if values[a] == values[b]]
    if not same or len(same) == len(pairs):
        return None
    yes = bernoulli(rng, 0.5)
    pair = choice(rng, same if yes else [pair for pair in pairs if pair not in same])
    frame = QuestionFrame(f"same {name}", _yes_no(yes), detail=name, objects=pair)
    return _about_two(graph, rng, frame, name, use_position)


def query_neighbor(graph: SceneGraph, rng: Generator) -> QuestionFrame | None:
    """Ask for the category of the object that is in a relation to another one."""
    if not graph.relations:
        return None
    (a, b), name = choice(rng, list(graph.relations.items()))
    frame = QuestionFrame("neighbor", graph.objects[a].category, detail=name, objects=(a, b))
    return about_object(graph, rng, frame, redundancy=0.15)


def query_category(graph: SceneGraph, rng: Generator) -> QuestionFrame | None:
    """Ask for the category of an object that its attributes or its position identify."""
    index = choice(rng, range(graph.num_objects))
    frame = QuestionFrame("category", graph.objects[index].category, objects=(index,))
    return about_object(graph, rng, frame, exclude=("category",), use_position=True)


def query_side(graph: SceneGraph, rng: Generator) -> QuestionFrame | None:
    """Ask on which side of the image an object is: left or right."""
    side = choice(rng, ("left", "right"))
    candidates = [i for i in range(graph.num_objects) if graph.is_at_position(side, i)]
    if not candidates:
        return None
    return about_object(graph, rng, QuestionFrame("side", side, objects=(choice(rng, candidates),)))


def query_background(graph: SceneGraph, rng: Generator) -> QuestionFrame:
    """Ask for the background."""
    return QuestionFrame("background", graph.scene.background)


def verify_background(graph: SceneGraph, rng: Generator) -> QuestionFrame:
    """Ask whether the background is the one in ``detail``."""
    yes = bernoulli(rng, 0.5)
    background = graph.scene.background if yes else choice(rng, other_backgrounds(graph))
    return QuestionFrame("background check", _yes_no(yes), detail=background)


def other_backgrounds(graph: SceneGraph) -> list[str]:
    """Return the backgrounds that are not the scene's."""
    return [name for name in BACKGROUND_BY_NAME if name != graph.scene.background]


def query_indoors(graph: SceneGraph, rng: Generator) -> QuestionFrame | None:
    """Ask whether the scene is indoors or outdoors. Skips two fifths of the outdoor scenes, which are more common."""
    inside = BACKGROUND_BY_NAME[graph.scene.background].indoors
    if inside is None or (not inside and bernoulli(rng, 0.4)):
        return None
    return QuestionFrame("indoors", "indoors" if inside else "outdoors")


def query_time(graph: SceneGraph, rng: Generator) -> QuestionFrame | None:
    """Ask for night, winter or daytime. Skips two thirds of the daytime scenes, which are more common."""
    background = graph.scene.background
    time = TIME_OF_BACKGROUND.get(background, "daytime")
    if BACKGROUND_BY_NAME[background].indoors is not False or (time == "daytime" and bernoulli(rng, 0.67)):
        return None
    return QuestionFrame("time", time)


SAMPLERS: Final[dict[str, FrameSampler]] = {
    **{name: partial(query_attribute, name=name) for name in VALUES},
    **{f"{name} check": partial(verify_attribute, name=name) for name in VALUES},
    **{f"{name} choice": partial(choose_attribute, name=name) for name in VALUES},
    "count": count_objects,
    "existence": verify_existence,
    "relation": verify_relation,
    "comparison": compare_sizes,
    "same": compare_attributes,
    "neighbor": query_neighbor,
    "category": query_category,
    "side": query_side,
    "background": query_background,
    "background check": verify_background,
    "indoors": query_indoors,
    "time": query_time,
}
