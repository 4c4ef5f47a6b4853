"""GQA questions of one family before they have ids, and the questions that several families contain."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from numpy.random import Generator

from twelvefold.world.text.annotations import Operation, Pointers
from twelvefold.world.text.description import ObjectDescription
from twelvefold.world.text.gqa.program import ANY_OBJECT, Program, gqa_relation
from twelvefold.world.text.lexicon import to_sentence
from twelvefold.world.text.question_templates import QuestionFrame
from twelvefold.world.text.realize import realize
from twelvefold.world.text.sampling import fill
from twelvefold.world.text.scene_graph import SceneGraph


@dataclass(frozen=True, slots=True)
class Draft:
    """A question of a family.

    ``types`` is (structural, semantic, detailed); ``groups`` is (global, local). ``pointers``: (phrase, object)
    pairs. ``entails`` are indices of drafts in the same family.
    """

    question: str
    answer: str
    full_answer: str
    steps: tuple[Operation, ...]
    types: tuple[str, str, str]
    groups: tuple[str | None, str]
    pointers: Pointers
    entails: tuple[int, ...] = ()
    balanced: bool = False


Family = Callable[[SceneGraph, Generator], list[Draft]]


def make_draft(
    program: Program,
    question: str,
    answer: str,
    full_answer: str,
    types: str,
    groups: tuple[str | None, str],
    pointers: Pointers = (),
) -> Draft:
    """Return a draft with question and full answer as sentences. ``types`` are three words."""
    structural, semantic, detailed = types.split()
    question, full_answer = to_sentence(question, "?"), to_sentence(full_answer)
    steps, all_types = tuple(program.steps), (structural, semantic, detailed)
    return Draft(question, answer, full_answer, steps, all_types, groups, pointers)


def make_drafts_about_fact(
    find: Callable[[Program], int],
    graph: SceneGraph,
    fact: str,
    rows: Iterable[tuple[str, str, str, str, str]],
    groups: tuple[str, str],
    pointers: Pointers = (),
) -> list[Draft]:
    """Return a draft for each (question, answer, operation, argument, types) about one fact of one object.

    ``find`` adds the steps that find the object. The full answer states the fact, after yes or no.
    """
    drafts = []
    for question, answer, operation, argument, types in rows:
        program = Program(graph)
        program.add(operation, argument, find(program))
        full_answer = f"{answer}, {fact}" if answer in ("yes", "no") else fact
        drafts.append(make_draft(program, question, answer, full_answer, types, groups, pointers))
    return drafts


def link_drafts(drafts: list[Draft], balanced: int) -> list[Draft]:
    """Let every draft with an answer other than no entail all others, and mark the balanced one."""
    return [
        replace(
            draft,
            entails=tuple(i for i in range(len(drafts)) if i != index) if draft.answer != "no" else draft.entails,
            balanced=index == balanced,
        )
        for index, draft in enumerate(drafts)
    ]


def make_existence_draft(graph: SceneGraph, description: ObjectDescription, rng: Generator) -> Draft:
    """Ask whether the scene contains such an object."""
    objects = graph.undisputed_matches(description) or ()
    program = Program(graph)
    program.add("exist", "?", program.find(description))
    an_a = realize(description, rng, "a")
    question = fill(
        rng,
        "is there {an_a} | do you see {an_a} | does the picture show {an_a} | can you see {an_a} in this photo",
        an_a=an_a,
    )
    full_answer = f"yes, there is {an_a}" if objects else f"no, there is no {realize(description, rng, '')}"
    detailed = "existAttrC" if description.attributes() else "existRelS" if description.relation else "existC"
    return make_draft(
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


def make_relation_draft(graph: SceneGraph, frame: QuestionFrame, rng: Generator) -> Draft:
    """Ask whether the subject of a frame is in the relation ``detail`` to the other object."""
    relation = gqa_relation(frame.detail)
    a, b, program, found = start_pair(graph, frame, rng)
    program.add("verify rel", f"{frame.other.category or ANY_OBJECT},{relation},o ({frame.objects[1]})", *found)
    question = fill(
        rng,
        "is {a} {relation} {b} | is {a} {relation} {b} | do you see {a} {relation} {b}",
        a=a,
        b=b,
        relation=relation,
    )
    return make_draft(
        program,
        question,
        frame.answer,
        f"yes, {a} is {relation} {b}" if frame.answer == "yes" else f"no, {a} is not {relation} {b}",
        "verify rel relVerify",
        (None, f"16-{frame.subject.category}_{relation},{frame.other.category}"),
        ((a, frame.objects[0]), (b, frame.objects[1])),
    )
