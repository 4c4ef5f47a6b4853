"""GuessWhat?! games: a player finds the target among the objects of an image by yes-no questions.

Every answer is what the scene states about the target: Yes, No, or N/A where people would disagree. A game is a
``success`` if only the target is left, a ``failure`` if the player guessed another object, and ``incomplete`` if it
was broken off. Paper: section 2.1, G3.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from numpy.random import Generator

from twelvefold.world.categories import COLORS
from twelvefold.world.scene import Scene
from twelvefold.world.text.annotations import Dialogue, PlayerAnswer, Turn
from twelvefold.world.text.description import ObjectDescription
from twelvefold.world.text.lexicon import ABILITIES, HYPERNYMS, POSITION_WORDS, RELATION_WORDS, to_sentence
from twelvefold.world.text.realize import realize, realize_attribute, realize_noun
from twelvefold.world.text.sampling import bernoulli, choice, fill, shuffled
from twelvefold.world.text.scene_graph import SceneGraph, Truth

MAX_TURNS: Final = 8
ABANDON_PROBABILITY: Final = 0.05
"""Share of games that are broken off, as in the official ones."""
EARLY_GUESS_PROBABILITY: Final = 0.12
"""Probability after each turn that a player with two or three objects left guesses."""
CONFIRM_PROBABILITY: Final = 0.4
"""Share of games in which the player, with one object left, asks for it by name."""

_POSITIONS: Final = "left | right | top | bottom | middle | top left | bottom right"
_ANSWER_OF_TRUTH: Final[dict[Truth, PlayerAnswer]] = {True: "Yes", False: "No", None: "N/A"}


def generate_dialogues(scene: Scene, rng: Generator, count: int = 1) -> tuple[Dialogue, ...]:
    """Return at most ``count`` games about different objects, none for a scene with fewer than three objects."""
    graph = SceneGraph(scene)
    if graph.num_objects < 3:
        return ()
    return tuple(_play(graph, target, rng) for target in shuffled(rng, range(graph.num_objects))[:count])


def answer_question(graph: SceneGraph, facts: ObjectDescription, target: int) -> PlayerAnswer:
    """Return the answer of a person who sees the image and knows the target."""
    return _ANSWER_OF_TRUTH[graph.matches(target, facts)]


def _play(graph: SceneGraph, target: int, rng: Generator) -> Dialogue:
    remaining = list(range(graph.num_objects))
    turns: list[Turn] = []
    while len(turns) < MAX_TURNS and (len(remaining) > 1 or len(turns) < 2):
        turns.append(_take_turn(graph, target, remaining, turns, rng))
        answer = turns[-1].answer
        remaining = [i for i in remaining if answer_question(graph, turns[-1].facts, i) == answer]
        if len(turns) >= 2 and len(remaining) in (2, 3) and bernoulli(rng, EARLY_GUESS_PROBABILITY):
            break
        if len(turns) >= 2 and bernoulli(rng, ABANDON_PROBABILITY / 4):
            return Dialogue(target, tuple(turns), "incomplete")
    if remaining == [target] and len(turns) < MAX_TURNS and bernoulli(rng, CONFIRM_PROBABILITY):
        facts = graph.describe_uniquely(target, rng, use_position=True, use_relation=True)
        if facts is not None and all(turn.facts != facts for turn in turns):
            template = choice(rng, ("is it {}?", "so it is {}?", "{}?"))  # chosen before the phrase is realized
            turns.append(Turn(_type(template.format(realize(facts, rng)), rng), "Yes", facts))
    return Dialogue(target, tuple(turns), "success" if choice(rng, remaining) == target else "failure")


def _take_turn(graph: SceneGraph, target: int, remaining: list[int], turns: list[Turn], rng: Generator) -> Turn:
    """Ask the question that splits the remaining objects best."""

    def loss(facts: ObjectDescription) -> float:
        truths = [graph.matches(i, facts) for i in remaining]
        yes, unsure = truths.count(True), truths.count(None)
        return abs(yes / len(remaining) - 0.5) + 0.3 * unsure / len(remaining) + 0.25 * rng.random()

    previous = {turn.facts for turn in turns}
    facts = min((facts for facts in _propose(graph, remaining, rng) if facts not in previous), key=loss)
    return Turn(_word(facts, rng), answer_question(graph, facts, target), facts)


def _propose(graph: SceneGraph, remaining: list[int], rng: Generator) -> Iterator[ObjectDescription]:
    """Yield possible questions about the remaining objects, narrow ones only if few objects remain."""
    for _ in range(6):
        obj = graph.objects[choice(rng, remaining)]
        draw = rng.random()
        if draw < 0.22:
            yield ObjectDescription(ability=choice(rng, tuple(ABILITIES)))
        elif draw < 0.34:
            yield ObjectDescription(hypernym=choice(rng, tuple(HYPERNYMS)))
        elif draw < 0.52:
            yield ObjectDescription(category=obj.category)
        elif draw < 0.68:
            yield ObjectDescription(color=obj.color)
        elif draw < 0.86:
            yield ObjectDescription(position=fill(rng, _POSITIONS))
        elif draw < 0.92:
            yield ObjectDescription(size=obj.size)
        else:
            yield ObjectDescription(pattern=obj.pattern)
    obj = graph.objects[choice(rng, remaining)]
    partner = graph.partners.get(choice(rng, remaining))
    if partner and bernoulli(rng, 0.5) and (landmark := graph.describe_uniquely(partner[1], rng)):
        yield ObjectDescription(relation=(partner[0], landmark))
    is_compared = len(remaining) > 1 and bernoulli(rng, 0.4)
    if is_compared and (landmark := graph.describe_uniquely(choice(rng, remaining), rng)):
        yield ObjectDescription(relation=(choice(rng, ("left of", "right of")), landmark))
    if len(remaining) < 4:
        yield ObjectDescription(category=obj.category, color=obj.color)
        yield ObjectDescription(color=choice(rng, tuple(COLORS)), size=obj.size)
        yield ObjectDescription(category=obj.category, pattern=obj.pattern)


def _word(facts: ObjectDescription, rng: Generator) -> str:
    if facts.ability:
        question = fill(rng, ABILITIES[facts.ability].questions)
    elif facts.relation is not None:
        name, other = facts.relation
        where = fill(rng, RELATION_WORDS[name]) + " " + realize(other, rng)
        question = fill(rng, "is it {where}? | is the object {where}? | {where}?", where=where)
    elif facts.position:
        corner = "in the {corner} | in the {corner} corner"
        where = fill(rng, POSITION_WORDS.get(facts.position, corner), corner=facts.position)
        question = fill(rng, "is it {where}? | {where}? | is the thing {where} of the picture?", where=where)
    elif not facts.category and not facts.hypernym:
        attributes = facts.attributes(("size", "pattern", "color"))
        value = " and ".join(realize_attribute(name, value, rng) for name, value in attributes.items())
        question = fill(rng, "is it {value}? | is it {value}? | {value}? | does it look {value}?", value=value)
    elif facts == ObjectDescription(category=facts.category):
        a, noun, plural = realize(facts, rng, "a"), realize_noun(facts, rng), realize_noun(facts, rng, plural=True)
        templates = "is it {a}? | is it the {noun}? | {a}? | is it one of the {plural}?"
        question = fill(rng, templates, a=a, noun=noun, plural=plural)
    else:
        a = realize(facts, rng, "a")
        question = fill(rng, "is it {a}? | is it {a}? | {a}? | is the object {a}?", a=a)
    return _type(question, rng)


def _type(question: str, rng: Generator) -> str:
    """Return the question as typed in a hurry: sometimes with a capital, rarely with a space too many."""
    if bernoulli(rng, 0.3):
        question = to_sentence(question, "")
    return question if bernoulli(rng, 0.93) else question[:-1] + " ?"
