"""GQA-like questions in families about the same facts, each with its program and the questions that it entails.

One question of a family is balanced: its answer was chosen before the question. The others are in the ``all`` file
only, as in GQA, where consistency measures whether a model that answers one question also answers the entailed ones.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from numpy.random import Generator

from twelvefold.world.scene import Scene
from twelvefold.world.text.annotations import GqaQuestion
from twelvefold.world.text.gqa.builders import Family
from twelvefold.world.text.gqa.object_pairs import comparison_family, logical_family, neighbor_family, relation_family
from twelvefold.world.text.gqa.single_object import (
    attribute_family,
    background_family,
    category_family,
    existence_family,
    side_family,
)
from twelvefold.world.text.sampling import choice
from twelvefold.world.text.scene_graph import SceneGraph

FAMILIES: Final[tuple[Family, ...]] = (
    *(attribute_family,) * 6,
    *(relation_family,) * 4,
    *(neighbor_family,) * 2,
    *(existence_family,) * 3,
    *(logical_family,) * 2,
    *(comparison_family,) * 3,
    background_family,
    *(side_family,) * 2,
    *(category_family,) * 2,
)
"""Category answers have a moderate weight because they are learned most slowly."""


def generate_gqa_questions(scene: Scene, rng: Generator, count: int = 3) -> tuple[GqaQuestion, ...]:
    """Return at most ``count`` families, each with one balanced question and one to five others."""
    graph = SceneGraph(scene)
    questions: list[GqaQuestion] = []
    num_families = 0
    for _ in range(5 * count):
        family = choice(rng, FAMILIES)(graph, rng)
        known = {question.question for question in questions}
        if not family or any(question.question in known for question in family):
            continue
        offset = len(questions)
        questions += [replace(q, entailed=tuple(offset + i for i in q.entailed)) for q in family]
        num_families += 1
        if num_families == count:
            break
    return tuple(
        replace(q, equivalent=(index, *(i for i in q.entailed if index in questions[i].entailed)))
        for index, q in enumerate(questions)
    )
