"""VQAv2-like questions with the answers of ten annotators. Paper: section 2.1, G1."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from numpy.random import Generator

from twelvefold.world.scene import Scene
from twelvefold.world.text import question_templates as q
from twelvefold.world.text.annotations import VqaQuestion
from twelvefold.world.text.annotators import answer_type, sample_answers
from twelvefold.world.text.lexicon import NUMBER_WORDS, PATTERN_NOUNS, to_sentence
from twelvefold.world.text.sampling import alternatives, bernoulli, choice, fill, parse_templates
from twelvefold.world.text.scene_graph import SceneGraph

QUESTION_TYPES: Final = sorted(
    alternatives(
        "how many | how | how big is the | what color is the | what color are the | what color | what is the | what "
        "is in the | what is on the | what is | what are the | what are | what kind of | what type of | what is this "
        "| what does the | what time | what number is | what animal is | what room is | what | is the | is this | is "
        "this a | is this an | is there a | is there an | is there | is that a | is it | is | are the | are there "
        "any | are there | are these | are they | are | where is the | where was | which | do you | do | does the | "
        "does this | can you | could | has | was | who is | why | what is the color of the"
    ),
    key=len,
    reverse=True,
)
"""First words by which VQA groups its questions, longest first."""


def generate_vqa_questions(scene: Scene, rng: Generator, count: int = 5) -> tuple[VqaQuestion, ...]:
    """Return at most ``count`` different questions about the scene."""
    graph = SceneGraph(scene)
    questions: dict[str, VqaQuestion] = {}
    for _ in range(4 * count):
        name, templates = choice(rng, TEMPLATES)
        frame = _SAMPLERS[name](graph, rng)
        if frame is None:
            continue
        text = fill(rng, templates, **q.realize_slots(frame, rng, templates))
        if bernoulli(rng, 0.06):
            text = fill(rng, "in this picture, | in the photo, | looking at the image, | here,") + " " + text
        text = to_sentence(text, "?")
        if text not in questions:
            questions[text] = _answer(text, frame, rng)
        if len(questions) == count:
            break
    return tuple(questions.values())


def _answer(text: str, frame: q.QuestionFrame, rng: Generator) -> VqaQuestion:
    truth = str(NUMBER_WORDS.index(frame.answer)) if frame.answer in NUMBER_WORDS else frame.answer
    answers = sample_answers(truth, rng)
    return VqaQuestion(text, question_type(text), answer_type(truth), answers, truth, frame.template)


def question_type(question: str) -> str:
    """Return the first words of the question by which VQA groups it, or ``none of the above``."""
    text = question.lower().rstrip("?") + " "
    return next((name for name in QUESTION_TYPES if text.startswith(name + " ")), "none of the above")


def _query_decoration(graph: SceneGraph, rng: Generator) -> q.QuestionFrame | None:
    """Ask for the pattern of an object that is not plain: stripes, dots or checks."""
    frame = q.query_attribute(graph, rng, "pattern")
    if frame is None or frame.answer == "plain":
        return None
    return replace(frame, template="decoration", answer=PATTERN_NOUNS[frame.answer])


_SAMPLERS: Final = {**q.SAMPLERS, "decoration": _query_decoration}
TEMPLATES: Final = parse_templates(
    """
4 color: what color is {a} | what color is {a} | what is the color of {a} | which color is {a}
    | what color does {a} have | can you tell me what color {a} is
pattern: what pattern does {a} have | what is the pattern on {a} | is {a} plain, striped, dotted or checked
    | what kind of pattern is on {a}
size: what size is {a} | how big is {a} | what is the size of {a} | how large is {a}
2 color check: is {a} {value} | is {a} {value} | does {a} look {value} | would you say {a} is {value}
pattern check: is {a} {value} | is {a} {value} | does {a} look {value} | would you say {a} is {value}
size check: is {a} {value} | is {a} {value} | does {a} look {value} | would you say {a} is {value}
color choice: is {a} {first} or {second} | which is it, is {a} {first} or {second}
size choice: is {a} {first} or {second} | which is it, is {a} {first} or {second}
9 count: how many {plural} are there | how many {plural} are there | how many {plural} can you see
    | how many {plural} are in the picture | what is the number of {plural} | how many {plural} do you count
4 existence: is there {an_a} | is there {an_a} in the picture | do you see {an_a} | can you see {an_a} here
    | does this picture show {an_a} | are there any {plural}
4 relation: is {a} {relation} {b} | is {a} {relation} {b} | does {a} appear {relation} {b}
2 neighbor: what is {relation} {a} | what is {relation} {a} | what object is {relation} {a}
    | what do you see {relation} {a} | which thing is {relation} {a}
2 category: what is {a} | what is {a} called | what do you call {a} | what kind of object is {a}
comparison: is {a} {larger} than {b} | does {a} look {larger} than {b}
2 same: are {a} and {b} the same {detail} | do {a} and {b} have the same {detail} | is {a} the same {detail} as {b}
side: is {a} on the left or on the right | on which side is {a} | which side of the picture is {a} on
background: where is this | where was this picture taken | where are these things | what place is this
    | what is in the background | what is the setting of this photo
background check: was this picture taken {background} | are these things {background}
    | was this photo made {background}
indoors: is this indoors or outdoors | was this taken indoors or outdoors | is the scene outdoors or indoors
decoration: what decorates {a} | are there stripes, dots or checks on {a} | what is painted on {a}
time: when was this picture taken | what time is it | when is this
"""
)
"""Category answers have a moderate weight because they are learned most slowly."""
