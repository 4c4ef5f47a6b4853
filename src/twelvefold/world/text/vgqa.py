"""Visual Genome questions: free questions of six sorts (what, where, when, who, why, how) with free short answers.

Paper: section 2.1, G1; VG QA shares VQAv2's answer list, so answers normalise to the same words.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from twelvefold.world.categories import BACKGROUND
from twelvefold.world.scene import Scene
from twelvefold.world.text import question_templates
from twelvefold.world.text.annotations import VgQuestion
from twelvefold.world.text.description import Description, View, identify
from twelvefold.world.text.lexicon import (
    ABILITIES,
    CLASSES,
    PATTERN_ANSWERS,
    RELATION_WORDS,
    chance,
    pick,
    sentence,
    with_article,
)
from twelvefold.world.text.question_templates import Ask
from twelvefold.world.text.realize import say

Maker = Callable[[View, np.random.Generator], VgQuestion | None]

LONG_ANSWERS: Final = 0.12
"""Share of the places told in a whole phrase (``In a room.``), which VQA's answer list has not, as in real data."""


def vg_questions(scene: Scene, rng: np.random.Generator, count: int = 5) -> tuple[VgQuestion, ...]:
    """At most ``count`` different questions about the picture with their answers as people write them."""
    view = View(scene)
    found: dict[str, VgQuestion] = {}
    for _ in range(4 * count):
        question = pick(rng, TEMPLATES)(view, rng)
        if question is not None:
            found.setdefault(question.question, question)
        if len(found) == count:
            break
    return tuple(found.values())


def _question(ask: Ask, ways: tuple[str, ...], answer: str, rng: np.random.Generator) -> VgQuestion:
    return VgQuestion(
        question=sentence(pick(rng, ways), "?"),
        answer=sentence(answer),
        template=ask.template,
        q_objects=ask.things[-1:] if ask.template in ("neighbour", "occluder") else ask.things,
        a_objects=ask.things[:1] if ask.template in ("neighbour", "occluder", "kind") else (),
    )


def _colour(view: View, rng: np.random.Generator) -> VgQuestion | None:
    ask = question_templates.attribute(view, rng, "colour")
    if ask is None:
        return None
    the = say(ask.subject, rng)
    ways = (
        f"what color is {the}",
        f"what color is {the}",
        f"what is the color of {the}",
        f"what color would you call {the}",
    )
    return _question(ask, ways, ask.answer, rng)


def _pattern(view: View, rng: np.random.Generator) -> VgQuestion | None:
    ask = question_templates.attribute(view, rng, "pattern")
    if ask is None:
        return None
    the = say(ask.subject, rng)
    ways = (f"what is on the surface of {the}", f"how is {the} decorated", f"what design does {the} have")
    return _question(ask, ways, PATTERN_ANSWERS[ask.answer], rng)


def _size(view: View, rng: np.random.Generator) -> VgQuestion | None:
    ask = question_templates.attribute(view, rng, "size")
    if ask is None:
        return None
    the = say(ask.subject, rng)
    return _question(ask, (f"how big is {the}", f"how large is {the}", f"what is the size of {the}"), ask.answer, rng)


def _count(view: View, rng: np.random.Generator) -> VgQuestion | None:
    ask = question_templates.count(view, rng)
    if ask is None:
        return None
    these = say(ask.subject, rng, "", plural=True)
    ways = (f"how many {these} are there", f"how many {these} are shown", f"how many {these} are in the photo")
    return _question(ask, ways, ask.answer, rng)


def _neighbour(view: View, rng: np.random.Generator) -> VgQuestion | None:
    ask = question_templates.neighbour(view, rng)
    if ask is None:
        return None
    where, the = pick(rng, RELATION_WORDS[ask.detail]), say(ask.subject, rng)
    who = ask.answer in CLASSES["animal"].members and chance(rng, 0.5)
    ways = (f"who is {where} {the}",) if who else (f"what is {where} {the}", f"what is sitting {where} {the}")
    return _question(ask, ways, _a_thing(ask.answer, rng), rng)


def _kind(view: View, rng: np.random.Generator) -> VgQuestion | None:
    ask = question_templates.kind_of(view, rng)
    if ask is None:
        return None
    the = say(ask.subject, rng)
    return _question(ask, (f"what is {the}", f"what is {the} called"), _a_thing(ask.answer, rng), rng)


def _ability(view: View, rng: np.random.Generator) -> VgQuestion | None:
    """What a single thing of the picture can do or be used for tells it; the answer is its kind."""
    for name in (pick(rng, list(ABILITIES)), pick(rng, list(ABILITIES))):
        found = question_templates.certain(view, Description(ability=name))
        if found is not None and len(found) == 1 and len(ABILITIES[name].members) > 3:
            ask = Ask("kind by use", view.things[found[0]].kind, things=found)
            can = pick(rng, ABILITIES[name].can)
            ways = (f"what is there that {can}", f"what in the picture {can}" if can[-1] != "t" else f"what {can}")
            return _question(ask, ways, _a_thing(ask.answer, rng), rng)
    return None


def _a_thing(kind: str, rng: np.random.Generator) -> str:
    """A kind as an answer: ``A dog``, ``The dog``, ``Dog``; articles vanish in VQA's normaliser."""
    return pick(rng, (with_article(kind), f"the {kind}", kind))


def _where_is(view: View, rng: np.random.Generator) -> VgQuestion | None:
    """Where a thing is that no other thing holds up: on the left or on the right."""
    ask = question_templates.side(view, rng)
    if ask is None:
        return None
    the = say(ask.subject, rng)
    ways = (f"where in the picture is {the}", f"on which side is {the}", f"where can {the} be seen")
    answer = f"on the {ask.answer}" if chance(rng, LONG_ANSWERS) else _with_or_without_the(ask.answer, rng)
    return _question(ask, ways, answer, rng)


def _where_taken(view: View, rng: np.random.Generator) -> VgQuestion | None:
    ask = question_templates.place(view, rng)
    ways = (
        "where was the photo taken",
        "where is this scene",
        "where are these objects",
        "where was this picture made",
        "what kind of place is this",
    )
    answer = BACKGROUND[ask.answer].phrase if chance(rng, LONG_ANSWERS) else _with_or_without_the(ask.answer, rng)
    return _question(ask, ways, answer, rng)


def _with_or_without_the(word: str, rng: np.random.Generator) -> str:
    return pick(rng, (word, f"the {word}"))


def _when(view: View, rng: np.random.Generator) -> VgQuestion | None:
    ask = question_templates.when(view, rng)
    if ask is None:
        return None
    ways = ("when was this picture taken", "when was the photo taken", "when is this", "when did this scene happen")
    return _question(ask, ways, ask.answer, rng)


def _occluder(view: View, rng: np.random.Generator) -> VgQuestion | None:
    """Why a thing can't be seen whole: what stands in front of it."""
    hidden = [(a, b) for (a, b), name in view.linked.items() if name == "in front of"]
    if not hidden:
        return None
    front, back = pick(rng, hidden)
    subject = identify(view, back, rng)
    if subject is None:
        return None
    ask = Ask("occluder", view.things[front].kind, subject, things=(front, back))
    the = say(subject, rng)
    ways = (f"why is {the} partly hidden", f"why can't you see all of {the}", f"what is hiding part of {the}")
    return _question(ask, ways, _a_thing(ask.answer, rng), rng)


TEMPLATES: Final[tuple[Maker, ...]] = (
    *(_colour,) * 5,
    *(_pattern,) * 2,
    *(_size,) * 2,
    *(_count,) * 8,
    *(_neighbour,) * 2,
    *(_kind,) * 2,
    _ability,
    *(_where_is,) * 3,
    *(_where_taken,) * 2,
    *(_when,) * 4,
    *(_occluder,) * 2,
)
"""How often each is tried; the counts and the times are often passed over, so they stand more often here."""
