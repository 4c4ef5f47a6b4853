"""NLVR2 statements: a sentence about two images, true of half the pairs of its set and false of the other half.

Every sentence is evaluated on all pairs of a set and kept only if half of them are true, so the template, the number
and the noun do not reveal the label. Sentences with different labels for two variants of an image come first.
Paper: section 2.1, G4 and Eq. 4.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from numpy.random import Generator

from twelvefold.schema import TwelvefoldError
from twelvefold.world.scene import Scene
from twelvefold.world.text.annotations import Statement
from twelvefold.world.text.description import ObjectDescription
from twelvefold.world.text.lexicon import HYPERNYMS, NUMBER_WORDS, to_sentence
from twelvefold.world.text.realize import realize
from twelvefold.world.text.sampling import bernoulli, choice, fill, parse_templates, shuffled
from twelvefold.world.text.scene_graph import SceneGraph

Counts = tuple[int, int]
"""How many objects a noun matches in the left and in the right image."""


CONDITIONS: Final[dict[str, tuple[Callable[[int, int, int], bool], tuple[int, ...]]]] = {
    "total": (lambda left, right, n: left + right == n, (1, 2, 3, 4)),
    "at least": (lambda left, right, n: left + right >= n, (2, 3, 4)),
    "at most": (lambda left, right, n: left + right <= n, (1, 2, 3)),
    "both": (lambda left, right, n: left > 0 and right > 0, (1,)),
    "only one": (lambda left, right, n: (left > 0) != (right > 0), (1,)),
    "left": (lambda left, right, n: left > 0, (1,)),
    "right": (lambda left, right, n: right > 0, (1,)),
    "left number": (lambda left, right, n: left == n, (1, 2, 3)),
    "right number": (lambda left, right, n: right == n, (1, 2, 3)),
    "left more": (lambda left, right, n: left > right, (0,)),
    "right more": (lambda left, right, n: right > left, (0,)),
    "as many": (lambda left, right, n: left == right, (0,)),
    "neither": (lambda left, right, n: left + right == 0, (0,)),
}
"""Conditions of (left count, right count, n), and the values of n to try."""

TEMPLATES: Final = dict(
    parse_templates(
        """
total: there {are} exactly {n} {these} in the two pictures | there {are} {n} {these} in total
    | the two images show exactly {n} {these} altogether | one can count {n} {these} in both photos together
at least: there are at least {n} {these} | the pictures show {n} or more {these}
    | at least {n} {these} can be seen in the two images
at most: there {are} no more than {n} {these} | at most {n} {these} can be seen in the two pictures
both: both pictures contain {a} | there is {a} in each image | each photo shows at least one {noun}
    | {a} is in both images
only one: only one of the pictures contains {a} | exactly one image shows {a}
    | {a} can be seen in just one of the photos
left: there is {a} in the left picture | the left image contains {a} | the image on the left shows {a}
right: there is {a} in the right picture | the right image contains {a} | the image on the right shows {a}
left number: the left picture shows exactly {n} {these} | there {are} {n} {these} in the image on the left
right number: the right picture shows exactly {n} {these} | there {are} {n} {these} in the image on the right
left more: there are more {many} in the left picture than in the right one
    | the left image has more {many} than the right image
right more: there are more {many} in the right picture than in the left one
    | the right image has more {many} than the left image
as many: the two pictures have the same number of {many}
    | there are as many {many} in the left image as in the right image
neither: there are no {many} in the pictures | neither image shows {a} | {a} can not be seen in either picture
"""
    )
)


def generate_statements(pairs: Sequence[tuple[Scene, Scene]], rng: Generator, count: int = 2) -> tuple[Statement, ...]:
    """Return at most ``count`` sentences with different templates, each evaluated on every pair.

    Raises:
        TwelvefoldError: The number of pairs is odd.
    """
    if not pairs or len(pairs) % 2:
        raise TwelvefoldError(f"statements need an even number of image pairs, got {len(pairs)}")
    graphs = {id(scene): SceneGraph(scene) for pair in pairs for scene in pair}
    nouns = _count_nouns([(graphs[id(left)], graphs[id(right)]) for left, right in pairs])
    splits = {name: _find_splits(name, nouns, len(pairs)) for name in CONDITIONS}
    statements: dict[str, Statement] = {}
    for wants_difference in (True, False):
        for name in shuffled(rng, CONDITIONS):
            options = [split for split in splits[name] if _differs_in_variants(split[2]) is wants_difference]
            if options and len(statements) < count and name not in statements:
                noun, number, labels = choice(rng, options)
                statements[name] = Statement(_word(TEMPLATES[name], noun, number, rng), labels, _noun_sort(noun))
    return tuple(statements.values())


def _count_nouns(pairs: Sequence[tuple[SceneGraph, SceneGraph]]) -> list[tuple[ObjectDescription, list[Counts]]]:
    """Return the nouns with different counts in the pairs, without those that people disagree about."""
    objects = [obj for pair in pairs for graph in pair for obj in graph.objects]
    nouns = [
        *(ObjectDescription(category=category) for category in sorted({o.category for o in objects})),
        *(ObjectDescription(category=c, color=color) for c, color in sorted({(o.category, o.color) for o in objects})),
        *(ObjectDescription(hypernym=name) for name in HYPERNYMS),
        *(ObjectDescription(color=color) for color in sorted({o.color for o in objects})),
    ]
    counted = []
    for noun in nouns:
        matches = [(left.undisputed_matches(noun), right.undisputed_matches(noun)) for left, right in pairs]
        counts = [(len(left), len(right)) for left, right in matches if left is not None and right is not None]
        if len(counts) == len(pairs) and len(set(counts)) > 1:
            counted.append((noun, counts))
    return counted


def _find_splits(
    template: str, nouns: Sequence[tuple[ObjectDescription, list[Counts]]], num_pairs: int
) -> list[tuple[ObjectDescription, int, tuple[bool, ...]]]:
    """Return (noun, number, labels) with which the template is true of half the pairs."""
    splits = []
    is_true, numbers = CONDITIONS[template]
    for noun, counts in nouns:
        for number in numbers:
            labels = tuple(is_true(left, right, number) for left, right in counts)
            if 2 * sum(labels) == num_pairs:
                splits.append((noun, number, labels))
    return splits


def _differs_in_variants(labels: tuple[bool, ...]) -> bool:
    return all(a != b for a, b in zip(labels[::2], labels[1::2], strict=True))


def _noun_sort(noun: ObjectDescription) -> str:
    """Return the sort of a noun as the official files contain it."""
    sorts = {"kind": noun.category, "class": noun.hypernym, "colour": noun.color}
    return " ".join(name for name, value in sorts.items() if value)


def _word(templates: str, noun: ObjectDescription, number: int, rng: Generator) -> str:
    slots = {
        "a": realize(noun, rng, "a"),
        "noun": realize(noun, rng, ""),
        "many": realize(noun, rng, "", plural=True),
        "these": realize(noun, rng, "", plural=number != 1),
        "n": NUMBER_WORDS[number] if bernoulli(rng, 0.85) else str(number),
        "are": "is" if number == 1 else "are",
    }
    return to_sentence(fill(rng, templates, **slots), choice(rng, (".", ".", ".", "")))
