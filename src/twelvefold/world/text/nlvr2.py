"""NLVR2 statements: a sentence about two pictures, true of half the pairs of its set and false of the other half.

Every sentence is judged on all pairs of a set and kept only if as many are true as false: whatever the template, the
number or the noun, the words say nothing about the label. Sentences that tell twins apart are taken before others.
Paper: section 2.1, G4 and Eq. 4.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np

from twelvefold.schema import TwelvefoldError
from twelvefold.world.scene import Scene
from twelvefold.world.text.annotations import Statement
from twelvefold.world.text.description import Description, SceneGraph
from twelvefold.world.text.lexicon import CLASSES, NUMBERS, bernoulli, choice, sentence, shuffled
from twelvefold.world.text.question_templates import certain_matches
from twelvefold.world.text.realize import realize

Counts = tuple[int, int]
"""How many things a noun names in the left and in the right picture."""


class _Template(NamedTuple):
    """``holds(left, right, number)``; ``numbers`` it is tried with; ``ways`` to say it: {a}, {these}, {n}, {are}."""

    holds: Callable[[int, int, int], bool]
    numbers: tuple[int, ...]
    ways: tuple[str, ...]


TEMPLATES: Final[dict[str, _Template]] = {
    "total": _Template(
        lambda left, right, n: left + right == n,
        (1, 2, 3, 4),
        (
            "there {are} exactly {n} {these} in the two pictures",
            "there {are} {n} {these} in total",
            "the two images show exactly {n} {these} altogether",
            "one can count {n} {these} in both photos together",
        ),
    ),
    "at least": _Template(
        lambda left, right, n: left + right >= n,
        (2, 3, 4),
        (
            "there are at least {n} {these}",
            "the pictures show {n} or more {these}",
            "at least {n} {these} can be seen in the two images",
        ),
    ),
    "at most": _Template(
        lambda left, right, n: left + right <= n,
        (1, 2, 3),
        ("there {are} no more than {n} {these}", "at most {n} {these} can be seen in the two pictures"),
    ),
    "both": _Template(
        lambda left, right, n: left > 0 and right > 0,
        (1,),
        (
            "both pictures contain {a}",
            "there is {a} in each image",
            "each photo shows at least one {one}",
            "{a} is in both images",
        ),
    ),
    "only one": _Template(
        lambda left, right, n: (left > 0) != (right > 0),
        (1,),
        (
            "only one of the pictures contains {a}",
            "exactly one image shows {a}",
            "{a} can be seen in just one of the photos",
        ),
    ),
    "left": _Template(
        lambda left, right, n: left > 0,
        (1,),
        ("there is {a} in the left picture", "the left image contains {a}", "the image on the left shows {a}"),
    ),
    "right": _Template(
        lambda left, right, n: right > 0,
        (1,),
        ("there is {a} in the right picture", "the right image contains {a}", "the image on the right shows {a}"),
    ),
    "left number": _Template(
        lambda left, right, n: left == n,
        (1, 2, 3),
        ("the left picture shows exactly {n} {these}", "there {are} {n} {these} in the image on the left"),
    ),
    "right number": _Template(
        lambda left, right, n: right == n,
        (1, 2, 3),
        ("the right picture shows exactly {n} {these}", "there {are} {n} {these} in the image on the right"),
    ),
    "left more": _Template(
        lambda left, right, n: left > right,
        (0,),
        (
            "there are more {many} in the left picture than in the right one",
            "the left image has more {many} than the right image",
        ),
    ),
    "right more": _Template(
        lambda left, right, n: right > left,
        (0,),
        (
            "there are more {many} in the right picture than in the left one",
            "the right image has more {many} than the left image",
        ),
    ),
    "as many": _Template(
        lambda left, right, n: left == right,
        (0,),
        (
            "the two pictures have the same number of {many}",
            "there are as many {many} in the left image as in the right image",
        ),
    ),
    "neither": _Template(
        lambda left, right, n: left + right == 0,
        (0,),
        ("there are no {many} in the pictures", "neither image shows {a}", "{a} can not be seen in either picture"),
    ),
}


def generate_statements(
    pairs: Sequence[tuple[Scene, Scene]], rng: np.random.Generator, count: int = 2
) -> tuple[Statement, ...]:
    """At most ``count`` sentences, of different templates while there are enough, each judged on every pair.

    Raises: TwelvefoldError for an odd number of pairs, of which no sentence could be true of half.
    """
    if not pairs or len(pairs) % 2:
        raise TwelvefoldError(f"statements split an even number of picture pairs in two halves, got {len(pairs)}")
    views = {id(scene): SceneGraph(scene) for pair in pairs for scene in pair}
    looked = [(views[id(left)], views[id(right)]) for left, right in pairs]
    nouns = _counted(looked)
    splits = {name: _splitting(template, nouns, len(pairs)) for name, template in TEMPLATES.items()}
    found: list[Statement] = []
    for twins in (True, False):
        for name in shuffled(rng, tuple(TEMPLATES)):
            split = [s for s in splits[name] if _tells_twins_apart(s[2]) is twins]
            if split and len(found) < count and all(s.template != name for s in found):
                description, number, labels = choice(rng, split)
                said = _worded(TEMPLATES[name], description, number, rng)
                found.append(Statement(said, labels, name, number, _noun_class(description)))
    return tuple(found)


def _counted(looked: Sequence[tuple[SceneGraph, SceneGraph]]) -> list[tuple[Description, list[Counts]]]:
    """Nouns that occur in the set, with their counts in each pair; nouns open to argument are left out."""
    objects = [obj for pair in looked for graph in pair for obj in graph.objects]
    categories = sorted({obj.category for obj in objects})
    nouns = [Description(category=category) for category in categories]
    nouns += [Description(category=k, color=c) for k, c in sorted({(t.category, t.color) for t in objects})]
    nouns += [Description(class_=name) for name in CLASSES]
    nouns += [Description(color=c) for c in sorted({obj.color for obj in objects})]
    found = []
    for description in nouns:
        counts = [(certain_matches(left, description), certain_matches(right, description)) for left, right in looked]
        known = [(len(left), len(right)) for left, right in counts if left is not None and right is not None]
        if len(known) == len(looked) and len(set(known)) > 1:
            found.append((description, known))
    return found


def _splitting(
    template: _Template, nouns: Sequence[tuple[Description, list[Counts]]], pairs: int
) -> list[tuple[Description, int, tuple[bool, ...]]]:
    """Noun and number with which the template is true of exactly half the pairs."""
    found = []
    for description, counts in nouns:
        for number in template.numbers:
            labels = tuple(template.holds(left, right, number) for left, right in counts)
            if 2 * sum(labels) == pairs:
                found.append((description, number, labels))
    return found


def _tells_twins_apart(labels: tuple[bool, ...]) -> bool:
    return all(a != b for a, b in zip(labels[::2], labels[1::2], strict=True))


def _noun_class(description: Description) -> str:
    """What sort of noun it is: labels are balanced for each template, number and sort."""
    return " ".join(
        name
        for name, said in (("kind", description.category), ("class", description.class_), ("colour", description.color))
        if said
    )


def _worded(template: _Template, description: Description, number: int, rng: np.random.Generator) -> str:
    words = {
        "a": realize(description, rng, "a"),
        "one": realize(description, rng, ""),
        "many": realize(description, rng, "", plural=True),
        "these": realize(description, rng, "", plural=number != 1),
        "n": NUMBERS[number] if bernoulli(rng, 0.85) else str(number),
        "are": "is" if number == 1 else "are",
    }
    return sentence(choice(rng, template.ways).format(**words), choice(rng, (".", ".", ".", "")))
