"""From a description to a phrase: ``the small red cup next to the dog``.

Word order and synonyms are random and do not depend on whether the phrase is used in a true or a false statement,
so the wording does not reveal a label.
"""

from __future__ import annotations

from typing import Final

from numpy.random import Generator

from twelvefold.world.text import lexicon
from twelvefold.world.text.description import ObjectDescription
from twelvefold.world.text.sampling import bernoulli, choice, fill

_ORDER_BEFORE_NOUN: Final = {
    "left": "leftmost | left | far left",
    "right": "rightmost | right | far right",
    "top": "top | highest | upper",
    "bottom": "bottom | lowest | lower",
    "large": "biggest | largest",
    "small": "smallest",
}
_ORDER_AFTER_NOUN: Final = "on the far {axis} | furthest to the {axis} | closest to the {axis} edge"


def realize_color(name: str, rng: Generator) -> str:
    """Return a name of the color."""
    return fill(rng, lexicon.COLOR_WORDS[name]) if name in lexicon.COLOR_WORDS else name


def realize_attribute(name: str, value: str, rng: Generator) -> str:
    """Return a color, pattern or size as it follows ``is``."""
    if name == "color":
        return realize_color(value, rng)
    return fill(rng, (lexicon.PATTERN_WORDS if name == "pattern" else lexicon.SIZE_WORDS)[value])


def realize_noun(description: ObjectDescription, rng: Generator, *, plural: bool = False) -> str:
    """Return a noun for the category, the hypernym, or any object."""
    if description.category:
        noun = choice(rng, lexicon.CATEGORY_NOUNS[description.category])
    else:
        hypernym = lexicon.HYPERNYMS.get(description.hypernym)
        noun = fill(rng, hypernym.nouns if hypernym else lexicon.ANY_NOUNS)
    return lexicon.pluralize(noun) if plural else noun


def realize(description: ObjectDescription, rng: Generator, article: str = "the", *, plural: bool = False) -> str:
    """Return the description as a noun phrase with the article ``the``, ``a``, another determiner, or none ("")."""
    before, after = _realize_order(description.order, rng) if description.order else ([], [])
    words_before, words_after = realize_size_and_pattern(description, rng, after_noun=0.3)
    before += words_before
    after += words_after
    if description.color:
        before.append(realize_color(description.color, rng))
    if description.ability:
        after.append("that " + fill(rng, lexicon.ABILITIES[description.ability].phrases))
    if description.position:
        after.append(realize_position(description.position, rng))
    if description.relation is not None:
        name, other = description.relation
        clause = "that is " if bernoulli(rng, 0.25) else ""
        after.append(f"{clause}{fill(rng, lexicon.RELATION_WORDS[name])} {realize(other, rng)}")
    phrase = " ".join([*before, realize_noun(description, rng, plural=plural), *after])
    return lexicon.add_article(phrase) if article == "a" else f"{article} {phrase}" if article else phrase


def realize_size_and_pattern(
    description: ObjectDescription, rng: Generator, *, after_noun: float
) -> tuple[list[str], list[str]]:
    """Return words before and after the noun. ``after_noun`` is the probability of a pattern after it."""
    before = [fill(rng, lexicon.SIZE_WORDS[description.size])] if description.size else []
    if not description.pattern:
        return before, []
    if bernoulli(rng, after_noun):
        return before, [lexicon.PATTERN_PHRASES[description.pattern]]
    return [*before, fill(rng, lexicon.PATTERN_WORDS[description.pattern])], []


def _realize_order(order: tuple[str, int], rng: Generator) -> tuple[list[str], list[str]]:
    axis, rank = order
    if rank:
        return [lexicon.ORDINALS[rank]], [f"from the {axis}"]
    if axis in ("left", "right") and bernoulli(rng, 0.4):
        return [], [fill(rng, _ORDER_AFTER_NOUN, axis=axis)]
    return [fill(rng, _ORDER_BEFORE_NOUN[axis])], []


def realize_position(position: str, rng: Generator) -> str:
    """Return a phrase for a part of the image."""
    corner = "in the {position} corner | at the {position} | in the {position}"
    return fill(rng, lexicon.POSITION_WORDS.get(position, corner), position=position)
