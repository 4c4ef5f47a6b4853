"""A question of a GQA family before it has a place, and the two sorts that several families share. Paper: G1."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from twelvefold.world.text import question_templates
from twelvefold.world.text.description import Description, SceneGraph
from twelvefold.world.text.gqa_programs import RELATION_NAMES, Program
from twelvefold.world.text.lexicon import choice, sentence
from twelvefold.world.text.realize import realize


@dataclass(frozen=True, slots=True)
class Draft:
    """A question of a family; ``entails`` are places in the family. ``subject``: phrase and thing it points at."""

    question: str
    answer: str
    full_answer: str
    program: Program
    types: tuple[str, str, str]
    groups: tuple[str | None, str]
    subject: tuple[tuple[str, int], ...]
    entails: tuple[int, ...] = ()
    balanced: bool = False


Family = Callable[[SceneGraph, np.random.Generator], list[Draft]]


def exists(graph: SceneGraph, description: Description, rng: np.random.Generator) -> Draft:
    """Is there such a thing: ``yes`` or ``no`` as the scene has it."""
    found = question_templates.certain_matches(graph, description) or ()
    program = Program(graph)
    program.add("exist", "?", program.subject(description))
    one = realize(description, rng, "a")
    text = choice(
        rng,
        (f"is there {one}", f"do you see {one}", f"does the picture show {one}", f"can you see {one} in this photo"),
    )
    full = f"yes, there is {one}" if found else f"no, there is no {realize(description, rng, '')}"
    looks = any((description.color, description.size, description.pattern))
    category = "existAttrC" if looks else "existRelS" if description.relation else "existC"
    group = f"13-{description.category or description.class_}_exist"
    points = ((one, found[0]),) if len(found) == 1 else ()
    return Draft(
        sentence(text, "?"),
        "yes" if found else "no",
        sentence(full),
        program,
        ("verify", "obj", category),
        (None, group),
        points,
    )


def related(
    graph: SceneGraph,
    first: Description,
    relation: str,
    second: Description,
    objects: tuple[int, ...],
    answer: str,
    rng: np.random.Generator,
) -> Draft:
    where = RELATION_NAMES.get(relation, relation)
    the, that = realize(first, rng), realize(second, rng)
    program = Program(graph)
    one, two = program.subject(first), program.subject(second)
    program.add("verify rel", f"{second.category or '_'},{where},o ({objects[1]})", one, two)
    text = choice(rng, (f"is {the} {where} {that}", f"is {the} {where} {that}", f"do you see {the} {where} {that}"))
    full = f"yes, {the} is {where} {that}" if answer == "yes" else f"no, {the} is not {where} {that}"
    points = ((the, objects[0]), (that, objects[1]))
    group = f"16-{first.category}_{where},{second.category}"
    return Draft(
        sentence(text, "?"), answer, sentence(full), program, ("verify", "rel", "relVerify"), (None, group), points
    )
