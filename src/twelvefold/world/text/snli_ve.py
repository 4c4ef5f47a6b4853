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

from twelvefold.world.categories import KINDS
from twelvefold.world.scene import Scene
from twelvefold.world.text.annotations import Caption, Hypothesis
from twelvefold.world.text.description import MIRROR, TIMES_LARGER, Description, View, holds
from twelvefold.world.text.lexicon import PATTERN_WORDS, RELATION_WORDS, SIZE_WORDS, chance, pick, sentence, shuffled
from twelvefold.world.text.realize import colour, say

Label = Literal["entailment", "neutral", "contradiction"]
LABELS: Final[tuple[Label, ...]] = ("entailment", "neutral", "contradiction")

OWNERS: Final = ("the", "the", "the", "their", "our", "someone's", "the family's", "her", "his", "my")
VOTES: Final = (1, 1, 1, 3, 5)
"""How many annotators judged a pair: most pairs in the official files hold one vote, some up to five."""


def hypotheses(
    scene: Scene, premises: Sequence[Caption], rng: np.random.Generator, count: int = 3
) -> tuple[Hypothesis, ...]:
    """At most ``count`` different hypotheses about the picture, each under a drawn premise."""
    view = View(scene)
    found: dict[str, Hypothesis] = {}
    for _ in range(6 * count):
        template = pick(rng, tuple(TEMPLATES))
        label = pick(rng, LABELS)
        text = TEMPLATES[template](view, label, rng)
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
    number = pick(rng, VOTES)
    wrong = sum(chance(rng, 0.12) for _ in range(number - 1))
    others = [pick(rng, [name for name in LABELS if name != label]) for _ in range(min(wrong, (number - 1) // 2))]
    return (label, *shuffled(rng, [*others, *[label] * (number - 1 - len(others))]))


def _lone(view: View) -> list[str]:
    """Kinds of which the picture shows exactly one."""
    return [kind for kind, things in view.by_kind.items() if len(things) == 1]


def _absent(view: View, rng: np.random.Generator) -> str:
    """A kind that the picture does not show."""
    while True:
        kind = pick(rng, KINDS).name
        if kind not in view.by_kind:
            return kind


def _owned(what: Description, rng: np.random.Generator) -> str:
    return say(what, rng, pick(rng, OWNERS))


def _attribute(name: str) -> Callable[[View, Label, np.random.Generator], str | None]:
    """A claim about one thing's colour, pattern or size. Two things of the picture lend the two values."""

    def make(view: View, label: Label, rng: np.random.Generator) -> str | None:
        lone = _lone(view)
        if len(lone) < 2:
            return None
        first, second = shuffled(rng, lone)[:2]
        values = [getattr(view.things[view.by_kind[kind][0]], name) for kind in (first, second)]
        if values[0] == values[1]:
            return None
        value = values[1] if label == "contradiction" else values[0]
        subject = _absent(view, rng) if label == "neutral" else first
        return _claim(name, Description(kind=subject), value, rng)

    return make


def _claim(name: str, subject: Description, value: str, rng: np.random.Generator) -> str:
    the = _owned(subject, rng)
    ways: tuple[str, ...]
    if name == "colour":
        word = colour(value, rng)
        ways = (
            f"{the} is {word}",
            f"{the} is {word}",
            f"{word} is the color of {the}",
            f"the color of {the} is {word}",
        )
    elif name == "pattern":
        word = pick(rng, PATTERN_WORDS[value])
        ways = (
            f"{the} is {word}",
            f"{the} looks {word}",
            f"{the} has a {word} pattern" if value != "plain" else f"{the} is plain",
        )
    else:
        word = pick(rng, SIZE_WORDS[value])
        ways = (f"{the} is {word}", f"{the} is rather {word}", f"{the} looks {word}")
    return pick(rng, ways)


def _side(view: View, label: Label, rng: np.random.Generator) -> str | None:
    """One thing is to the left (right) of another."""
    lone = _lone(view)
    if len(lone) < 2:
        return None
    first, second = shuffled(rng, lone)[:2]
    name = pick(rng, ("left of", "right of"))
    truth = holds(view, name, view.by_kind[first][0], view.by_kind[second][0])
    if truth is None:
        return None
    if label != "neutral" and truth is (label == "contradiction"):
        name = MIRROR[name]
    return _relation(view, label, first, name, second, rng)


def _touch(view: View, label: Label, rng: np.random.Generator) -> str | None:
    """One thing is on, under, next to, in front of or behind another. The claim joins the words of two true ones:
    the relation of one linked pair and the things of another, when it has to be wrong."""
    pairs = [
        (a, b, name)
        for (a, b), name in view.linked.items()
        if len(view.by_kind[view.things[a].kind]) == 1 and len(view.by_kind[view.things[b].kind]) == 1
    ]
    names = {name for _, _, name in pairs}
    if len(names) < 2:
        return None
    a, b, name = pick(rng, pairs)
    if label == "contradiction":
        a, b, _ = pick(rng, [pair for pair in pairs if pair[2] != name])
    return _relation(view, label, view.things[a].kind, name, view.things[b].kind, rng)


def _relation(view: View, label: Label, first: str, name: str, second: str, rng: np.random.Generator) -> str:
    if label == "neutral":
        first, second = (_absent(view, rng), second) if chance(rng, 0.5) else (first, _absent(view, rng))
    the, that = _owned(Description(kind=first), rng), _owned(Description(kind=second), rng)
    where = pick(rng, RELATION_WORDS[name])
    return pick(
        rng,
        (
            f"{the} is {where} {that}",
            f"{the} is {where} {that}",
            f"{where} {that} is {the}",
            f"you can find {the} {where} {that}",
        ),
    )


def _larger(view: View, label: Label, rng: np.random.Generator) -> str | None:
    """One thing is larger (smaller) than another."""
    lone = _lone(view)
    if len(lone) < 2:
        return None
    first, second = shuffled(rng, lone)[:2]
    one, two = (view.area[view.by_kind[kind][0]] for kind in (first, second))
    if max(one, two) < TIMES_LARGER * min(one, two):
        return None
    larger = (one > two) is (label != "contradiction")
    words = ("bigger", "larger") if larger else ("smaller",)
    if label == "neutral":
        first, second = (_absent(view, rng), second) if chance(rng, 0.5) else (first, _absent(view, rng))
    the, that = _owned(Description(kind=first), rng), _owned(Description(kind=second), rng)
    measure = pick(rng, words)
    return pick(rng, (f"{the} is {measure} than {that}", f"{the} looks {measure} than {that}"))


TEMPLATES: Final[dict[str, Callable[[View, Label, np.random.Generator], str | None]]] = {
    "colour": _attribute("colour"),
    "pattern": _attribute("pattern"),
    "size": _attribute("size"),
    "side": _side,
    "touch": _touch,
    "larger": _larger,
}
