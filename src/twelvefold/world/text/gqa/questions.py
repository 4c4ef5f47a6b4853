"""GQA-like questions in families about the same facts, each with its program and the questions that it entails.

One question of a family is balanced: its answer was chosen before the question. The others are in the ``all`` file
only, as in GQA, where consistency measures whether a model that answers one question also answers the entailed ones.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from numpy.random import Generator

from twelvefold.world.scene import Scene
from twelvefold.world.text.annotations import GqaQuestion, Pointers
from twelvefold.world.text.gqa.draft import Draft, Family
from twelvefold.world.text.gqa.object_pairs import comparison_family, logical_family, neighbor_family, relation_family
from twelvefold.world.text.gqa.program import format_program
from twelvefold.world.text.gqa.single_object import (
    attribute_family,
    background_family,
    category_family,
    existence_family,
    side_family,
)
from twelvefold.world.text.lexicon import tokenize
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
    drafts: list[Draft] = []
    num_families = 0
    for _ in range(5 * count):
        family = choice(rng, FAMILIES)(graph, rng)
        known = {draft.question for draft in drafts}
        if not family or any(draft.question in known for draft in family):
            continue
        offset = len(drafts)
        drafts += [replace(d, entails=tuple(offset + i for i in d.entails)) for d in family]
        num_families += 1
        if num_families == count:
            break
    return tuple(_finish(drafts, index) for index in range(len(drafts)))


def _finish(drafts: list[Draft], index: int) -> GqaQuestion:
    draft = drafts[index]
    return GqaQuestion(
        question=draft.question,
        answer=draft.answer,
        full_answer=draft.full_answer,
        semantic=draft.steps,
        semantic_str=format_program(draft.steps),
        types=draft.types,
        groups=draft.groups,
        is_balanced=draft.balanced,
        entailed=draft.entails,
        equivalent=(index, *(i for i in draft.entails if index in drafts[i].entails)),
        question_pointers=_point(draft.question, draft.pointers),
        full_answer_pointers=_point(draft.full_answer, draft.pointers),
    )


def _point(text: str, phrases: Pointers) -> Pointers:
    """Replace each phrase by its token span in the text: ``3:5`` for tokens 3 and 4, ``3`` for one token."""
    tokens, pointers = tokenize(text), []
    for phrase, obj in phrases:
        wanted = tokenize(phrase)
        for start in range(len(tokens) - len(wanted) + 1):
            end = start + len(wanted)
            if tokens[start:end] == wanted:
                pointers.append((str(start) if end == start + 1 else f"{start}:{end}", obj))
                break
    return tuple(pointers)
