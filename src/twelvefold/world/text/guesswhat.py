"""GuessWhat?! games: a questioner narrows the things of a picture down to one by yes-no questions.

Every answer is what the scene says of the target: Yes, No, or N/A where people would not agree. A game is a
``success`` where only the target is left, a ``failure`` where the questioner guessed among several, ``incomplete``
where it broke off. Paper: section 2.1, G3.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final, Literal

import numpy as np

from twelvefold.world.categories import COLORS
from twelvefold.world.scene import Scene
from twelvefold.world.text.annotations import Dialogue, Turn
from twelvefold.world.text.description import Description, SceneGraph, Truth, describe_uniquely, matches
from twelvefold.world.text.lexicon import ABILITIES, CLASSES, PLACE_WORDS, RELATION_WORDS, bernoulli, choice, shuffled
from twelvefold.world.text.realize import realize, realize_attribute, realize_noun

MAX_TURNS: Final = 8
GIVES_UP: Final = 0.05
"""Share of games that break off, as about one in twenty of the official ones does."""
GUESSES_EARLY: Final = 0.12
"""Chance after each turn that a questioner with few things left guesses at once."""
CONFIRMS: Final = 0.4
"""Share of the games in which the questioner, sure by now, names the thing to be told so."""

Status = Literal["success", "failure", "incomplete"]


def generate_dialogues(scene: Scene, rng: np.random.Generator, count: int = 1) -> tuple[Dialogue, ...]:
    """At most ``count`` games about different things of the picture; none with fewer than three things."""
    graph = SceneGraph(scene)
    if graph.count < 3:
        return ()
    return tuple(_game(graph, target, rng) for target in shuffled(rng, range(graph.count))[:count])


def answer_question(graph: SceneGraph, asked: Description, target: int) -> Literal["Yes", "No", "N/A"]:
    """What a person who sees the picture and knows the target answers."""
    truth: Truth = matches(graph, target, asked)
    return "N/A" if truth is None else "Yes" if truth else "No"


def _game(graph: SceneGraph, target: int, rng: np.random.Generator) -> Dialogue:
    left = list(range(graph.count))
    turns: list[Turn] = []
    while len(turns) < MAX_TURNS and (len(left) > 1 or len(turns) < 2):
        turn, left = _turn(graph, target, left, turns, rng)
        turns.append(turn)
        if len(turns) >= 2 and len(left) in (2, 3) and bernoulli(rng, GUESSES_EARLY):
            break
        if len(turns) >= 2 and bernoulli(rng, GIVES_UP / 4):
            return Dialogue(target, tuple(turns), "incomplete")
    if left == [target] and len(turns) < MAX_TURNS and bernoulli(rng, CONFIRMS):
        named = describe_uniquely(graph, target, rng, places=True, relations=True)
        if named is not None and all(turn.asked != named for turn in turns):
            turns.append(
                Turn(
                    _tidy(choice(rng, ("is it {}?", "so it is {}?", "{}?")).format(realize(named, rng)), rng),
                    "Yes",
                    named,
                )
            )
    status: Status = "success" if choice(rng, left) == target else "failure"
    return Dialogue(target, tuple(turns), status)


def _turn(
    graph: SceneGraph, target: int, left: list[int], turns: list[Turn], rng: np.random.Generator
) -> tuple[Turn, list[int]]:
    """A question that splits what is left well, its answer, and what is left after it."""
    asked_before = {turn.asked for turn in turns}
    best: tuple[float, Description] | None = None
    for asked in _questions(graph, left, rng):
        if asked in asked_before:
            continue
        truths = [matches(graph, i, asked) for i in left]
        yes, unsure = truths.count(True), truths.count(None)
        loss = abs(yes / len(left) - 0.5) + 0.3 * unsure / len(left) + 0.25 * rng.random()
        if best is None or loss < best[0]:
            best = (loss, asked)
    if best is None:
        raise RuntimeError(f"scene {graph.scene.seed}/{graph.scene.index}: no question is left to ask about {left}")
    asked = best[1]
    answer = answer_question(graph, asked, target)
    wanted = {"Yes": True, "No": False, "N/A": None}[answer]
    remaining = [i for i in left if matches(graph, i, asked) is wanted]
    return Turn(_worded(asked, rng), answer, asked), remaining


def _questions(graph: SceneGraph, left: list[int], rng: np.random.Generator) -> Iterator[Description]:
    """Things that a player might ask next about one of those left: broad ones while many are left, then narrow."""
    for _ in range(6):
        obj = graph.objects[choice(rng, left)]
        sort = rng.random()
        if sort < 0.22:
            yield Description(ability=choice(rng, tuple(ABILITIES)))
        elif sort < 0.34:
            yield Description(class_=choice(rng, tuple(CLASSES)))
        elif sort < 0.52:
            yield Description(category=obj.category)
        elif sort < 0.68:
            yield Description(color=obj.color)
        elif sort < 0.86:
            yield Description(
                place=choice(rng, ("left", "right", "top", "bottom", "middle", "top left", "bottom right"))
            )
        elif sort < 0.92:
            yield Description(size=obj.size)
        else:
            yield Description(pattern=obj.pattern)
    obj = graph.objects[choice(rng, left)]
    partner = graph.partner(choice(rng, left))
    if partner is not None and bernoulli(rng, 0.5):
        landmark = describe_uniquely(graph, partner[1], rng)
        if landmark is not None:
            yield Description(relation=(partner[0], landmark))
    if len(left) > 1 and bernoulli(rng, 0.4):
        other = choice(rng, left)
        landmark = describe_uniquely(graph, other, rng)
        if landmark is not None:
            yield Description(relation=(choice(rng, ("left of", "right of")), landmark))
    if len(left) < 4:
        yield replace(Description(category=obj.category), color=obj.color)
        yield Description(color=choice(rng, tuple(COLORS)), size=obj.size)
        yield Description(category=obj.category, pattern=obj.pattern)


def _worded(asked: Description, rng: np.random.Generator) -> str:
    if asked.ability:
        return _tidy(choice(rng, ABILITIES[asked.ability].asked), rng)
    if asked.relation is not None:
        name, other = asked.relation
        where, that = choice(rng, RELATION_WORDS[name]), realize(other, rng)
        return _tidy(choice(rng, (f"is it {where} {that}?", f"is the object {where} {that}?", f"{where} {that}?")), rng)
    if asked.place:
        corner = (f"in the {asked.place}", f"in the {asked.place} corner")
        half = choice(rng, PLACE_WORDS.get(asked.place, corner))
        return _tidy(choice(rng, (f"is it {half}?", f"{half}?", f"is the thing {half} of the picture?")), rng)
    if not asked.category and not asked.class_:
        parts = [
            realize_attribute(name, getattr(asked, name), rng)
            for name in ("size", "pattern", "color")
            if getattr(asked, name)
        ]
        value = " and ".join(parts)
        return _tidy(choice(rng, (f"is it {value}?", f"is it {value}?", f"{value}?", f"does it look {value}?")), rng)
    one = realize(asked, rng, "a")
    if asked.category and asked == Description(category=asked.category):
        word = realize_noun(asked, rng)
        return _tidy(
            choice(
                rng,
                (
                    f"is it {one}?",
                    f"is it the {word}?",
                    f"{one}?",
                    f"is it one of the {realize_noun(asked, rng, plural=True)}?",
                ),
            ),
            rng,
        )
    return _tidy(choice(rng, (f"is it {one}?", f"is it {one}?", f"{one}?", f"is the object {one}?")), rng)


def _tidy(question: str, rng: np.random.Generator) -> str:
    """Players write in a hurry: a capital now and then, a lost question mark rarely."""
    if bernoulli(rng, 0.3):
        question = question[0].upper() + question[1:]
    return question if bernoulli(rng, 0.93) else question[:-1] + " ?"
