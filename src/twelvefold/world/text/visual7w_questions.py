"""Visual7W pointing questions: "Which ...?", answered by one of four boxes. Paper: section 2.1, G3.

The four are real things of the picture: the one meant and three others, rather those that share something with it.
The right one takes each slot equally often, and the question denotes it among the four.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from twelvefold.world.scene import Scene
from twelvefold.world.text.annotations import PointingQuestion
from twelvefold.world.text.description import Description, SceneGraph, describe_uniquely, matching_objects
from twelvefold.world.text.lexicon import ABILITIES, CLASSES, bernoulli, choice, sentence, shuffled
from twelvefold.world.text.realize import realize, realize_attribute, realize_noun

CHOICES: Final = 4


def generate_pointing_questions(scene: Scene, rng: np.random.Generator, count: int = 2) -> tuple[PointingQuestion, ...]:
    """At most ``count`` different questions; none where the picture has fewer than four things."""
    graph = SceneGraph(scene)
    found: dict[str, PointingQuestion] = {}
    if graph.count < CHOICES:
        return ()
    for _ in range(4 * count):
        question = _which(graph, rng)
        if question is not None:
            found.setdefault(question.question, question)
        if len(found) == count:
            break
    return tuple(found.values())


def _which(graph: SceneGraph, rng: np.random.Generator) -> PointingQuestion | None:
    target = choice(rng, range(graph.count))
    choices = shuffled(rng, [target, *_distractors(graph, target, rng)])
    template = choice(rng, tuple(TEMPLATES))
    description = TEMPLATES[template](graph, target, choices, rng)
    if description is None or matching_objects(graph, description, choices) != (target,):
        return None
    text = sentence(_worded(description, rng), "?")
    one, two, three, four = choices
    return PointingQuestion(text, (one, two, three, four), choices.index(target), template)


def _distractors(graph: SceneGraph, target: int, rng: np.random.Generator) -> list[int]:
    """Three other things, those that share the kind or the colour of the target rather than the rest."""
    obj = graph.objects[target]
    shares = [(t.category == obj.category) + (t.color == obj.color) + rng.random() * 1.5 for t in graph.objects]
    others = [i for i in range(graph.count) if i != target]
    return sorted(others, key=shares.__getitem__, reverse=True)[: CHOICES - 1]


def _by_looks(graph: SceneGraph, target: int, choices: list[int], rng: np.random.Generator) -> Description | None:
    return describe_uniquely(graph, target, rng, among=choices)


def _by_attribute(graph: SceneGraph, target: int, choices: list[int], rng: np.random.Generator) -> Description | None:
    return describe_uniquely(graph, target, rng, without=("category",), among=choices)


def _by_place(graph: SceneGraph, target: int, choices: list[int], rng: np.random.Generator) -> Description | None:
    without = ("category", "color", "pattern", "size")
    return describe_uniquely(graph, target, rng, without=without, places=True, among=choices)


def _by_relation(graph: SceneGraph, target: int, choices: list[int], rng: np.random.Generator) -> Description | None:
    without = ("category", "color", "pattern", "size")
    return describe_uniquely(graph, target, rng, without=without, relations=True, among=choices)


def _by_use(graph: SceneGraph, target: int, choices: list[int], rng: np.random.Generator) -> Description | None:
    category = graph.objects[target].category
    names = [a.name for a in ABILITIES.values() if category in a.members]
    return Description(ability=choice(rng, names)) if names else None


def _by_class(graph: SceneGraph, target: int, choices: list[int], rng: np.random.Generator) -> Description | None:
    names = [c.name for c in CLASSES.values() if graph.objects[target].category in c.members]
    return Description(class_=names[0]) if names else None


TEMPLATES: Final = {
    "looks": _by_looks,
    "attribute": _by_attribute,
    "place": _by_place,
    "relation": _by_relation,
    "use": _by_use,
    "class": _by_class,
}


def _worded(description: Description, rng: np.random.Generator) -> str:
    """``Which cup is striped``, ``Which one is the red cup``, ``Which object can fly``, ``Which thing is next to``."""
    whole = realize(description, rng)
    if description.ability:
        can = choice(rng, ABILITIES[description.ability].can)
        obj = realize_noun(Description(), rng)
        return choice(
            rng,
            (f"which {obj} is something that {can}", f"which of these {can}" if _verb(can) else f"which is {whole}"),
        )
    ways = [f"which is {whole}", f"which one is {whole}", f"which box shows {whole}", f"which of these is {whole}"]
    value = [
        realize_attribute(name, getattr(description, name), rng)
        for name in ("color", "pattern", "size")
        if getattr(description, name)
    ]
    if len(value) == 1 and description == Description(
        category=description.category, color=description.color, pattern=description.pattern, size=description.size
    ):
        category = realize_noun(Description(category=description.category), rng)
        ways += [f"which {category} is {value[0]}", f"which {category} looks {value[0]}"] * 2
    if description.relation is not None or description.place:
        bare = realize(description, rng, "")
        ways += [f"which {bare.replace(' that is ', ' is ', 1)}" if " that is " in bare else f"which is {whole}"] * 2
    if bernoulli(rng, 0.2):
        return choice(rng, (f"can you point out which is {whole}", f"which can be called {whole}"))
    return choice(rng, ways)


def _verb(can: str) -> bool:
    return not can.startswith(("you", "people", "a "))
