"""SNLI-VE hypotheses: entailed by the image, neutral to it, or contradicted. Paper: section 2.1, G4.

A hypothesis is a claim about a known object, its color, pattern or size or its relation to another object:
``Their dog is striped.``

* entailment: the image shows exactly one dog, and it is striped;
* contradiction: the image shows exactly one dog, and it is not;
* neutral: the image shows no dog.

No hypothesis claims that an object is in the image, which would be false and not neutral. The label is chosen first.
A wrong value or object is taken from the same image as a correct one, so every label uses the same words equally
often, and neither the words nor the image alone reveals the label. A claim about two objects is neutral if the image
does not show one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from numpy.random import Generator

from twelvefold.world.categories import CATEGORIES
from twelvefold.world.scene import Scene
from twelvefold.world.text.annotations import EntailmentLabel, Hypothesis
from twelvefold.world.text.description import ObjectDescription
from twelvefold.world.text.lexicon import RELATION_WORDS, to_sentence
from twelvefold.world.text.question_templates import COMPARATIVES
from twelvefold.world.text.realize import realize, realize_attribute
from twelvefold.world.text.sampling import bernoulli, choice, collect_distinct, fill, shuffled
from twelvefold.world.text.scene_graph import INVERSE_RELATIONS, SceneGraph

LABELS: Final[tuple[EntailmentLabel, ...]] = ("entailment", "neutral", "contradiction")
NUM_VOTES: Final = (1, 1, 1, 3, 5)
"""Most pairs of the official files have one vote, some up to five."""

_DETERMINERS: Final = "the | the | the | their | our | someone's | the family's | her | his | my"


def generate_hypotheses(
    scene: Scene, premises: Sequence[str], rng: Generator, count: int = 3
) -> tuple[Hypothesis, ...]:
    """Return at most ``count`` different hypotheses, each for a random premise."""
    graph = SceneGraph(scene)
    sample = partial(_sample, graph, len(premises), rng)
    return collect_distinct(sample, lambda hypothesis: hypothesis.sentence, count, 6 * count)


def _sample(graph: SceneGraph, num_premises: int, rng: Generator) -> Hypothesis | None:
    template = choice(rng, tuple(TEMPLATES))
    label = choice(rng, LABELS)
    text = TEMPLATES[template](graph, label, rng)
    if text is None:
        return None
    votes = _sample_votes(label, rng)
    return Hypothesis(int(rng.random() * num_premises), to_sentence(text), label, votes, template)


def _sample_votes(label: EntailmentLabel, rng: Generator) -> tuple[str, ...]:
    """Return the annotators' labels. The first is the correct one, and so is the majority."""
    num_votes = choice(rng, NUM_VOTES)
    num_wrong = sum(bernoulli(rng, 0.12) for _ in range(num_votes - 1))
    wrong = [choice(rng, [x for x in LABELS if x != label]) for _ in range(min(num_wrong, (num_votes - 1) // 2))]
    return (label, *shuffled(rng, [*wrong, *[label] * (num_votes - 1 - len(wrong))]))


def _sample_singletons(graph: SceneGraph, rng: Generator) -> tuple[int, int] | None:
    """Return two random objects that are the only ones of their categories, or None if there are fewer."""
    singletons = [indices[0] for indices in graph.by_category.values() if len(indices) == 1]
    if len(singletons) < 2:
        return None
    first, second = shuffled(rng, singletons)[:2]
    return first, second


def _sample_absent(graph: SceneGraph, rng: Generator) -> str:
    """Return a category that the image does not show."""
    while True:
        category = choice(rng, CATEGORIES).name
        if category not in graph.by_category:
            return category


def _refer_to(category: str, rng: Generator) -> str:
    return realize(ObjectDescription(category=category), rng, fill(rng, _DETERMINERS))


_ATTRIBUTE_CLAIMS: Final = {
    "color": "{a} is {value} | {a} is {value} | {value} is the color of {a} | the color of {a} is {value}",
    "pattern": "{a} is {value} | {a} looks {value} | {a} has a {value} pattern",
    "plain": "{a} is {value} | {a} looks {value} | {a} is plain",
    "size": "{a} is {value} | {a} is rather {value} | {a} looks {value}",
}


def _claim_attribute(graph: SceneGraph, label: EntailmentLabel, rng: Generator, name: str) -> str | None:
    """Claim a color, pattern or size of one object. Two objects of the image provide the two values."""
    pair = _sample_singletons(graph, rng)
    if pair is None:
        return None
    first, second = (graph.objects[i] for i in pair)
    correct, wrong = getattr(first, name), getattr(second, name)
    if correct == wrong:
        return None
    value = wrong if label == "contradiction" else correct
    a = _refer_to(_sample_absent(graph, rng) if label == "neutral" else first.category, rng)
    in_words = realize_attribute(name, value, rng)
    return fill(rng, _ATTRIBUTE_CLAIMS["plain" if value == "plain" else name], a=a, value=in_words)


def _claim_side(graph: SceneGraph, label: EntailmentLabel, rng: Generator) -> str | None:
    """Claim that one object is to the left or right of another one."""
    pair = _sample_singletons(graph, rng)
    if pair is None:
        return None
    relation = choice(rng, ("left of", "right of"))
    truth = graph.relation_holds(relation, *pair)
    if truth is None:
        return None
    if label != "neutral" and truth is (label == "contradiction"):
        relation = INVERSE_RELATIONS[relation]
    return _claim_relation(graph, label, pair, relation, rng)


def _claim_contact(graph: SceneGraph, label: EntailmentLabel, rng: Generator) -> str | None:
    """Claim that one object is on, under, next to, in front of or behind another one.

    A wrong claim combines the relation of one related pair with the objects of another pair.
    """
    related = [
        (pair, relation)
        for pair, relation in graph.relations.items()
        if all(len(graph.by_category[graph.objects[i].category]) == 1 for i in pair)
    ]
    if len({relation for _, relation in related}) < 2:
        return None
    pair, relation = choice(rng, related)
    if label == "contradiction":
        pair, _ = choice(rng, [entry for entry in related if entry[1] != relation])
    return _claim_relation(graph, label, pair, relation, rng)


def _refer_to_pair(graph: SceneGraph, label: EntailmentLabel, pair: tuple[int, int], rng: Generator) -> tuple[str, str]:
    """Return phrases for both objects. For a neutral claim, one of them is replaced by an absent category."""
    first, second = (graph.objects[i].category for i in pair)
    if label == "neutral":
        is_first, absent = bernoulli(rng, 0.5), _sample_absent(graph, rng)
        first, second = (absent, second) if is_first else (first, absent)
    return _refer_to(first, rng), _refer_to(second, rng)


def _claim_relation(
    graph: SceneGraph, label: EntailmentLabel, pair: tuple[int, int], relation: str, rng: Generator
) -> str:
    a, b = _refer_to_pair(graph, label, pair, rng)
    preposition = fill(rng, RELATION_WORDS[relation])
    templates = "{a} is {where} {b} | {a} is {where} {b} | {where} {b} is {a} | you can find {a} {where} {b}"
    return fill(rng, templates, a=a, b=b, where=preposition)


def _claim_size(graph: SceneGraph, label: EntailmentLabel, rng: Generator) -> str | None:
    """Claim that one object is larger or smaller than another one."""
    pair = _sample_singletons(graph, rng)
    if pair is None or not graph.differ_in_size(*pair):
        return None
    is_larger = (graph.area[pair[0]] > graph.area[pair[1]]) is (label != "contradiction")
    a, b = _refer_to_pair(graph, label, pair, rng)
    comparative = fill(rng, COMPARATIVES["large" if is_larger else "small"])
    return fill(rng, "{a} is {larger} than {b} | {a} looks {larger} than {b}", a=a, b=b, larger=comparative)


TEMPLATES: Final[dict[str, Callable[[SceneGraph, EntailmentLabel, Generator], str | None]]] = {
    "color": partial(_claim_attribute, name="color"),
    "pattern": partial(_claim_attribute, name="pattern"),
    "size": partial(_claim_attribute, name="size"),
    "side": _claim_side,
    "contact": _claim_contact,
    "comparison": _claim_size,
}
