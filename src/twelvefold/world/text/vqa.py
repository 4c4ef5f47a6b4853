"""VQAv2-like questions: one question, ten annotators. Paper: section 2.1, G1."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final

import numpy as np

from twelvefold.world.categories import BACKGROUND_BY_NAME
from twelvefold.world.scene import Scene
from twelvefold.world.text import question_templates
from twelvefold.world.text.annotations import VqaQuestion
from twelvefold.world.text.annotators import answer_type, most_frequent, sample_answers
from twelvefold.world.text.description import SceneGraph
from twelvefold.world.text.lexicon import NUMBERS, PATTERN_ANSWERS, RELATION_WORDS, bernoulli, choice, sentence
from twelvefold.world.text.question_templates import FrameSampler, QuestionFrame
from twelvefold.world.text.realize import realize, realize_attribute

QUESTION_TYPES: Final = sorted(
    [
        *("how many", "how", "how big is the", "what color is the", "what color are the", "what color", "what is the"),
        *("what is in the", "what is on the", "what is", "what are the", "what are", "what kind of", "what type of"),
        *("what is this", "what does the", "what time", "what number is", "what animal is", "what room is", "what"),
        *(
            "is the",
            "is this",
            "is this a",
            "is this an",
            "is there a",
            "is there an",
            "is there",
            "is that a",
            "is it",
        ),
        *("is", "are the", "are there any", "are there", "are these", "are they", "are", "where is the", "where was"),
        *("which", "do you", "do", "does the", "does this", "can you", "could", "has", "was", "who is", "why"),
        "what is the color of the",
    ],
    key=len,
    reverse=True,
)
"""First words by which VQA groups its questions (the official list's shape), longest first."""

MEASURES: Final = {"large": ("bigger", "larger"), "small": ("smaller",)}


def generate_vqa_questions(scene: Scene, rng: np.random.Generator, count: int = 5) -> tuple[VqaQuestion, ...]:
    """At most ``count`` different questions about the picture, each with its ten answers."""
    graph = SceneGraph(scene)
    found: dict[str, VqaQuestion] = {}
    for _ in range(4 * count):
        sampler, word = choice(rng, TEMPLATES)
        frame = sampler(graph, rng)
        if frame is None:
            continue
        text = sentence(_politely(word(frame, rng), rng), "?")
        if text not in found:
            found[text] = _answered(text, frame, rng)
        if len(found) == count:
            break
    return tuple(found.values())


def _answered(text: str, frame: QuestionFrame, rng: np.random.Generator) -> VqaQuestion:
    truth = str(NUMBERS.index(frame.answer)) if frame.answer in NUMBERS else frame.answer
    answers = sample_answers(truth, rng)
    return VqaQuestion(
        question=text,
        question_type=question_type(text),
        answer_type=answer_type(truth),
        answers=answers,
        multiple_choice_answer=most_frequent(answers),
        template=frame.template,
        truth=truth,
    )


def question_type(question: str) -> str:
    """The first words of the question that VQA groups by, or ``none of the above``."""
    text = question.lower().rstrip("?") + " "
    return next((name for name in QUESTION_TYPES if text.startswith(name + " ")), "none of the above")


def _politely(text: str, rng: np.random.Generator) -> str:
    """Now and then a person says more than the question."""
    if not bernoulli(rng, 0.06):
        return text
    lead = choice(rng, ("in this picture, ", "in the photo, ", "looking at the image, ", "here, "))
    return lead + text


def _attribute(name: str, frame: QuestionFrame, rng: np.random.Generator) -> str:
    the = realize(frame.subject, rng)
    if name == "color":
        return choice(
            rng,
            (
                f"what color is {the}",
                f"what color is {the}",
                f"what is the color of {the}",
                f"which color is {the}",
                f"what color does {the} have",
                f"can you tell me what color {the} is",
            ),
        )
    if name == "pattern":
        return choice(
            rng,
            (
                f"what pattern does {the} have",
                f"what is the pattern on {the}",
                f"is {the} plain, striped, dotted or checked",
                f"what kind of pattern is on {the}",
            ),
        )
    return choice(
        rng, (f"what size is {the}", f"how big is {the}", f"what is the size of {the}", f"how large is {the}")
    )


def _decoration(graph: SceneGraph, rng: np.random.Generator) -> QuestionFrame | None:
    """Stripes, dots or checks: the pattern of a thing that has one."""
    frame = question_templates.attribute(graph, rng, "pattern")
    if frame is None or frame.answer == "plain":
        return None
    return replace(frame, template="decoration", answer=PATTERN_ANSWERS[frame.answer])


def _decorated(frame: QuestionFrame, rng: np.random.Generator) -> str:
    the = realize(frame.subject, rng)
    return choice(
        rng, (f"what decorates {the}", f"are there stripes, dots or checks on {the}", f"what is painted on {the}")
    )


def _when(frame: QuestionFrame, rng: np.random.Generator) -> str:
    return choice(rng, ("when was this picture taken", "what time is it", "when is this"))


def _check(name: str, frame: QuestionFrame, rng: np.random.Generator) -> str:
    the = realize(frame.subject, rng)
    value = realize_attribute(name, frame.detail, rng)
    return choice(
        rng,
        (f"is {the} {value}", f"is {the} {value}", f"does {the} look {value}", f"would you say {the} is {value}"),
    )


def _choice(name: str, frame: QuestionFrame, rng: np.random.Generator) -> str:
    first, second = frame.detail.split("|")
    the = realize(frame.subject, rng)
    return choice(rng, (f"is {the} {first} or {second}", f"which is it, is {the} {first} or {second}"))


def _count(frame: QuestionFrame, rng: np.random.Generator) -> str:
    these = realize(frame.subject, rng, "", plural=True)
    return choice(
        rng,
        (
            f"how many {these} are there",
            f"how many {these} are there",
            f"how many {these} can you see",
            f"how many {these} are in the picture",
            f"what is the number of {these}",
            f"how many {these} do you count",
        ),
    )


def _existence(frame: QuestionFrame, rng: np.random.Generator) -> str:
    one = realize(frame.subject, rng, "a")
    return choice(
        rng,
        (
            f"is there {one}",
            f"is there {one} in the picture",
            f"do you see {one}",
            f"can you see {one} here",
            f"does this picture show {one}",
            f"are there any {realize(frame.subject, rng, '', plural=True)}",
        ),
    )


def _relation(frame: QuestionFrame, rng: np.random.Generator) -> str:
    where = choice(rng, RELATION_WORDS[frame.detail])
    first, second = realize(frame.subject, rng), realize(frame.other, rng)
    return choice(
        rng, (f"is {first} {where} {second}", f"is {first} {where} {second}", f"does {first} appear {where} {second}")
    )


def _neighbor(frame: QuestionFrame, rng: np.random.Generator) -> str:
    where = choice(rng, RELATION_WORDS[frame.detail])
    the = realize(frame.subject, rng)
    return choice(
        rng,
        (
            f"what is {where} {the}",
            f"what is {where} {the}",
            f"what object is {where} {the}",
            f"what do you see {where} {the}",
            f"which thing is {where} {the}",
        ),
    )


def _comparison(frame: QuestionFrame, rng: np.random.Generator) -> str:
    measure = choice(rng, MEASURES[frame.detail])
    first, second = realize(frame.subject, rng), realize(frame.other, rng)
    return choice(rng, (f"is {first} {measure} than {second}", f"does {first} look {measure} than {second}"))


def _sameness(frame: QuestionFrame, rng: np.random.Generator) -> str:
    attribute = frame.detail
    first, second = realize(frame.subject, rng), realize(frame.other, rng)
    return choice(
        rng,
        (
            f"are {first} and {second} the same {attribute}",
            f"do {first} and {second} have the same {attribute}",
            f"is {first} the same {attribute} as {second}",
        ),
    )


def _category(frame: QuestionFrame, rng: np.random.Generator) -> str:
    the = realize(frame.subject, rng)
    return choice(
        rng, (f"what is {the}", f"what is {the} called", f"what do you call {the}", f"what kind of object is {the}")
    )


def _side(frame: QuestionFrame, rng: np.random.Generator) -> str:
    the = realize(frame.subject, rng)
    return choice(
        rng,
        (
            f"is {the} on the left or on the right",
            f"on which side is {the}",
            f"which side of the picture is {the} on",
        ),
    )


def _place(frame: QuestionFrame, rng: np.random.Generator) -> str:
    return choice(
        rng,
        (
            "where is this",
            "where was this picture taken",
            "where are these things",
            "what place is this",
            "what is in the background",
            "what is the setting of this photo",
        ),
    )


def _place_check(frame: QuestionFrame, rng: np.random.Generator) -> str:
    where = BACKGROUND_BY_NAME[frame.detail].phrase
    return choice(rng, (f"was this picture taken {where}", f"are these things {where}", f"was this photo made {where}"))


def _indoors(frame: QuestionFrame, rng: np.random.Generator) -> str:
    return choice(
        rng, ("is this indoors or outdoors", "was this taken indoors or outdoors", "is the scene outdoors or indoors")
    )


Worder = Callable[[QuestionFrame, np.random.Generator], str]


def _named(name: str, sampler: Callable[[SceneGraph, np.random.Generator, str], QuestionFrame | None]) -> FrameSampler:
    return lambda graph, rng: sampler(graph, rng, name)


TEMPLATES: Final[tuple[tuple[FrameSampler, Worder], ...]] = (
    *((_named("color", question_templates.attribute), partial(_attribute, "color")),) * 4,
    (_named("pattern", question_templates.attribute), partial(_attribute, "pattern")),
    (_named("size", question_templates.attribute), partial(_attribute, "size")),
    *(
        (_named(name, question_templates.attribute_check), partial(_check, name))
        for name in ("color", "color", "pattern", "size")
    ),
    *((_named(name, question_templates.attribute_choice), partial(_choice, name)) for name in ("color", "size")),
    *((question_templates.count, _count),) * 9,
    *((question_templates.existence, _existence),) * 4,
    *((question_templates.relation_check, _relation),) * 4,
    *((question_templates.neighbor, _neighbor),) * 2,
    *((question_templates.query_category, _category),) * 2,
    (question_templates.comparison, _comparison),
    *((question_templates.sameness, _sameness),) * 2,
    (question_templates.side, _side),
    (question_templates.place, _place),
    (question_templates.place_check, _place_check),
    (question_templates.indoors, _indoors),
    (_decoration, _decorated),
    (question_templates.when, _when),
)
"""How often each is asked: kinds as answers stay a moderate share, for they are the slowest to learn."""
