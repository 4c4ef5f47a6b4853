"""Referring expressions: RefCOCO (short, with positions), RefCOCO+ (attributes only), RefCOCOg (long, with relations).

An expression is an ``ObjectDescription`` that matches one object of its scene, then words. Most targets share their
category or color with another object, so the expression has to state what distinguishes them. Paper: section 2.1, G3.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Final

from numpy.random import Generator

from twelvefold.world.scene import Scene
from twelvefold.world.text import lexicon
from twelvefold.world.text.annotations import Expression, Reference, ReferStyle
from twelvefold.world.text.description import ATTRIBUTES, ObjectDescription
from twelvefold.world.text.realize import realize, realize_size_and_pattern
from twelvefold.world.text.sampling import bernoulli, choice, collect_distinct, fill, shuffled
from twelvefold.world.text.scene_graph import INVERSE_RELATIONS, SceneGraph

NUM_EXPRESSIONS: Final[dict[ReferStyle, tuple[int, ...]]] = {
    "refcoco": (2, 3, 3, 3, 4),
    "refcoco+": (2, 3, 3, 3, 4),
    "refcocog": (1, 2, 2, 2, 3),
}
"""Expressions per object, drawn from these: about 2.8 in RefCOCO and RefCOCO+, 1.9 in RefCOCOg."""
_REDUNDANCY: Final[dict[ReferStyle, float]] = {"refcoco": 0.3, "refcoco+": 0.35, "refcocog": 0.6}

_SHORT_ORDER: Final = {
    "left": "left {} | leftmost {} | {} on left | far left {} | {} to the left | {} on far left",
    "right": "right {} | rightmost {} | {} on right | far right {} | {} to the right | {} on far right",
    "top": "top {} | highest {} | upper {} | {} on top | {} furthest up",
    "bottom": "bottom {} | lowest {} | lower {} | {} at bottom | {} furthest down",
    "large": "biggest {} | largest {} | bigger {}",
    "small": "smallest {} | tiniest {} | smaller {}",
}
_SHORT_SECOND: Final = "second {0} from {1} | 2nd {0} from {1} | second {0} from the {1} | {1} side, second {0}"
_SHORT_SIDE: Final = "{1} {0} | {0} {1} | {0} on {1} | {0} on the {1} | {1} side {0}"
_SHORT_CORNER: Final = "{1} {0} | {0} {1} | {0} {1} corner | {0} in {1} corner | {1} corner {0}"
_SHORT_MIDDLE: Final = "middle {} | {} in middle | center {} | {} in the center | {} dead center"


def generate_references(
    scene: Scene, rng: Generator, count: int = 2, style: ReferStyle = "refcoco"
) -> tuple[Reference, ...]:
    """Return at most ``count`` objects of the scene, each with different expressions for it."""
    graph = SceneGraph(scene)
    references: list[Reference] = []
    for target in _order_targets(graph, rng):
        attempts = choice(rng, NUM_EXPRESSIONS[style])
        sample = partial(_sample, graph, target, style, rng)
        expressions = collect_distinct(sample, lambda expression: expression.tokens, attempts, attempts)
        if expressions:
            references.append(Reference(target, expressions))
        if len(references) == count:
            break
    return tuple(references)


def _order_targets(graph: SceneGraph, rng: Generator) -> list[int]:
    """Return the objects in random order, often those that share their category with another one first."""
    order = shuffled(rng, range(graph.num_objects))
    if bernoulli(rng, 0.7):
        order.sort(key=lambda i: len(graph.by_category[graph.objects[i].category]) == 1)
    return order


def _sample(graph: SceneGraph, target: int, style: ReferStyle, rng: Generator) -> Expression | None:
    exclude = ("category",) if bernoulli(rng, 0.15) else ()
    description = None
    if style == "refcoco" and bernoulli(rng, 0.45):
        description = _describe_by_position(graph, target, rng)
    description = description or graph.describe_uniquely(
        target,
        rng,
        exclude=exclude,
        use_position=style == "refcoco",
        use_relation=style != "refcoco+",
        redundancy=_REDUNDANCY[style],
    )
    if description is None and style == "refcocog":
        description = graph.describe_uniquely(target, rng, use_position=True, use_relation=True)
    if description is None:
        return None
    if style == "refcocog":
        description = _extend(graph, target, description, rng)
        raw = _realize_long(description, rng)
    else:
        raw = _realize_short(description, rng, without_location=style == "refcoco+")
    return Expression(raw, description)


def _describe_by_position(graph: SceneGraph, target: int, rng: Generator) -> ObjectDescription | None:
    """Return a position or order that identifies the object, in its category or sometimes among all objects."""
    base = ObjectDescription() if bernoulli(rng, 0.2) else ObjectDescription(category=graph.objects[target].category)
    descriptions = graph.with_positions(target, base, rng)
    return next((d for d in descriptions if graph.matching_objects(d) == (target,)), None)


def _extend(graph: SceneGraph, target: int, description: ObjectDescription, rng: Generator) -> ObjectDescription:
    """Add more than is needed, as in RefCOCOg: an attribute, a relation to another object."""
    free = [name for name in ATTRIBUTES if not getattr(description, name)]
    if free and bernoulli(rng, 0.5):
        name = choice(rng, free)
        description = description.with_attributes({name: getattr(graph.objects[target], name)})
    if description.relation is not None or bernoulli(rng, 0.2):
        return description
    longer = graph.with_relations(target, description, rng)
    return next((d for d in longer if graph.matching_objects(d) == (target,)), description)


def _realize_short(description: ObjectDescription, rng: Generator, *, without_location: bool) -> str:
    """Return a phrase as typed in a hurry: few articles, the position first or last, sometimes capitals."""
    before, after = realize_size_and_pattern(description, rng, after_noun=0.25)
    if description.color:
        before.append(fill(rng, lexicon.COLOR_WORDS.get(description.color, description.color)))
    if bernoulli(rng, 0.15):
        before = shuffled(rng, before)
    if description.ability:
        after.append("that " + fill(rng, lexicon.ABILITIES[description.ability].phrases))
    if description.relation is not None:
        name, other = description.relation
        relation = fill(rng, lexicon.RELATION_WORDS[name])
        after.append(f"{relation} {realize(other, rng, 'the' if bernoulli(rng, 0.5) else '')}")
    text = " ".join([*before, _short_noun(description, rng, without_location=without_location), *after])
    if description.order is not None:
        axis, rank = description.order
        text = fill(rng, _SHORT_SECOND if rank else _SHORT_ORDER[axis], text, axis)
    if description.position == "middle":
        text = fill(rng, _SHORT_MIDDLE, text)
    elif description.position:
        templates = _SHORT_CORNER if " " in description.position else _SHORT_SIDE
        text = fill(rng, templates, text, description.position)
    if bernoulli(rng, 0.2):
        text = "the " + text
    return text.upper() if bernoulli(rng, 0.02) else text + " " if bernoulli(rng, 0.02) else text


def _short_noun(description: ObjectDescription, rng: Generator, *, without_location: bool) -> str:
    if not description.category:
        return fill(rng, "thing | one | object | item")
    excluded = lexicon.LOCATION_WORDS if without_location else frozenset()
    return choice(rng, [n for n in lexicon.CATEGORY_NOUNS[description.category] if excluded.isdisjoint(n.split())])


def _realize_long(description: ObjectDescription, rng: Generator) -> str:
    """Return a whole phrase or sentence, as in RefCOCOg."""
    if description.relation is None or bernoulli(rng, 0.3):
        a = realize(description, rng, fill(rng, "the | the | a"))
        tail = choice(rng, ("", "", "", " in the picture", " that you can see here", " shown in the photo"))
        return a + tail + choice(rng, ("", ".", ""))
    name, other = description.relation
    a = realize(replace(description, relation=None), rng, fill(rng, "the | a | the"))
    b = realize(other, rng, fill(rng, "the | the | a"))
    relation = fill(rng, lexicon.RELATION_WORDS[name])
    link = fill(rng, "standing | placed | sitting | located | which is | that is | that can be seen | shown")
    texts = [f"{a} {link} {relation} {b}", f"{a} {link} {relation} {b}", f"{a} is {relation} {b}"]
    if name not in ("left of", "right of"):
        texts.append(f"{a} that has {b} {fill(rng, lexicon.RELATION_WORDS[INVERSE_RELATIONS[name]])} it")
    return choice(rng, texts) + choice(rng, (".", "", ""))
