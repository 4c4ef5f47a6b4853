"""GQA families about two objects: relations, joint existence and comparisons."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from numpy.random import Generator

from twelvefold.world.categories import CATEGORY_BY_NAME
from twelvefold.world.text import question_templates as q
from twelvefold.world.text.annotations import GqaQuestion
from twelvefold.world.text.description import ObjectDescription
from twelvefold.world.text.gqa.builders import (
    link_questions,
    make_existence_question,
    make_question,
    make_relation_question,
    start_pair,
)
from twelvefold.world.text.gqa.program import ANY_OBJECT, Program, gqa_relation
from twelvefold.world.text.lexicon import add_article
from twelvefold.world.text.realize import realize
from twelvefold.world.text.sampling import bernoulli, choice, fill, shuffled
from twelvefold.world.text.scene_graph import INVERSE_RELATIONS, SceneGraph

_QUERY_NEIGHBOR: Final = (
    "what is {relation} {a} | which object is {relation} {a} | what thing is {relation} {a} | what do you see "
    "{relation} {a}"
)
_CHOOSE_LARGER: Final = "which is larger, {a} or {b} | what is bigger, {a} or {b} | which one is bigger, {a} or {b}"


def relation_family(graph: SceneGraph, rng: Generator) -> list[GqaQuestion]:
    """Ask whether two objects are in a relation, for both directions, and for left and right also the opposite."""
    frame = q.verify_relation(graph, rng)
    if frame is None:
        return []
    inverse = INVERSE_RELATIONS[frame.detail]
    mirrored = replace(frame, subject=frame.other, other=frame.subject, detail=inverse, objects=frame.objects[::-1])
    first, second = make_relation_question(graph, frame, rng), make_relation_question(graph, mirrored, rng)
    questions = [replace(first, is_balanced=True, entailed=(1,)), replace(second, entailed=(0,))]
    if frame.template != "side check":
        return questions
    opposite = replace(frame, detail=inverse, answer="no" if frame.answer == "yes" else "yes")
    questions += [make_relation_question(graph, opposite, rng), _choose_side(graph, frame, rng)]
    return link_questions(questions, choice(rng, (0, 0, 3)))


def _choose_side(graph: SceneGraph, frame: q.QuestionFrame, rng: Generator) -> GqaQuestion:
    a, b, program, steps = start_pair(graph, frame, rng)
    first, second = frame.objects
    sides = ["to the left of", "to the right of"]
    answer = sides[0] if graph.center_x[first] < graph.center_x[second] else sides[1]
    options = shuffled(rng, sides)
    program.add("choose rel", f"{frame.other.category or ANY_OBJECT},{'|'.join(options)},o ({second})", *steps)
    return make_question(
        program,
        f"is {a} {options[0]} or {options[1]} {b}",
        answer,
        f"{a} is {answer} {b}",
        "choose rel relChooser",
        (None, f"15-{frame.subject.category}_side,{frame.other.category}"),
        ((a, first), (b, second)),
    )


def neighbor_family(graph: SceneGraph, rng: Generator) -> list[GqaQuestion]:
    """Ask what is on the bed, whether a cat is on the bed, and whether the cat is on the bed."""
    frame = q.query_neighbor(graph, rng)
    if frame is None:
        return []
    index, landmark = frame.objects
    neighbor = ObjectDescription(relation=(frame.detail, frame.subject))
    program = Program(graph)
    program.add("query", "name", program.find(neighbor))
    a, relation, answer = realize(frame.subject, rng), gqa_relation(frame.detail), add_article(frame.answer)
    query = make_question(
        program,
        fill(rng, _QUERY_NEIGHBOR, relation=relation, a=a),
        frame.answer,
        f"{answer} is {relation} {a}",
        "query rel relS",
        (CATEGORY_BY_NAME[frame.answer].supercategory, f"14-{frame.subject.category}_{relation},s"),
        ((a, landmark), (answer, index)),
    )
    existence = make_existence_question(graph, replace(neighbor, category=frame.answer), rng)
    questions = [replace(query, is_balanced=True, entailed=(1,)), existence]
    subject = graph.describe_uniquely(index, rng, redundancy=0.0)
    if subject is not None:
        if subject == ObjectDescription(category=frame.answer):
            questions[0] = replace(questions[0], entailed=(1, 2))
        verify = replace(frame, subject=subject, other=frame.subject, answer="yes")
        questions.append(replace(make_relation_question(graph, verify, rng), entailed=(1,)))
    return questions


def logical_family(graph: SceneGraph, rng: Generator) -> list[GqaQuestion]:
    """Ask for a dog and a cat, or a dog or a cat. The answer is chosen before the categories."""
    both, yes = bernoulli(rng, 0.5), bernoulli(rng, 0.5)
    present, absent = list(graph.by_category), q.absent_categories(graph)
    if len(present) < 2:
        return []
    if both is yes:
        categories = shuffled(rng, present if both else absent)[:2]
    else:
        categories = shuffled(rng, [choice(rng, present), choice(rng, absent)])
    descriptions = [ObjectDescription(category=category) for category in categories]
    program = Program(graph)
    parts = [program.add("exist", "?", program.find(description)) for description in descriptions]
    program.add("and" if both else "or", "", *parts)
    a, b = (realize(description, rng, "a") for description in descriptions)
    if both:
        templates = "are there both {a} and {b} | do you see both {a} and {b} | is there {a} and also {b}"
    else:
        templates = "is there either {a} or {b} | are there any signs of {a} or {b} | do you see {a} or {b}"
    answer = "yes" if yes else "no"
    question = make_question(
        program,
        fill(rng, templates, a=a, b=b),
        answer,
        f"{answer}, there {'is' if yes else 'is not'} {a} {'and' if both else 'or'} {b}",
        "logical obj existAnd" if both else "logical obj existOr",
        (None, "04-" + "_".join(sorted(categories))),
    )
    first = replace(question, is_balanced=True, entailed=(1, 2) if both is yes else ())
    return [first, *(make_existence_question(graph, description, rng) for description in descriptions)]


_COMPARE: Final = {
    "same": "are {a} and {b} the same {name} | do {a} and {b} have the same {name}",
    "different": "do {a} and {b} have different {name}s | are {a} and {b} different in {name}",
}


def comparison_family(graph: SceneGraph, rng: Generator) -> list[GqaQuestion]:
    """Ask whether two objects have the same attribute, or which is larger."""
    if bernoulli(rng, 0.4):
        return _choose_larger(graph, rng)
    frame = q.compare_attributes(graph, rng, use_position=False)
    if frame is None:
        return []
    name, is_same = frame.detail, frame.answer == "yes"
    fact = f"they have the same {name}" if is_same else f"they have different {name}s"
    questions = []
    for verb, is_true in (("same", is_same), ("different", not is_same)):
        a, b, program, steps = start_pair(graph, frame, rng)
        program.add(f"{verb} {name}", "", *steps)
        question = fill(rng, _COMPARE[verb], a=a, b=b, name=name)
        answer = "yes" if is_true else "no"
        pointers = ((a, frame.objects[0]), (b, frame.objects[1]))
        types, groups = f"compare attr two{verb.capitalize()}", (None, f"05-{name}")
        questions.append(make_question(program, question, answer, f"{answer}, {fact}", types, groups, pointers))
    balanced = choice(rng, (0, 1))
    return [replace(d, is_balanced=i == balanced, entailed=(1 - i,)) for i, d in enumerate(questions)]


def _choose_larger(graph: SceneGraph, rng: Generator) -> list[GqaQuestion]:
    frame = q.compare_sizes(graph, rng, use_position=False)
    if frame is None or frame.subject.category == frame.other.category:
        return []
    a, b, program, steps = start_pair(graph, frame, rng)
    program.add("choose larger", "", *steps)
    larger = graph.objects[max(frame.objects, key=graph.area.__getitem__)].category
    question = make_question(
        program,
        fill(rng, _CHOOSE_LARGER, a=a, b=b),
        larger,
        f"the {larger} is larger",
        "compare attr comparativeChoose",
        (None, f"05-size_{'_'.join(sorted((frame.subject.category, frame.other.category)))}"),
        ((a, frame.objects[0]), (b, frame.objects[1])),
    )
    return [replace(question, is_balanced=True)]
