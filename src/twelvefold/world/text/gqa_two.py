"""GQA families about two things: how they stand to each other, whether both are there, whether they are alike."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from twelvefold.world.categories import KIND, KINDS
from twelvefold.world.text import question_templates
from twelvefold.world.text.description import MIRROR, Description, View, identify
from twelvefold.world.text.gqa_drafts import Draft, exists, related
from twelvefold.world.text.gqa_programs import ATTRIBUTE_NAMES, RELATION_NAMES, Program
from twelvefold.world.text.lexicon import chance, pick, sentence, shuffled, with_article
from twelvefold.world.text.realize import say


def relation_family(view: View, rng: np.random.Generator) -> list[Draft]:
    """Does one thing stand in a relation to another, and the same told from the other's side; the wrong way round."""
    ask = question_templates.relation_check(view, rng)
    if ask is None:
        return []
    family = [
        replace(
            related(view, ask.subject, ask.detail, ask.other, ask.things, ask.answer, rng), balanced=True, entails=(1,)
        )
    ]
    mirrored = (ask.things[1], ask.things[0])
    family.append(
        replace(related(view, ask.other, MIRROR[ask.detail], ask.subject, mirrored, ask.answer, rng), entails=(0,))
    )
    if ask.template == "side check":
        opposite = "no" if ask.answer == "yes" else "yes"
        family.append(related(view, ask.subject, MIRROR[ask.detail], ask.other, ask.things, opposite, rng))
        family.append(_choose_side(view, ask.subject, ask.other, ask.things, rng))
        settled = [d.answer != "no" for d in family]
        family = [
            replace(d, entails=tuple(i for i in range(4) if i != place) if settled[place] else d.entails)
            for place, d in enumerate(family)
        ]
        flagged = pick(rng, (0, 0, 3))
        family = [replace(d, balanced=place == flagged) for place, d in enumerate(family)]
    return family


def _choose_side(
    view: View, first: Description, second: Description, things: tuple[int, ...], rng: np.random.Generator
) -> Draft:
    the, that = say(first, rng), say(second, rng)
    own = "to the left of" if view.x[things[0]] < view.x[things[1]] else "to the right of"
    ways = shuffled(rng, ["to the left of", "to the right of"])
    program = Program(view)
    one, two = program.subject(first), program.subject(second)
    program.add("choose rel", f"{second.kind or '_'},{'|'.join(ways)},o ({things[1]})", one, two)
    text = f"is {the} {ways[0]} or {ways[1]} {that}"
    points = ((the, things[0]), (that, things[1]))
    group = f"15-{first.kind}_side,{second.kind}"
    return Draft(
        sentence(text, "?"),
        own,
        sentence(f"{the} is {own} {that}"),
        program,
        ("choose", "rel", "relChooser"),
        (None, group),
        points,
    )


def neighbour_family(view: View, rng: np.random.Generator) -> list[Draft]:
    """What is on the bed; with it: is the cat on the bed, is there a cat on the bed."""
    ask = question_templates.neighbour(view, rng)
    if ask is None:
        return []
    a, b = ask.things
    found = Description(relation=(ask.detail, ask.subject))
    program = Program(view)
    program.add("query", "name", program.subject(found))
    the, where = say(ask.subject, rng), RELATION_NAMES.get(ask.detail, ask.detail)
    text = pick(
        rng,
        (
            f"what is {where} {the}",
            f"which object is {where} {the}",
            f"what thing is {where} {the}",
            f"what do you see {where} {the}",
        ),
    )
    full = f"{with_article(ask.answer)} is {where} {the}"
    group = f"14-{ask.subject.kind}_{where},s"
    query = Draft(
        sentence(text, "?"),
        ask.answer,
        sentence(full),
        program,
        ("query", "rel", "relS"),
        (KIND[ask.answer].category, group),
        ((the, b), (with_article(ask.answer), a)),
        balanced=True,
        entails=(1,),
    )
    family = [query, exists(view, Description(kind=ask.answer, relation=found.relation), rng)]
    subject = identify(view, a, rng, redundant=0.0)
    if subject is not None:
        if subject == Description(kind=ask.answer):
            family[0] = replace(query, entails=(1, 2))
        family.append(replace(related(view, subject, ask.detail, ask.subject, (a, b), "yes", rng), entails=(1,)))
    return family


def logical_family(view: View, rng: np.random.Generator) -> list[Draft]:
    """Both a dog and a cat, either a dog or a cat: labels first, then kinds that are there or are not."""
    both, yes = chance(rng, 0.5), chance(rng, 0.5)
    here, gone = list(view.by_kind), [k.name for k in KINDS if k.name not in view.by_kind]
    if len(here) < 2:
        return []
    if both is yes:
        kinds = shuffled(rng, here if both else gone)[:2]
    else:
        kinds = shuffled(rng, [pick(rng, here), pick(rng, gone)])
    program = Program(view)
    parts = [program.add("exist", "?", program.subject(Description(kind=kind))) for kind in kinds]
    program.add("and" if both else "or", "", *parts)
    one, two = (say(Description(kind=kind), rng, "a") for kind in kinds)
    if both:
        text = pick(
            rng,
            (f"are there both {one} and {two}", f"do you see both {one} and {two}", f"is there {one} and also {two}"),
        )
    else:
        text = pick(
            rng,
            (f"is there either {one} or {two}", f"are there any signs of {one} or {two}", f"do you see {one} or {two}"),
        )
    answer = "yes" if yes else "no"
    full = f"{answer}, there {'is' if yes else 'is not'} {one} {'and' if both else 'or'} {two}"
    first = Draft(
        sentence(text, "?"),
        answer,
        sentence(full),
        program,
        ("logical", "obj", "existAnd" if both else "existOr"),
        (None, "04-" + "_".join(sorted(kinds))),
        (),
        balanced=True,
        entails=(1, 2) if both is yes else (),
    )
    return [first, *(exists(view, Description(kind=kind), rng) for kind in kinds)]


def compare_family(view: View, rng: np.random.Generator) -> list[Draft]:
    """Have two things the same colour; which of two is larger."""
    if chance(rng, 0.4):
        return _larger(view, rng)
    ask = question_templates.sameness(view, rng, places=False)
    if ask is None:
        return []
    name = ATTRIBUTE_NAMES[ask.detail]
    family = []
    for verb in ("same", "different"):
        the, that = say(ask.subject, rng), say(ask.other, rng)
        program = Program(view)
        one, two = program.subject(ask.subject), program.subject(ask.other)
        program.add(f"{verb} {name}", "", one, two)
        text = {
            "same": (f"are {the} and {that} the same {name}", f"do {the} and {that} have the same {name}"),
            "different": (f"do {the} and {that} have different {name}s", f"are {the} and {that} different in {name}"),
        }[verb]
        answer = ask.answer if verb == "same" else "no" if ask.answer == "yes" else "yes"
        what = f"the same {name}" if ask.answer == "yes" else f"different {name}s"
        family.append(
            Draft(
                sentence(pick(rng, text), "?"),
                answer,
                sentence(f"{answer}, they have {what}"),
                program,
                ("compare", "attr", "twoSame" if verb == "same" else "twoDifferent"),
                (None, f"05-{name}"),
                ((the, ask.things[0]), (that, ask.things[1])),
            )
        )
    flagged = pick(rng, (0, 1))
    return [replace(d, balanced=place == flagged, entails=(1 - place,)) for place, d in enumerate(family)]


def _larger(view: View, rng: np.random.Generator) -> list[Draft]:
    ask = question_templates.comparison(view, rng, places=False)
    if ask is None or ask.subject.kind == ask.other.kind:
        return []
    the, that = say(ask.subject, rng), say(ask.other, rng)
    program = Program(view)
    one, two = program.subject(ask.subject), program.subject(ask.other)
    program.add("choose larger", "", one, two)
    larger = view.things[max(ask.things, key=view.area.__getitem__)].kind
    text = pick(
        rng,
        (
            f"which is larger, {the} or {that}",
            f"what is bigger, {the} or {that}",
            f"which one is bigger, {the} or {that}",
        ),
    )
    return [
        Draft(
            sentence(text, "?"),
            larger,
            sentence(f"the {larger} is larger"),
            program,
            ("compare", "attr", "comparativeChoose"),
            (None, f"05-size_{'_'.join(sorted((ask.subject.kind, ask.other.kind)))}"),
            ((the, ask.things[0]), (that, ask.things[1])),
            balanced=True,
        )
    ]
