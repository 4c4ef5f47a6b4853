"""GQA families about one object or about the background: attribute, existence, category, side and background."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from numpy.random import Generator

from twelvefold.world.categories import BACKGROUND_BY_NAME, CATEGORY_BY_NAME
from twelvefold.world.text import question_templates as q
from twelvefold.world.text.annotations import GqaQuestion
from twelvefold.world.text.description import ObjectDescription
from twelvefold.world.text.gqa.builders import (
    link_questions,
    make_existence_question,
    make_question,
    make_questions_about_fact,
)
from twelvefold.world.text.gqa.program import Program
from twelvefold.world.text.lexicon import add_article
from twelvefold.world.text.realize import realize, realize_attribute
from twelvefold.world.text.sampling import bernoulli, choice, fill, shuffled
from twelvefold.world.text.scene_graph import SceneGraph

_QUERY_ATTRIBUTE: Final = {
    "color": "what color is {a} | which color is {a} | what is the color of {a}",
    "pattern": "which pattern does {a} have | what is the pattern of {a}",
    "size": "what size is {a} | how large is {a} | which size does {a} have",
}
_CHOOSE_ATTRIBUTE: Final = "is {a} {first} or {second} | which {name} is {a}, {first} or {second}"


def attribute_family(graph: SceneGraph, rng: Generator) -> list[GqaQuestion]:
    """Query, verify a correct and a wrong value, choose, and exist: all about one attribute of one object."""
    name = choice(rng, ("color", "color", "pattern", "size"))
    sampler = choice(rng, (q.query_attribute, q.verify_attribute, q.choose_attribute))
    frame = sampler(graph, rng, name, use_position=False)
    if frame is None:
        return []
    index = frame.objects[0]
    value = getattr(graph.objects[index], name)
    wrong = choice(rng, [other for other in q.VALUES[name] if other != value])
    if sampler is q.verify_attribute and frame.answer == "no":
        wrong = frame.detail
    pair = frame.detail.split("|") if sampler is q.choose_attribute else shuffled(rng, [value, wrong])
    a, noun = realize(frame.subject, rng), realize(ObjectDescription(category=frame.subject.category), rng)
    rows = [(fill(rng, _QUERY_ATTRIBUTE[name], a=a), value, "query", name, "query attr directOf")]
    for stated, answer in ((value, "yes"), (wrong, "no")):
        in_words = realize_attribute(name, stated, rng)
        templates = "is {a} {value} | does {a} look {value} | is {a} {value}" + (" in color" if name == "color" else "")
        question = fill(rng, templates, a=a, value=in_words)
        rows.append((question, answer, f"verify {name}", stated, "verify attr verifyAttr"))
    question = fill(rng, _CHOOSE_ATTRIBUTE, a=a, name=name, first=pair[0], second=pair[1])
    rows.append((question, value, f"choose {name}", "|".join(pair), "choose attr chooseAttr"))
    groups = (name, f"06-{frame.subject.category}_{name}")
    pointers = ((a, index), (noun, index))
    questions = make_questions_about_fact(graph, frame.subject, f"{noun} is {value}", rows, groups, pointers)
    existence = make_existence_question(graph, frame.subject.with_attributes({name: value}), rng)
    balanced = {q.query_attribute: 0, q.choose_attribute: 3}.get(sampler, 1 if frame.answer == "yes" else 2)
    return [*link_questions([*questions, existence], balanced)[:-1], existence]


def existence_family(graph: SceneGraph, rng: Generator) -> list[GqaQuestion]:
    """Ask for a red dog. If there is one, there is a dog."""
    frame = q.verify_existence(graph, rng)
    if frame is None:
        return []
    subject = frame.subject
    first = replace(make_existence_question(graph, subject, rng), is_balanced=True)
    if subject == ObjectDescription(category=subject.category):
        return [first]
    wider = ObjectDescription(category=subject.category, hypernym=subject.hypernym)
    entails = (1,) if first.answer == "yes" else ()
    return [replace(first, entailed=entails), make_existence_question(graph, wider, rng)]


def category_family(graph: SceneGraph, rng: Generator) -> list[GqaQuestion]:
    """Ask what the red object, or the red animal, is; and whether there is a red dog."""
    index = choice(rng, range(graph.num_objects))
    subject = graph.describe_uniquely(index, rng, exclude=("category",))
    if subject is None:
        return []
    hypernyms = q.hypernyms_of(graph, index)
    if hypernyms and bernoulli(rng, 0.5):
        narrower = replace(subject, hypernym=hypernyms[0])
        subject = narrower if graph.undisputed_matches(narrower) == (index,) else subject
    category = graph.objects[index].category
    program = Program(graph)
    program.add("query", "name", program.find(subject))
    a = realize(subject, rng)
    attributes = subject.attributes()
    look = next(iter(attributes.values()), "")
    query = make_question(
        program,
        fill(rng, "what is {a} | what is {a} called | what is the name of {a}", a=a),
        category,
        f"{a} is {add_article(category)}",
        "query cat categoryAttr" if subject.hypernym else "query obj objThis",
        (CATEGORY_BY_NAME[category].supercategory, f"08-{subject.hypernym or 'thing'}_{look}"),
        ((a, index),),
    )
    existence = make_existence_question(graph, ObjectDescription(category=category).with_attributes(attributes), rng)
    return [replace(query, entailed=(1,), is_balanced=True), existence]


def side_family(graph: SceneGraph, rng: Generator) -> list[GqaQuestion]:
    """Ask on which side of the image an object is: query, verify both sides."""
    frame = q.query_side(graph, rng)
    if frame is None:
        return []
    a, side = realize(frame.subject, rng), frame.answer
    query = fill(rng, "on which side of the photo is {a} | on which side is {a}", a=a)
    rows = [(query, side, "query", "hposition", "query attr positionQuery")]
    for stated, answer in ((side, "yes"), ("left" if side == "right" else "right", "no")):
        question = f"is {a} on the {stated} of the image"
        rows.append((question, answer, "verify hposition", stated, "verify attr positionVerify"))
    groups, pointers = ("position", f"07-{frame.subject.category}_hposition"), ((a, frame.objects[0]),)
    questions = make_questions_about_fact(graph, frame.subject, f"{a} is on the {side}", rows, groups, pointers)
    return link_questions(questions, choice(rng, (0, 0, 1, 2)))


def background_family(graph: SceneGraph, rng: Generator) -> list[GqaQuestion]:
    """Ask where the image was taken: query, verify, choose."""
    frame = q.verify_background(graph, rng)
    own = graph.scene.background
    wrong = frame.detail if frame.answer == "no" else choice(rng, q.other_backgrounds(graph))
    pair = shuffled(rng, [own, wrong])
    query = fill(rng, "where was this picture taken | which place is this | where is this")
    rows = [(query, own, "query", "place", "query global place")]
    for stated, answer in ((own, "yes"), (wrong, "no")):
        question = f"is this picture taken {BACKGROUND_BY_NAME[stated].phrase}"
        rows.append((question, answer, "verify place", stated, "verify global locationVerify"))
    question = f"is this the {pair[0]} or the {pair[1]}"
    rows.append((question, own, "choose place", "|".join(pair), "choose global placeChoose"))
    fact = f"it is {BACKGROUND_BY_NAME[own].phrase}"
    questions = make_questions_about_fact(graph, None, fact, rows, ("place", "09-place"))
    return link_questions(questions, choice(rng, (0, 1 if frame.answer == "yes" else 2, 3)))
