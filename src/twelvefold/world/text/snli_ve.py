"""SNLI-VE: is a hypothesis entailed by the picture, neutral to it, or contradicted? Paper: section 2.1, G4.

The scene decides, never the wording. A hypothesis makes a claim about one thing (its colour, pattern, size, or how
it stands to another), as of something known: ``Their dog is striped.``

* entailment: the picture shows the one dog, and it is striped;
* contradiction: the picture shows the one dog, and it is not;
* neutral: no dog is in view, so nobody can tell.

No hypothesis claims that a thing *is in the picture* (that would be plainly false, not neutral). The label is drawn
first. Kinds and values are equally common in every kind of picture, and the wrong value or thing is one that the
picture shows, as the right one is: so every label uses the same words equally often, and only someone who sees both
the words and the picture can tell. A relation is neutral when either of its two things is out of view.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Literal

import numpy as np

from twelvefold.world.categories import CATEGORIES
from twelvefold.world.scene import Scene
from twelvefold.world.text.annotations import Caption, Hypothesis
from twelvefold.world.text.description import MIRROR, TIMES_LARGER, Description, SceneGraph, holds
from twelvefold.world.text.lexicon import (
    PATTERN_WORDS,
    RELATION_WORDS,
    SIZE_WORDS,
    bernoulli,
    choice,
    sentence,
    shuffled,
)
from twelvefold.world.text.realize import realize, realize_color

Label = Literal["entailment", "neutral", "contradiction"]
LABELS: Final[tuple[Label, ...]] = ("entailment", "neutral", "contradiction")

OWNERS: Final = ("the", "the", "the", "their", "our", "someone's", "the family's", "her", "his", "my")
VOTES: Final = (1, 1, 1, 3, 5)
"""How many annotators judged a pair: most pairs in the official files hold one vote, some up to five."""


def generate_hypotheses(
    scene: Scene, premises: Sequence[Caption], rng: np.random.Generator, count: int = 3
) -> tuple[Hypothesis, ...]:
    """At most ``count`` different hypotheses about the picture, each under a drawn premise."""
    graph = SceneGraph(scene)
    found: dict[str, Hypothesis] = {}
    for _ in range(6 * count):
        template = choice(rng, tuple(TEMPLATES))
        label = choice(rng, LABELS)
        text = TEMPLATES[template](graph, label, rng)
        if text is not None:
            said = sentence(text)
            votes = _votes(label, rng)
            premise = int(rng.random() * len(premises))
            found.setdefault(said, Hypothesis(premise, said, label, votes, template))
        if len(found) == count:
            break
    return tuple(found.values())


def _votes(label: Label, rng: np.random.Generator) -> tuple[str, ...]:
    """Annotators' votes, the writer's first; the label keeps a clear majority."""
    number = choice(rng, VOTES)
    wrong = sum(bernoulli(rng, 0.12) for _ in range(number - 1))
    others = [choice(rng, [name for name in LABELS if name != label]) for _ in range(min(wrong, (number - 1) // 2))]
    return (label, *shuffled(rng, [*others, *[label] * (number - 1 - len(others))]))


def _lone(graph: SceneGraph) -> list[str]:
    """Kinds of which the picture shows exactly one."""
    return [category for category, objects in graph.by_category.items() if len(objects) == 1]


def _absent(graph: SceneGraph, rng: np.random.Generator) -> str:
    """A kind that the picture does not show."""
    while True:
        category = choice(rng, CATEGORIES).name
        if category not in graph.by_category:
            return category


def _owned(description: Description, rng: np.random.Generator) -> str:
    return realize(description, rng, choice(rng, OWNERS))


def _attribute(name: str) -> Callable[[SceneGraph, Label, np.random.Generator], str | None]:
    """A claim about one thing's colour, pattern or size. Two things of the picture lend the two values."""

    def make(graph: SceneGraph, label: Label, rng: np.random.Generator) -> str | None:
        lone = _lone(graph)
        if len(lone) < 2:
            return None
        first, second = shuffled(rng, lone)[:2]
        values = [getattr(graph.objects[graph.by_category[category][0]], name) for category in (first, second)]
        if values[0] == values[1]:
            return None
        value = values[1] if label == "contradiction" else values[0]
        subject = _absent(graph, rng) if label == "neutral" else first
        return _claim(name, Description(category=subject), value, rng)

    return make


def _claim(name: str, subject: Description, value: str, rng: np.random.Generator) -> str:
    the = _owned(subject, rng)
    ways: tuple[str, ...]
    if name == "color":
        word = realize_color(value, rng)
        ways = (
            f"{the} is {word}",
            f"{the} is {word}",
            f"{word} is the color of {the}",
            f"the color of {the} is {word}",
        )
    elif name == "pattern":
        word = choice(rng, PATTERN_WORDS[value])
        ways = (
            f"{the} is {word}",
            f"{the} looks {word}",
            f"{the} has a {word} pattern" if value != "plain" else f"{the} is plain",
        )
    else:
        word = choice(rng, SIZE_WORDS[value])
        ways = (f"{the} is {word}", f"{the} is rather {word}", f"{the} looks {word}")
    return choice(rng, ways)


def _side(graph: SceneGraph, label: Label, rng: np.random.Generator) -> str | None:
    """One thing is to the left (right) of another."""
    lone = _lone(graph)
    if len(lone) < 2:
        return None
    first, second = shuffled(rng, lone)[:2]
    name = choice(rng, ("left of", "right of"))
    truth = holds(graph, name, graph.by_category[first][0], graph.by_category[second][0])
    if truth is None:
        return None
    if label != "neutral" and truth is (label == "contradiction"):
        name = MIRROR[name]
    return _relation(graph, label, first, name, second, rng)


def _touch(graph: SceneGraph, label: Label, rng: np.random.Generator) -> str | None:
    """One thing is on, under, next to, in front of or behind another. The claim joins the words of two true ones:
    the relation of one linked pair and the things of another, when it has to be wrong."""
    pairs = [
        (a, b, name)
        for (a, b), name in graph.linked.items()
        if len(graph.by_category[graph.objects[a].category]) == 1
        and len(graph.by_category[graph.objects[b].category]) == 1
    ]
    names = {name for _, _, name in pairs}
    if len(names) < 2:
        return None
    a, b, name = choice(rng, pairs)
    if label == "contradiction":
        a, b, _ = choice(rng, [pair for pair in pairs if pair[2] != name])
    return _relation(graph, label, graph.objects[a].category, name, graph.objects[b].category, rng)


def _relation(graph: SceneGraph, label: Label, first: str, name: str, second: str, rng: np.random.Generator) -> str:
    if label == "neutral":
        first, second = (_absent(graph, rng), second) if bernoulli(rng, 0.5) else (first, _absent(graph, rng))
    the, that = _owned(Description(category=first), rng), _owned(Description(category=second), rng)
    where = choice(rng, RELATION_WORDS[name])
    return choice(
        rng,
        (
            f"{the} is {where} {that}",
            f"{the} is {where} {that}",
            f"{where} {that} is {the}",
            f"you can find {the} {where} {that}",
        ),
    )


def _larger(graph: SceneGraph, label: Label, rng: np.random.Generator) -> str | None:
    """One thing is larger (smaller) than another."""
    lone = _lone(graph)
    if len(lone) < 2:
        return None
    first, second = shuffled(rng, lone)[:2]
    one, two = (graph.area[graph.by_category[category][0]] for category in (first, second))
    if max(one, two) < TIMES_LARGER * min(one, two):
        return None
    larger = (one > two) is (label != "contradiction")
    words = ("bigger", "larger") if larger else ("smaller",)
    if label == "neutral":
        first, second = (_absent(graph, rng), second) if bernoulli(rng, 0.5) else (first, _absent(graph, rng))
    the, that = _owned(Description(category=first), rng), _owned(Description(category=second), rng)
    measure = choice(rng, words)
    return choice(rng, (f"{the} is {measure} than {that}", f"{the} looks {measure} than {that}"))


TEMPLATES: Final[dict[str, Callable[[SceneGraph, Label, np.random.Generator], str | None]]] = {
    "color": _attribute("color"),
    "pattern": _attribute("pattern"),
    "size": _attribute("size"),
    "side": _side,
    "touch": _touch,
    "larger": _larger,
}
