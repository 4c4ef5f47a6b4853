"""GQA families about one thing, or about the place: its attributes, whether it is there, what and where it is."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from twelvefold.world.categories import BACKGROUND_BY_NAME, CATEGORY_BY_NAME, COLORS, PATTERNS, SIZES
from twelvefold.world.text import question_templates
from twelvefold.world.text.description import Description, SceneGraph, describe_uniquely, with_attribute
from twelvefold.world.text.gqa_drafts import Draft, exists
from twelvefold.world.text.gqa_programs import ATTRIBUTE_NAMES, Program
from twelvefold.world.text.lexicon import CLASSES, add_article, bernoulli, choice, sentence, shuffled
from twelvefold.world.text.realize import realize, realize_attribute


def attribute_family(graph: SceneGraph, rng: np.random.Generator) -> list[Draft]:
    """Query, verify (right and wrong value), choose and exist: all about one attribute of one thing."""
    field = choice(rng, ("color", "color", "pattern", "size"))
    sampler = choice(
        rng, (question_templates.attribute, question_templates.attribute_check, question_templates.attribute_choice)
    )
    frame = sampler(graph, rng, field, places=False)
    if frame is None:
        return []
    own = str(getattr(graph.objects[frame.objects[0]], field))
    values = {"color": tuple(COLORS), "pattern": PATTERNS, "size": tuple(SIZES)}[field]
    wrong = choice(rng, [value for value in values if value != own])
    if sampler is question_templates.attribute_check and frame.answer == "no":
        wrong = frame.detail
    pair = frame.detail.split("|") if sampler is question_templates.attribute_choice else shuffled(rng, [own, wrong])
    flagged = (
        0
        if sampler is question_templates.attribute
        else 3
        if sampler is question_templates.attribute_choice
        else 1
        if frame.answer == "yes"
        else 2
    )
    family = _about_attribute(graph, frame.subject, frame.objects[0], field, own, wrong, pair, rng)
    everything = tuple(range(len(family)))
    return [
        replace(
            draft,
            balanced=place == flagged,
            entails=tuple(i for i in everything if i != place) if place in (0, 1, 3) else (),
        )
        for place, draft in enumerate(family)
    ]


def _about_attribute(
    graph: SceneGraph,
    subject: Description,
    obj: int,
    field: str,
    own: str,
    wrong: str,
    pair: list[str],
    rng: np.random.Generator,
) -> list[Draft]:
    name, the = ATTRIBUTE_NAMES[field], realize(subject, rng)
    short = realize(Description(category=subject.category), rng)
    points = ((the, obj), (short, obj))
    groups = (name, f"06-{subject.category}_{name}")

    def draft(
        text: str, answer: str, full: str, category: tuple[str, str, str], operation: str, argument: str
    ) -> Draft:
        program = Program(graph)
        step = program.subject(subject)
        program.add(operation, argument, step)
        return Draft(sentence(text, "?"), answer, sentence(full), program, category, groups, points)

    asked = {
        "color": (f"what color is {the}", f"which color is {the}", f"what is the color of {the}"),
        "pattern": (f"which pattern does {the} have", f"what is the pattern of {the}"),
        "size": (f"what size is {the}", f"how large is {the}", f"which size does {the} have"),
    }[name]
    family = [
        draft(choice(rng, asked), own, f"{short} is {own}", ("query", "attr", "directOf"), "query", name),
    ]
    for value, answer in ((own, "yes"), (wrong, "no")):
        said = realize_attribute(field, value, rng)
        text = choice(
            rng,
            (
                f"is {the} {said}",
                f"does {the} look {said}",
                f"is {the} {said} in color" if name == "color" else f"is {the} {said}",
            ),
        )
        full = f"yes, {short} is {own}" if answer == "yes" else f"no, {short} is {own}"
        family.append(draft(text, answer, full, ("verify", "attr", "verifyAttr"), f"verify {name}", value))
    text = choice(rng, (f"is {the} {pair[0]} or {pair[1]}", f"which {name} is {the}, {pair[0]} or {pair[1]}"))
    family.append(
        draft(text, own, f"{short} is {own}", ("choose", "attr", "chooseAttr"), f"choose {name}", "|".join(pair))
    )
    family.append(exists(graph, with_attribute(subject, field, own), rng))
    return family


def exist_family(graph: SceneGraph, rng: np.random.Generator) -> list[Draft]:
    """Is there a red dog; where there is one, there is a dog."""
    frame = question_templates.existence(graph, rng)
    if frame is None:
        return []
    first = replace(exists(graph, frame.subject, rng), balanced=True)
    if frame.subject == Description(category=frame.subject.category):
        return [first]
    wider = exists(graph, Description(category=frame.subject.category, class_=frame.subject.class_), rng)
    return [replace(first, entails=(1,) if first.answer == "yes" else ()), wider]


def category_family(graph: SceneGraph, rng: np.random.Generator) -> list[Draft]:
    """What the red thing, the red animal is; with it: is there a red dog."""
    obj = choice(rng, range(graph.count))
    subject = describe_uniquely(graph, obj, rng, without=("category",))
    if subject is None:
        return []
    classes = [c.name for c in CLASSES.values() if graph.objects[obj].category in c.members]
    if classes and bernoulli(rng, 0.5):
        narrower = replace(subject, class_=classes[0])
        subject = narrower if question_templates.certain_matches(graph, narrower) == (obj,) else subject
    category = graph.objects[obj].category
    program = Program(graph)
    program.add("query", "name", program.subject(subject))
    the = realize(subject, rng)
    text = choice(rng, (f"what is {the}", f"what is {the} called", f"what is the name of {the}"))
    query = Draft(
        sentence(text, "?"),
        category,
        sentence(f"{the} is {add_article(category)}"),
        program,
        ("query", "cat" if subject.class_ else "obj", "categoryAttr" if subject.class_ else "objThis"),
        (
            CATEGORY_BY_NAME[category].supercategory,
            f"08-{subject.class_ or 'thing'}_{subject.color or subject.pattern or subject.size}",
        ),
        ((the, obj),),
        entails=(1,),
        balanced=True,
    )
    return [
        query,
        exists(
            graph, Description(category=category, color=subject.color, pattern=subject.pattern, size=subject.size), rng
        ),
    ]


MIRRORED_SIDE: Final = {"left": "right", "right": "left"}


def position_family(graph: SceneGraph, rng: np.random.Generator) -> list[Draft]:
    """On which side of the picture a thing is."""
    frame = question_templates.side(graph, rng)
    if frame is None:
        return []
    the, obj = realize(frame.subject, rng), frame.objects[0]
    rows = [
        (
            choice(rng, (f"on which side of the photo is {the}", f"on which side is {the}")),
            frame.answer,
            "query",
            "query",
            "hposition",
            "positionQuery",
        ),
        (
            f"is {the} on the {frame.answer} of the image",
            "yes",
            "verify",
            "verify hposition",
            frame.answer,
            "positionVerify",
        ),
        (
            f"is {the} on the {MIRRORED_SIDE[frame.answer]} of the image",
            "no",
            "verify",
            "verify hposition",
            MIRRORED_SIDE[frame.answer],
            "positionVerify",
        ),
    ]
    flagged = choice(rng, (0, 0, 1, 2))
    family = []
    for place, (text, answer, structural, operation, argument, detailed) in enumerate(rows):
        program = Program(graph)
        program.add(operation, argument, program.subject(frame.subject))
        full = (
            f"{the} is on the {frame.answer}" if structural == "query" else f"{answer}, {the} is on the {frame.answer}"
        )
        others = tuple(i for i in range(3) if i != place) if place != 2 else ()
        family.append(
            Draft(
                sentence(text, "?"),
                answer,
                sentence(full),
                program,
                (structural, "attr", detailed),
                ("position", f"07-{frame.subject.category}_hposition"),
                ((the, obj),),
                entails=others,
                balanced=place == flagged,
            )
        )
    return family


def place_family(graph: SceneGraph, rng: np.random.Generator) -> list[Draft]:
    """Where the picture was taken: query, verify, choose."""
    frame = question_templates.place_check(graph, rng)
    own = graph.scene.background
    wrong = frame.detail if frame.answer == "no" else choice(rng, [name for name in BACKGROUND_BY_NAME if name != own])
    pair = shuffled(rng, [own, wrong])
    rows = [
        (
            choice(rng, ("where was this picture taken", "which place is this", "where is this")),
            own,
            "query",
            "query",
            "place",
            "place",
        ),
        (
            f"is this picture taken {BACKGROUND_BY_NAME[own].phrase}",
            "yes",
            "verify",
            "verify place",
            own,
            "locationVerify",
        ),
        (
            f"is this picture taken {BACKGROUND_BY_NAME[wrong].phrase}",
            "no",
            "verify",
            "verify place",
            wrong,
            "locationVerify",
        ),
        (f"is this the {pair[0]} or the {pair[1]}", own, "choose", "choose place", "|".join(pair), "placeChoose"),
    ]
    flagged = choice(rng, (0, 1 if frame.answer == "yes" else 2, 3))
    family = []
    for place, (text, answer, structural, operation, argument, detailed) in enumerate(rows):
        program = Program(graph)
        program.add(operation, argument, program.add("select", "scene (-)"))
        full = (
            f"{answer}, it is {BACKGROUND_BY_NAME[own].phrase}"
            if answer in ("yes", "no")
            else f"it is {BACKGROUND_BY_NAME[own].phrase}"
        )
        others = tuple(i for i in range(4) if i != place) if place != 2 else ()
        family.append(
            Draft(
                sentence(text, "?"),
                answer,
                sentence(full),
                program,
                (structural, "global", detailed),
                ("place", "09-place"),
                (),
                entails=others,
                balanced=place == flagged,
            )
        )
    return family
