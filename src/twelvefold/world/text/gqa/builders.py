"""Build GQA questions, among them those that several families contain."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from numpy.random import Generator

from twelvefold.world.text.annotations import GqaQuestion, Pointers
from twelvefold.world.text.description import ObjectDescription
from twelvefold.world.text.gqa.program import ANY_OBJECT, Program, gqa_relation
from twelvefold.world.text.lexicon import to_sentence
from twelvefold.world.text.question_templates import QuestionFrame
from twelvefold.world.text.realize import realize
from twelvefold.world.text.sampling import fill
from twelvefold.world.text.scene_graph import SceneGraph

Family = Callable[[SceneGraph, Generator], list[GqaQuestion]]

_VERIFY_EXISTENCE: Final = (
    "is there {an_a} | do you see {an_a} | does the picture show {an_a} | can you see {an_a} in this photo"
)
_VERIFY_RELATION: Final = "is {a} {relation} {b} | is {a} {relation} {b} | do you see {a} {relation} {b}"


def make_question(
    program: Program,
    question: str,
    answer: str,
    full_answer: str,
    types: str,
    groups: tuple[str | None, str],
    pointers: Pointers = (),
) -> GqaQuestion:
    """Return a question with question and full answer as sentences. ``types`` are three words."""
    structural, semantic, detailed = types.split()
    return GqaQuestion(
        question=to_sentence(question, "?"),
        answer=answer,
        full_answer=to_sentence(full_answer),
        semantic=tuple(program.steps),
        types=(structural, semantic, detailed),
        groups=groups,
        pointers=pointers,
    )


def make_questions_about_fact(
    graph: SceneGraph,
    subject: ObjectDescription | None,
    fact: str,
    rows: Iterable[tuple[str, str, str, str, str]],
    groups: tuple[str, str],
    pointers: Pointers = (),
) -> list[GqaQuestion]:
    """Return a question for each (question, answer, operation, argument, types) about one fact.

    The fact is about the subject, or about the background if that is None. Full answers state it after yes or no.
    """
    questions = []
    for question, answer, operation, argument, types in rows:
        program = Program(graph)
        program.add(operation, argument, program.find(subject) if subject else program.add("select", "scene (-)"))
        full_answer = f"{answer}, {fact}" if answer in ("yes", "no") else fact
        questions.append(make_question(program, question, answer, full_answer, types, groups, pointers))
    return questions


def link_questions(questions: list[GqaQuestion], balanced: int) -> list[GqaQuestion]:
    """Let every question with an answer other than no entail all others, and mark the balanced one."""
    linked = []
    for index, question in enumerate(questions):
        others = tuple(i for i in range(len(questions)) if i != index)
        entailed = question.entailed if question.answer == "no" else others
        linked.append(replace(question, entailed=entailed, is_balanced=index == balanced))
    return linked


def make_existence_question(graph: SceneGraph, description: ObjectDescription, rng: Generator) -> GqaQuestion:
    """Ask whether the scene contains such an object."""
    objects = graph.undisputed_matches(description) or ()
    program = Program(graph)
    program.add("exist", "?", program.find(description))
    an_a = realize(description, rng, "a")
    question = fill(rng, _VERIFY_EXISTENCE, an_a=an_a)
    full_answer = f"yes, there is {an_a}" if objects else f"no, there is no {realize(description, rng, '')}"
    detailed = "existAttrC" if description.attributes() else "existRelS" if description.relation else "existC"
    return make_question(
        program,
        question,
        "yes" if objects else "no",
        full_answer,
        f"verify obj {detailed}",
        (None, f"13-{description.category or description.hypernym}_exist"),
        ((an_a, objects[0]),) if len(objects) == 1 else (),
    )


def start_pair(graph: SceneGraph, frame: QuestionFrame, rng: Generator) -> tuple[str, str, Program, tuple[int, int]]:
    """Return the phrases of both objects of a frame, a program that finds them, and its two steps that do."""
    a, b = realize(frame.subject, rng), realize(frame.other, rng)
    program = Program(graph)
    return a, b, program, (program.find(frame.subject), program.find(frame.other))


def make_relation_question(graph: SceneGraph, frame: QuestionFrame, rng: Generator) -> GqaQuestion:
    """Ask whether the subject of a frame is in the relation ``detail`` to the other object."""
    relation = gqa_relation(frame.detail)
    a, b, program, steps = start_pair(graph, frame, rng)
    program.add("verify rel", f"{frame.other.category or ANY_OBJECT},{relation},o ({frame.objects[1]})", *steps)
    question = fill(rng, _VERIFY_RELATION, a=a, b=b, relation=relation)
    return make_question(
        program,
        question,
        frame.answer,
        f"yes, {a} is {relation} {b}" if frame.answer == "yes" else f"no, {a} is not {relation} {b}",
        "verify rel relVerify",
        (None, f"16-{frame.subject.category}_{relation},{frame.other.category}"),
        ((a, frame.objects[0]), (b, frame.objects[1])),
    )
