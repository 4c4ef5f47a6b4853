"""GQA families about two things: how they stand to each other, whether both are there, whether they are alike."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from twelvefold.world.categories import CATEGORIES, CATEGORY_BY_NAME
from twelvefold.world.text import question_templates
from twelvefold.world.text.description import MIRROR, Description, SceneGraph, describe_uniquely
from twelvefold.world.text.gqa_drafts import Draft, exists, related
from twelvefold.world.text.gqa_programs import ATTRIBUTE_NAMES, RELATION_NAMES, Program
from twelvefold.world.text.lexicon import add_article, bernoulli, choice, sentence, shuffled
from twelvefold.world.text.realize import realize


def relation_family(graph: SceneGraph, rng: np.random.Generator) -> list[Draft]:
    """Does one thing stand in a relation to another, and the same told from the other's side; the wrong way round."""
    frame = question_templates.relation_check(graph, rng)
    if frame is None:
        return []
    family = [
        replace(
            related(graph, frame.subject, frame.detail, frame.other, frame.objects, frame.answer, rng),
            balanced=True,
            entails=(1,),
        )
    ]
    mirrored = (frame.objects[1], frame.objects[0])
    family.append(
        replace(
            related(graph, frame.other, MIRROR[frame.detail], frame.subject, mirrored, frame.answer, rng), entails=(0,)
        )
    )
    if frame.template == "side check":
        opposite = "no" if frame.answer == "yes" else "yes"
        family.append(related(graph, frame.subject, MIRROR[frame.detail], frame.other, frame.objects, opposite, rng))
        family.append(_choose_side(graph, frame.subject, frame.other, frame.objects, rng))
        settled = [d.answer != "no" for d in family]
        family = [
            replace(d, entails=tuple(i for i in range(4) if i != place) if settled[place] else d.entails)
            for place, d in enumerate(family)
        ]
        flagged = choice(rng, (0, 0, 3))
        family = [replace(d, balanced=place == flagged) for place, d in enumerate(family)]
    return family


def _choose_side(
    graph: SceneGraph, first: Description, second: Description, objects: tuple[int, ...], rng: np.random.Generator
) -> Draft:
    the, that = realize(first, rng), realize(second, rng)
    own = "to the left of" if graph.x[objects[0]] < graph.x[objects[1]] else "to the right of"
    ways = shuffled(rng, ["to the left of", "to the right of"])
    program = Program(graph)
    one, two = program.subject(first), program.subject(second)
    program.add("choose rel", f"{second.category or '_'},{'|'.join(ways)},o ({objects[1]})", one, two)
    text = f"is {the} {ways[0]} or {ways[1]} {that}"
    points = ((the, objects[0]), (that, objects[1]))
    group = f"15-{first.category}_side,{second.category}"
    return Draft(
        sentence(text, "?"),
        own,
        sentence(f"{the} is {own} {that}"),
        program,
        ("choose", "rel", "relChooser"),
        (None, group),
        points,
    )


def neighbor_family(graph: SceneGraph, rng: np.random.Generator) -> list[Draft]:
    """What is on the bed; with it: is the cat on the bed, is there a cat on the bed."""
    frame = question_templates.neighbor(graph, rng)
    if frame is None:
        return []
    a, b = frame.objects
    found = Description(relation=(frame.detail, frame.subject))
    program = Program(graph)
    program.add("query", "name", program.subject(found))
    the, where = realize(frame.subject, rng), RELATION_NAMES.get(frame.detail, frame.detail)
    text = choice(
        rng,
        (
            f"what is {where} {the}",
            f"which object is {where} {the}",
            f"what thing is {where} {the}",
            f"what do you see {where} {the}",
        ),
    )
    full = f"{add_article(frame.answer)} is {where} {the}"
    group = f"14-{frame.subject.category}_{where},s"
    query = Draft(
        sentence(text, "?"),
        frame.answer,
        sentence(full),
        program,
        ("query", "rel", "relS"),
        (CATEGORY_BY_NAME[frame.answer].supercategory, group),
        ((the, b), (add_article(frame.answer), a)),
        balanced=True,
        entails=(1,),
    )
    family = [query, exists(graph, Description(category=frame.answer, relation=found.relation), rng)]
    subject = describe_uniquely(graph, a, rng, redundant=0.0)
    if subject is not None:
        if subject == Description(category=frame.answer):
            family[0] = replace(query, entails=(1, 2))
        family.append(replace(related(graph, subject, frame.detail, frame.subject, (a, b), "yes", rng), entails=(1,)))
    return family


def logical_family(graph: SceneGraph, rng: np.random.Generator) -> list[Draft]:
    """Both a dog and a cat, either a dog or a cat: labels first, then kinds that are there or are not."""
    both, yes = bernoulli(rng, 0.5), bernoulli(rng, 0.5)
    here, gone = list(graph.by_category), [k.name for k in CATEGORIES if k.name not in graph.by_category]
    if len(here) < 2:
        return []
    if both is yes:
        categories = shuffled(rng, here if both else gone)[:2]
    else:
        categories = shuffled(rng, [choice(rng, here), choice(rng, gone)])
    program = Program(graph)
    parts = [program.add("exist", "?", program.subject(Description(category=category))) for category in categories]
    program.add("and" if both else "or", "", *parts)
    one, two = (realize(Description(category=category), rng, "a") for category in categories)
    if both:
        text = choice(
            rng,
            (f"are there both {one} and {two}", f"do you see both {one} and {two}", f"is there {one} and also {two}"),
        )
    else:
        text = choice(
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
        (None, "04-" + "_".join(sorted(categories))),
        (),
        balanced=True,
        entails=(1, 2) if both is yes else (),
    )
    return [first, *(exists(graph, Description(category=category), rng) for category in categories)]


def compare_family(graph: SceneGraph, rng: np.random.Generator) -> list[Draft]:
    """Have two things the same colour; which of two is larger."""
    if bernoulli(rng, 0.4):
        return _larger(graph, rng)
    frame = question_templates.sameness(graph, rng, places=False)
    if frame is None:
        return []
    name = ATTRIBUTE_NAMES[frame.detail]
    family = []
    for verb in ("same", "different"):
        the, that = realize(frame.subject, rng), realize(frame.other, rng)
        program = Program(graph)
        one, two = program.subject(frame.subject), program.subject(frame.other)
        program.add(f"{verb} {name}", "", one, two)
        text = {
            "same": (f"are {the} and {that} the same {name}", f"do {the} and {that} have the same {name}"),
            "different": (f"do {the} and {that} have different {name}s", f"are {the} and {that} different in {name}"),
        }[verb]
        answer = frame.answer if verb == "same" else "no" if frame.answer == "yes" else "yes"
        description = f"the same {name}" if frame.answer == "yes" else f"different {name}s"
        family.append(
            Draft(
                sentence(choice(rng, text), "?"),
                answer,
                sentence(f"{answer}, they have {description}"),
                program,
                ("compare", "attr", "twoSame" if verb == "same" else "twoDifferent"),
                (None, f"05-{name}"),
                ((the, frame.objects[0]), (that, frame.objects[1])),
            )
        )
    flagged = choice(rng, (0, 1))
    return [replace(d, balanced=place == flagged, entails=(1 - place,)) for place, d in enumerate(family)]


def _larger(graph: SceneGraph, rng: np.random.Generator) -> list[Draft]:
    frame = question_templates.comparison(graph, rng, places=False)
    if frame is None or frame.subject.category == frame.other.category:
        return []
    the, that = realize(frame.subject, rng), realize(frame.other, rng)
    program = Program(graph)
    one, two = program.subject(frame.subject), program.subject(frame.other)
    program.add("choose larger", "", one, two)
    larger = graph.objects[max(frame.objects, key=graph.area.__getitem__)].category
    text = choice(
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
            (None, f"05-size_{'_'.join(sorted((frame.subject.category, frame.other.category)))}"),
            ((the, frame.objects[0]), (that, frame.objects[1])),
            balanced=True,
        )
    ]
