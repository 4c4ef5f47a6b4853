"""GQA families about one thing, or about the place: its attributes, whether it is there, what and where it is."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from twelvefold.world.categories import BACKGROUND, COLOURS, KIND, PATTERNS, SIZES
from twelvefold.world.text import question_templates
from twelvefold.world.text.description import Description, View, identify, with_value
from twelvefold.world.text.gqa_drafts import Draft, exists
from twelvefold.world.text.gqa_programs import ATTRIBUTE_NAMES, Program
from twelvefold.world.text.lexicon import CLASSES, chance, pick, sentence, shuffled, with_article
from twelvefold.world.text.realize import say, say_value


def attribute_family(view: View, rng: np.random.Generator) -> list[Draft]:
    """Query, verify (right and wrong value), choose and exist: all about one attribute of one thing."""
    field = pick(rng, ("colour", "colour", "pattern", "size"))
    asker = pick(
        rng, (question_templates.attribute, question_templates.attribute_check, question_templates.attribute_choice)
    )
    ask = asker(view, rng, field, places=False)
    if ask is None:
        return []
    own = str(getattr(view.things[ask.things[0]], field))
    values = {"colour": tuple(COLOURS), "pattern": PATTERNS, "size": tuple(SIZES)}[field]
    wrong = pick(rng, [value for value in values if value != own])
    if asker is question_templates.attribute_check and ask.answer == "no":
        wrong = ask.detail
    pair = ask.detail.split("|") if asker is question_templates.attribute_choice else shuffled(rng, [own, wrong])
    flagged = (
        0
        if asker is question_templates.attribute
        else 3
        if asker is question_templates.attribute_choice
        else 1
        if ask.answer == "yes"
        else 2
    )
    family = _about_attribute(view, ask.subject, ask.things[0], field, own, wrong, pair, rng)
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
    view: View,
    subject: Description,
    thing: int,
    field: str,
    own: str,
    wrong: str,
    pair: list[str],
    rng: np.random.Generator,
) -> list[Draft]:
    name, the = ATTRIBUTE_NAMES[field], say(subject, rng)
    short = say(Description(kind=subject.kind), rng)
    points = ((the, thing), (short, thing))
    groups = (name, f"06-{subject.kind}_{name}")

    def draft(text: str, answer: str, full: str, kind: tuple[str, str, str], operation: str, argument: str) -> Draft:
        program = Program(view)
        step = program.subject(subject)
        program.add(operation, argument, step)
        return Draft(sentence(text, "?"), answer, sentence(full), program, kind, groups, points)

    asked = {
        "color": (f"what color is {the}", f"which color is {the}", f"what is the color of {the}"),
        "pattern": (f"which pattern does {the} have", f"what is the pattern of {the}"),
        "size": (f"what size is {the}", f"how large is {the}", f"which size does {the} have"),
    }[name]
    family = [
        draft(pick(rng, asked), own, f"{short} is {own}", ("query", "attr", "directOf"), "query", name),
    ]
    for value, answer in ((own, "yes"), (wrong, "no")):
        said = say_value(field, value, rng)
        text = pick(
            rng,
            (
                f"is {the} {said}",
                f"does {the} look {said}",
                f"is {the} {said} in color" if name == "color" else f"is {the} {said}",
            ),
        )
        full = f"yes, {short} is {own}" if answer == "yes" else f"no, {short} is {own}"
        family.append(draft(text, answer, full, ("verify", "attr", "verifyAttr"), f"verify {name}", value))
    text = pick(rng, (f"is {the} {pair[0]} or {pair[1]}", f"which {name} is {the}, {pair[0]} or {pair[1]}"))
    family.append(
        draft(text, own, f"{short} is {own}", ("choose", "attr", "chooseAttr"), f"choose {name}", "|".join(pair))
    )
    family.append(exists(view, with_value(subject, field, own), rng))
    return family


def exist_family(view: View, rng: np.random.Generator) -> list[Draft]:
    """Is there a red dog; where there is one, there is a dog."""
    ask = question_templates.existence(view, rng)
    if ask is None:
        return []
    first = replace(exists(view, ask.subject, rng), balanced=True)
    if ask.subject == Description(kind=ask.subject.kind):
        return [first]
    wider = exists(view, Description(kind=ask.subject.kind, class_=ask.subject.class_), rng)
    return [replace(first, entails=(1,) if first.answer == "yes" else ()), wider]


def kind_family(view: View, rng: np.random.Generator) -> list[Draft]:
    """What the red thing, the red animal is; with it: is there a red dog."""
    thing = pick(rng, range(view.count))
    subject = identify(view, thing, rng, without=("kind",))
    if subject is None:
        return []
    classes = [c.name for c in CLASSES.values() if view.things[thing].kind in c.members]
    if classes and chance(rng, 0.5):
        narrower = replace(subject, class_=classes[0])
        subject = narrower if question_templates.certain(view, narrower) == (thing,) else subject
    kind = view.things[thing].kind
    program = Program(view)
    program.add("query", "name", program.subject(subject))
    the = say(subject, rng)
    text = pick(rng, (f"what is {the}", f"what is {the} called", f"what is the name of {the}"))
    query = Draft(
        sentence(text, "?"),
        kind,
        sentence(f"{the} is {with_article(kind)}"),
        program,
        ("query", "cat" if subject.class_ else "obj", "categoryAttr" if subject.class_ else "objThis"),
        (KIND[kind].category, f"08-{subject.class_ or 'thing'}_{subject.colour or subject.pattern or subject.size}"),
        ((the, thing),),
        entails=(1,),
        balanced=True,
    )
    return [
        query,
        exists(view, Description(kind=kind, colour=subject.colour, pattern=subject.pattern, size=subject.size), rng),
    ]


MIRRORED_SIDE: Final = {"left": "right", "right": "left"}


def position_family(view: View, rng: np.random.Generator) -> list[Draft]:
    """On which side of the picture a thing is."""
    ask = question_templates.side(view, rng)
    if ask is None:
        return []
    the, thing = say(ask.subject, rng), ask.things[0]
    rows = [
        (
            pick(rng, (f"on which side of the photo is {the}", f"on which side is {the}")),
            ask.answer,
            "query",
            "query",
            "hposition",
            "positionQuery",
        ),
        (
            f"is {the} on the {ask.answer} of the image",
            "yes",
            "verify",
            "verify hposition",
            ask.answer,
            "positionVerify",
        ),
        (
            f"is {the} on the {MIRRORED_SIDE[ask.answer]} of the image",
            "no",
            "verify",
            "verify hposition",
            MIRRORED_SIDE[ask.answer],
            "positionVerify",
        ),
    ]
    flagged = pick(rng, (0, 0, 1, 2))
    family = []
    for place, (text, answer, structural, operation, argument, detailed) in enumerate(rows):
        program = Program(view)
        program.add(operation, argument, program.subject(ask.subject))
        full = f"{the} is on the {ask.answer}" if structural == "query" else f"{answer}, {the} is on the {ask.answer}"
        others = tuple(i for i in range(3) if i != place) if place != 2 else ()
        family.append(
            Draft(
                sentence(text, "?"),
                answer,
                sentence(full),
                program,
                (structural, "attr", detailed),
                ("position", f"07-{ask.subject.kind}_hposition"),
                ((the, thing),),
                entails=others,
                balanced=place == flagged,
            )
        )
    return family


def place_family(view: View, rng: np.random.Generator) -> list[Draft]:
    """Where the picture was taken: query, verify, choose."""
    ask = question_templates.place_check(view, rng)
    own = view.scene.background
    wrong = ask.detail if ask.answer == "no" else pick(rng, [name for name in BACKGROUND if name != own])
    pair = shuffled(rng, [own, wrong])
    rows = [
        (
            pick(rng, ("where was this picture taken", "which place is this", "where is this")),
            own,
            "query",
            "query",
            "place",
            "place",
        ),
        (f"is this picture taken {BACKGROUND[own].phrase}", "yes", "verify", "verify place", own, "locationVerify"),
        (f"is this picture taken {BACKGROUND[wrong].phrase}", "no", "verify", "verify place", wrong, "locationVerify"),
        (f"is this the {pair[0]} or the {pair[1]}", own, "choose", "choose place", "|".join(pair), "placeChoose"),
    ]
    flagged = pick(rng, (0, 1 if ask.answer == "yes" else 2, 3))
    family = []
    for place, (text, answer, structural, operation, argument, detailed) in enumerate(rows):
        program = Program(view)
        program.add(operation, argument, program.add("select", "scene (-)"))
        full = (
            f"{answer}, it is {BACKGROUND[own].phrase}"
            if answer in ("yes", "no")
            else f"it is {BACKGROUND[own].phrase}"
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
