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

from twelvefold.world.categories import COLOURS
from twelvefold.world.scene import Scene
from twelvefold.world.text.annotations import Dialogue, Turn
from twelvefold.world.text.description import Description, Truth, View, has, identify
from twelvefold.world.text.lexicon import ABILITIES, CLASSES, PLACE_WORDS, RELATION_WORDS, chance, pick, shuffled
from twelvefold.world.text.realize import noun, say, say_value

MAX_TURNS: Final = 8
GIVES_UP: Final = 0.05
"""Share of games that break off, as about one in twenty of the official ones does."""
GUESSES_EARLY: Final = 0.12
"""Chance after each turn that a questioner with few things left guesses at once."""
CONFIRMS: Final = 0.4
"""Share of the games in which the questioner, sure by now, names the thing to be told so."""

Status = Literal["success", "failure", "incomplete"]


def dialogues(scene: Scene, rng: np.random.Generator, count: int = 1) -> tuple[Dialogue, ...]:
    """At most ``count`` games about different things of the picture; none with fewer than three things."""
    view = View(scene)
    if view.count < 3:
        return ()
    return tuple(_game(view, target, rng) for target in shuffled(rng, range(view.count))[:count])


def answer_to(view: View, asked: Description, target: int) -> Literal["Yes", "No", "N/A"]:
    """What a person who sees the picture and knows the target answers."""
    truth: Truth = has(view, target, asked)
    return "N/A" if truth is None else "Yes" if truth else "No"


def _game(view: View, target: int, rng: np.random.Generator) -> Dialogue:
    left = list(range(view.count))
    turns: list[Turn] = []
    while len(turns) < MAX_TURNS and (len(left) > 1 or len(turns) < 2):
        turn, left = _turn(view, target, left, turns, rng)
        turns.append(turn)
        if len(turns) >= 2 and len(left) in (2, 3) and chance(rng, GUESSES_EARLY):
            break
        if len(turns) >= 2 and chance(rng, GIVES_UP / 4):
            return Dialogue(target, tuple(turns), "incomplete")
    if left == [target] and len(turns) < MAX_TURNS and chance(rng, CONFIRMS):
        named = identify(view, target, rng, places=True, relations=True)
        if named is not None and all(turn.asked != named for turn in turns):
            turns.append(
                Turn(_tidy(pick(rng, ("is it {}?", "so it is {}?", "{}?")).format(say(named, rng)), rng), "Yes", named)
            )
    status: Status = "success" if pick(rng, left) == target else "failure"
    return Dialogue(target, tuple(turns), status)


def _turn(
    view: View, target: int, left: list[int], turns: list[Turn], rng: np.random.Generator
) -> tuple[Turn, list[int]]:
    """A question that splits what is left well, its answer, and what is left after it."""
    asked_before = {turn.asked for turn in turns}
    best: tuple[float, Description] | None = None
    for asked in _questions(view, left, rng):
        if asked in asked_before:
            continue
        truths = [has(view, i, asked) for i in left]
        yes, unsure = truths.count(True), truths.count(None)
        loss = abs(yes / len(left) - 0.5) + 0.3 * unsure / len(left) + 0.25 * rng.random()
        if best is None or loss < best[0]:
            best = (loss, asked)
    if best is None:
        raise RuntimeError(f"scene {view.scene.seed}/{view.scene.index}: no question is left to ask about {left}")
    asked = best[1]
    answer = answer_to(view, asked, target)
    wanted = {"Yes": True, "No": False, "N/A": None}[answer]
    remaining = [i for i in left if has(view, i, asked) is wanted]
    return Turn(_worded(asked, rng), answer, asked), remaining


def _questions(view: View, left: list[int], rng: np.random.Generator) -> Iterator[Description]:
    """Things that a player might ask next about one of those left: broad ones while many are left, then narrow."""
    for _ in range(6):
        thing = view.things[pick(rng, left)]
        sort = rng.random()
        if sort < 0.22:
            yield Description(ability=pick(rng, tuple(ABILITIES)))
        elif sort < 0.34:
            yield Description(class_=pick(rng, tuple(CLASSES)))
        elif sort < 0.52:
            yield Description(kind=thing.kind)
        elif sort < 0.68:
            yield Description(colour=thing.colour)
        elif sort < 0.86:
            yield Description(place=pick(rng, ("left", "right", "top", "bottom", "middle", "top left", "bottom right")))
        elif sort < 0.92:
            yield Description(size=thing.size)
        else:
            yield Description(pattern=thing.pattern)
    thing = view.things[pick(rng, left)]
    partner = view.partner(pick(rng, left))
    if partner is not None and chance(rng, 0.5):
        landmark = identify(view, partner[1], rng)
        if landmark is not None:
            yield Description(relation=(partner[0], landmark))
    if len(left) > 1 and chance(rng, 0.4):
        other = pick(rng, left)
        landmark = identify(view, other, rng)
        if landmark is not None:
            yield Description(relation=(pick(rng, ("left of", "right of")), landmark))
    if len(left) < 4:
        yield replace(Description(kind=thing.kind), colour=thing.colour)
        yield Description(colour=pick(rng, tuple(COLOURS)), size=thing.size)
        yield Description(kind=thing.kind, pattern=thing.pattern)


def _worded(asked: Description, rng: np.random.Generator) -> str:
    if asked.ability:
        return _tidy(pick(rng, ABILITIES[asked.ability].asked), rng)
    if asked.relation is not None:
        name, other = asked.relation
        where, that = pick(rng, RELATION_WORDS[name]), say(other, rng)
        return _tidy(pick(rng, (f"is it {where} {that}?", f"is the object {where} {that}?", f"{where} {that}?")), rng)
    if asked.place:
        corner = (f"in the {asked.place}", f"in the {asked.place} corner")
        half = pick(rng, PLACE_WORDS.get(asked.place, corner))
        return _tidy(pick(rng, (f"is it {half}?", f"{half}?", f"is the thing {half} of the picture?")), rng)
    if not asked.kind and not asked.class_:
        parts = [
            say_value(name, getattr(asked, name), rng) for name in ("size", "pattern", "colour") if getattr(asked, name)
        ]
        value = " and ".join(parts)
        return _tidy(pick(rng, (f"is it {value}?", f"is it {value}?", f"{value}?", f"does it look {value}?")), rng)
    one = say(asked, rng, "a")
    if asked.kind and asked == Description(kind=asked.kind):
        word = noun(asked, rng)
        return _tidy(
            pick(
                rng,
                (
                    f"is it {one}?",
                    f"is it the {word}?",
                    f"{one}?",
                    f"is it one of the {noun(asked, rng, plural=True)}?",
                ),
            ),
            rng,
        )
    return _tidy(pick(rng, (f"is it {one}?", f"is it {one}?", f"{one}?", f"is the object {one}?")), rng)


def _tidy(question: str, rng: np.random.Generator) -> str:
    """Players write in a hurry: a capital now and then, a lost question mark rarely."""
    if chance(rng, 0.3):
        question = question[0].upper() + question[1:]
    return question if chance(rng, 0.93) else question[:-1] + " ?"
