"""Visual7W pointing questions: "Which ...?", answered by one of four boxes. Paper: section 2.1, G3.

The four are real things of the picture: the one meant and three others, rather those that share something with it.
The right one takes each slot equally often, and the question denotes it among the four.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from twelvefold.world.scene import Scene
from twelvefold.world.text.annotations import WhichQuestion
from twelvefold.world.text.description import Description, View, denote, identify
from twelvefold.world.text.lexicon import ABILITIES, CLASSES, chance, pick, sentence, shuffled
from twelvefold.world.text.realize import noun, say, say_value

CHOICES: Final = 4


def which_questions(scene: Scene, rng: np.random.Generator, count: int = 2) -> tuple[WhichQuestion, ...]:
    """At most ``count`` different questions; none where the picture has fewer than four things."""
    view = View(scene)
    found: dict[str, WhichQuestion] = {}
    if view.count < CHOICES:
        return ()
    for _ in range(4 * count):
        question = _which(view, rng)
        if question is not None:
            found.setdefault(question.question, question)
        if len(found) == count:
            break
    return tuple(found.values())


def _which(view: View, rng: np.random.Generator) -> WhichQuestion | None:
    target = pick(rng, range(view.count))
    choices = shuffled(rng, [target, *_distractors(view, target, rng)])
    template = pick(rng, tuple(TEMPLATES))
    what = TEMPLATES[template](view, target, choices, rng)
    if what is None or denote(view, what, choices) != (target,):
        return None
    text = sentence(_worded(what, rng), "?")
    one, two, three, four = choices
    return WhichQuestion(text, (one, two, three, four), choices.index(target), template)


def _distractors(view: View, target: int, rng: np.random.Generator) -> list[int]:
    """Three other things, those that share the kind or the colour of the target rather than the rest."""
    thing = view.things[target]
    shares = [(t.kind == thing.kind) + (t.colour == thing.colour) + rng.random() * 1.5 for t in view.things]
    others = [i for i in range(view.count) if i != target]
    return sorted(others, key=shares.__getitem__, reverse=True)[: CHOICES - 1]


def _by_looks(view: View, target: int, choices: list[int], rng: np.random.Generator) -> Description | None:
    return identify(view, target, rng, among=choices)


def _by_attribute(view: View, target: int, choices: list[int], rng: np.random.Generator) -> Description | None:
    return identify(view, target, rng, without=("kind",), among=choices)


def _by_place(view: View, target: int, choices: list[int], rng: np.random.Generator) -> Description | None:
    without = ("kind", "colour", "pattern", "size")
    return identify(view, target, rng, without=without, places=True, among=choices)


def _by_relation(view: View, target: int, choices: list[int], rng: np.random.Generator) -> Description | None:
    without = ("kind", "colour", "pattern", "size")
    return identify(view, target, rng, without=without, relations=True, among=choices)


def _by_use(view: View, target: int, choices: list[int], rng: np.random.Generator) -> Description | None:
    kind = view.things[target].kind
    names = [a.name for a in ABILITIES.values() if kind in a.members]
    return Description(ability=pick(rng, names)) if names else None


def _by_class(view: View, target: int, choices: list[int], rng: np.random.Generator) -> Description | None:
    names = [c.name for c in CLASSES.values() if view.things[target].kind in c.members]
    return Description(class_=names[0]) if names else None


TEMPLATES: Final = {
    "looks": _by_looks,
    "attribute": _by_attribute,
    "place": _by_place,
    "relation": _by_relation,
    "use": _by_use,
    "class": _by_class,
}


def _worded(what: Description, rng: np.random.Generator) -> str:
    """``Which cup is striped``, ``Which one is the red cup``, ``Which object can fly``, ``Which thing is next to``."""
    whole = say(what, rng)
    if what.ability:
        can = pick(rng, ABILITIES[what.ability].can)
        thing = noun(Description(), rng)
        return pick(
            rng,
            (f"which {thing} is something that {can}", f"which of these {can}" if _verb(can) else f"which is {whole}"),
        )
    ways = [f"which is {whole}", f"which one is {whole}", f"which box shows {whole}", f"which of these is {whole}"]
    value = [say_value(name, getattr(what, name), rng) for name in ("colour", "pattern", "size") if getattr(what, name)]
    if len(value) == 1 and what == Description(
        kind=what.kind, colour=what.colour, pattern=what.pattern, size=what.size
    ):
        kind = noun(Description(kind=what.kind), rng)
        ways += [f"which {kind} is {value[0]}", f"which {kind} looks {value[0]}"] * 2
    if what.relation is not None or what.place:
        bare = say(what, rng, "")
        ways += [f"which {bare.replace(' that is ', ' is ', 1)}" if " that is " in bare else f"which is {whole}"] * 2
    if chance(rng, 0.2):
        return pick(rng, (f"can you point out which is {whole}", f"which can be called {whole}"))
    return pick(rng, ways)


def _verb(can: str) -> bool:
    return not can.startswith(("you", "people", "a "))
