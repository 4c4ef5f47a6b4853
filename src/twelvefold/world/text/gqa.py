"""GQA-like questions: families about the same facts, each question with its program and what its answer entails.

One question of a family is balanced (its answer was drawn before the question was made); the others only join the
``all`` file, as in GQA, where consistency asks whether a model that knows one also knows those that follow from it.
Paper: section 2.1, G1.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from twelvefold.world.scene import Scene
from twelvefold.world.text.annotations import GqaQuestion
from twelvefold.world.text.description import SceneGraph
from twelvefold.world.text.gqa_drafts import Draft, Family
from twelvefold.world.text.gqa_one import attribute_family, category_family, exist_family, place_family, position_family
from twelvefold.world.text.gqa_programs import written
from twelvefold.world.text.gqa_two import compare_family, logical_family, neighbor_family, relation_family
from twelvefold.world.text.lexicon import choice, tokenize


def generate_gqa_questions(scene: Scene, rng: np.random.Generator, count: int = 3) -> tuple[GqaQuestion, ...]:
    """At most ``count`` families of questions, each with one balanced question and one to five others."""
    graph = SceneGraph(scene)
    drafts: list[Draft] = []
    families = 0
    for _ in range(5 * count):
        family = choice(rng, FAMILIES)(graph, rng)
        known = {draft.question for draft in drafts}
        if not family or any(draft.question in known for draft in family):
            continue
        offset = len(drafts)
        drafts += [replace(d, entails=tuple(offset + i for i in d.entails)) for d in family]
        families += 1
        if families == count:
            break
    return tuple(_finished(drafts, place) for place in range(len(drafts)))


def _finished(drafts: list[Draft], place: int) -> GqaQuestion:
    draft = drafts[place]
    mutual = tuple(i for i in draft.entails if place in drafts[i].entails)
    structural, semantic, detailed = draft.types
    return GqaQuestion(
        question=draft.question,
        answer=draft.answer,
        full_answer=draft.full_answer,
        semantic=tuple(draft.program.steps),
        semantic_str=written(draft.program.steps),
        structural=structural,
        semantic_type=semantic,
        detailed=detailed,
        group_global=draft.groups[0],
        group_local=draft.groups[1],
        is_balanced=draft.balanced,
        entailed=draft.entails,
        equivalent=(place, *mutual),
        question_pointers=_pointers(draft.question, draft.subject),
        full_answer_pointers=_pointers(draft.full_answer, draft.subject),
    )


def _pointers(text: str, subjects: tuple[tuple[str, int], ...]) -> tuple[tuple[str, int], ...]:
    """Word spans of the phrases: ``3:5`` for words 3 and 4, ``3`` for one word."""
    words, found = tokenize(text), []
    for phrase, obj in subjects:
        wanted = tokenize(phrase)
        for start in range(len(words) - len(wanted) + 1):
            if words[start : start + len(wanted)] == wanted:
                end = start + len(wanted)
                found.append((str(start) if end == start + 1 else f"{start}:{end}", obj))
                break
    return tuple(found)


FAMILIES: Final[tuple[Family, ...]] = (
    *(attribute_family,) * 6,
    *(relation_family,) * 4,
    *(neighbor_family,) * 2,
    *(exist_family,) * 3,
    *(logical_family,) * 2,
    *(compare_family,) * 3,
    *(place_family,) * 1,
    *(position_family,) * 2,
    *(category_family,) * 2,
)
"""How often each is tried; kinds as answers stay a moderate share, for they are the slowest to learn."""
