"""Visual Genome questions: free questions of six sorts (what, where, when, who, why, how) with free short answers.

Paper: section 2.1, G1; VG QA shares VQAv2's answer list, so answers normalise to the same words.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from twelvefold.world.categories import BACKGROUND_BY_NAME
from twelvefold.world.scene import Scene
from twelvefold.world.text import question_templates
from twelvefold.world.text.annotations import VgQuestion
from twelvefold.world.text.description import Description, SceneGraph, describe_uniquely
from twelvefold.world.text.lexicon import (
    ABILITIES,
    CLASSES,
    PATTERN_ANSWERS,
    RELATION_WORDS,
    add_article,
    bernoulli,
    choice,
    sentence,
)
from twelvefold.world.text.question_templates import QuestionFrame
from twelvefold.world.text.realize import realize

Maker = Callable[[SceneGraph, np.random.Generator], VgQuestion | None]

LONG_ANSWERS: Final = 0.12
"""Share of the places told in a whole phrase (``In a room.``), which VQA's answer list has not, as in real data."""


def generate_vg_questions(scene: Scene, rng: np.random.Generator, count: int = 5) -> tuple[VgQuestion, ...]:
    """At most ``count`` different questions about the picture with their answers as people write them."""
    graph = SceneGraph(scene)
    found: dict[str, VgQuestion] = {}
    for _ in range(4 * count):
        question = choice(rng, TEMPLATES)(graph, rng)
        if question is not None:
            found.setdefault(question.question, question)
        if len(found) == count:
            break
    return tuple(found.values())


def _question(frame: QuestionFrame, ways: tuple[str, ...], answer: str, rng: np.random.Generator) -> VgQuestion:
    return VgQuestion(
        question=sentence(choice(rng, ways), "?"),
        answer=sentence(answer),
        template=frame.template,
        q_objects=frame.objects[-1:] if frame.template in ("neighbor", "occluder") else frame.objects,
        a_objects=frame.objects[:1] if frame.template in ("neighbor", "occluder", "category") else (),
    )


def _color(graph: SceneGraph, rng: np.random.Generator) -> VgQuestion | None:
    frame = question_templates.attribute(graph, rng, "color")
    if frame is None:
        return None
    the = realize(frame.subject, rng)
    ways = (
        f"what color is {the}",
        f"what color is {the}",
        f"what is the color of {the}",
        f"what color would you call {the}",
    )
    return _question(frame, ways, frame.answer, rng)


def _pattern(graph: SceneGraph, rng: np.random.Generator) -> VgQuestion | None:
    frame = question_templates.attribute(graph, rng, "pattern")
    if frame is None:
        return None
    the = realize(frame.subject, rng)
    ways = (f"what is on the surface of {the}", f"how is {the} decorated", f"what design does {the} have")
    return _question(frame, ways, PATTERN_ANSWERS[frame.answer], rng)


def _size(graph: SceneGraph, rng: np.random.Generator) -> VgQuestion | None:
    frame = question_templates.attribute(graph, rng, "size")
    if frame is None:
        return None
    the = realize(frame.subject, rng)
    return _question(
        frame, (f"how big is {the}", f"how large is {the}", f"what is the size of {the}"), frame.answer, rng
    )


def _count(graph: SceneGraph, rng: np.random.Generator) -> VgQuestion | None:
    frame = question_templates.count(graph, rng)
    if frame is None:
        return None
    these = realize(frame.subject, rng, "", plural=True)
    ways = (f"how many {these} are there", f"how many {these} are shown", f"how many {these} are in the photo")
    return _question(frame, ways, frame.answer, rng)


def _neighbor(graph: SceneGraph, rng: np.random.Generator) -> VgQuestion | None:
    frame = question_templates.neighbor(graph, rng)
    if frame is None:
        return None
    where, the = choice(rng, RELATION_WORDS[frame.detail]), realize(frame.subject, rng)
    who = frame.answer in CLASSES["animal"].members and bernoulli(rng, 0.5)
    ways = (f"who is {where} {the}",) if who else (f"what is {where} {the}", f"what is sitting {where} {the}")
    return _question(frame, ways, _a_thing(frame.answer, rng), rng)


def _category(graph: SceneGraph, rng: np.random.Generator) -> VgQuestion | None:
    frame = question_templates.query_category(graph, rng)
    if frame is None:
        return None
    the = realize(frame.subject, rng)
    return _question(frame, (f"what is {the}", f"what is {the} called"), _a_thing(frame.answer, rng), rng)


def _ability(graph: SceneGraph, rng: np.random.Generator) -> VgQuestion | None:
    """What a single thing of the picture can do or be used for tells it; the answer is its kind."""
    for name in (choice(rng, list(ABILITIES)), choice(rng, list(ABILITIES))):
        found = question_templates.certain_matches(graph, Description(ability=name))
        if found is not None and len(found) == 1 and len(ABILITIES[name].members) > 3:
            frame = QuestionFrame("category by use", graph.objects[found[0]].category, objects=found)
            can = choice(rng, ABILITIES[name].can)
            ways = (f"what is there that {can}", f"what in the picture {can}" if can[-1] != "t" else f"what {can}")
            return _question(frame, ways, _a_thing(frame.answer, rng), rng)
    return None


def _a_thing(category: str, rng: np.random.Generator) -> str:
    """A kind as an answer: ``A dog``, ``The dog``, ``Dog``; articles vanish in VQA's normaliser."""
    return choice(rng, (add_article(category), f"the {category}", category))


def _where_is(graph: SceneGraph, rng: np.random.Generator) -> VgQuestion | None:
    """Where a thing is that no other thing holds up: on the left or on the right."""
    frame = question_templates.side(graph, rng)
    if frame is None:
        return None
    the = realize(frame.subject, rng)
    ways = (f"where in the picture is {the}", f"on which side is {the}", f"where can {the} be seen")
    answer = f"on the {frame.answer}" if bernoulli(rng, LONG_ANSWERS) else _with_or_without_the(frame.answer, rng)
    return _question(frame, ways, answer, rng)


def _where_taken(graph: SceneGraph, rng: np.random.Generator) -> VgQuestion | None:
    frame = question_templates.place(graph, rng)
    ways = (
        "where was the photo taken",
        "where is this scene",
        "where are these objects",
        "where was this picture made",
        "what kind of place is this",
    )
    answer = (
        BACKGROUND_BY_NAME[frame.answer].phrase
        if bernoulli(rng, LONG_ANSWERS)
        else _with_or_without_the(frame.answer, rng)
    )
    return _question(frame, ways, answer, rng)


def _with_or_without_the(word: str, rng: np.random.Generator) -> str:
    return choice(rng, (word, f"the {word}"))


def _when(graph: SceneGraph, rng: np.random.Generator) -> VgQuestion | None:
    frame = question_templates.when(graph, rng)
    if frame is None:
        return None
    ways = ("when was this picture taken", "when was the photo taken", "when is this", "when did this scene happen")
    return _question(frame, ways, frame.answer, rng)


def _occluder(graph: SceneGraph, rng: np.random.Generator) -> VgQuestion | None:
    """Why a thing can't be seen whole: what stands in front of it."""
    hidden = [(a, b) for (a, b), name in graph.linked.items() if name == "in front of"]
    if not hidden:
        return None
    front, back = choice(rng, hidden)
    subject = describe_uniquely(graph, back, rng)
    if subject is None:
        return None
    frame = QuestionFrame("occluder", graph.objects[front].category, subject, objects=(front, back))
    the = realize(subject, rng)
    ways = (f"why is {the} partly hidden", f"why can't you see all of {the}", f"what is hiding part of {the}")
    return _question(frame, ways, _a_thing(frame.answer, rng), rng)


TEMPLATES: Final[tuple[Maker, ...]] = (
    *(_color,) * 5,
    *(_pattern,) * 2,
    *(_size,) * 2,
    *(_count,) * 8,
    *(_neighbor,) * 2,
    *(_category,) * 2,
    _ability,
    *(_where_is,) * 3,
    *(_where_taken,) * 2,
    *(_when,) * 4,
    *(_occluder,) * 2,
)
"""How often each is tried; the counts and the times are often passed over, so they stand more often here."""
