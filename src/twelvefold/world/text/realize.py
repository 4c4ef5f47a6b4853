"""From facts to a phrase that a person might say: ``the small red cup next to the dog``.

Word order and the choice among synonyms are drawn; nothing here knows whether the phrase will be used for a true
statement or a false one, so the wording can't give a label away.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from twelvefold.world.text.description import Description
from twelvefold.world.text.lexicon import (
    ABILITIES,
    ANY_NOUNS,
    CLASSES,
    COLOUR_WORDS,
    KIND_NOUNS,
    ORDINALS,
    PATTERN_TAILS,
    PATTERN_WORDS,
    PLACE_WORDS,
    RELATION_WORDS,
    SIZE_WORDS,
    chance,
    pick,
    with_article,
)

_ORDER_FRONT: Final[dict[str, tuple[str, ...]]] = {
    "left": ("leftmost", "left", "far left"),
    "right": ("rightmost", "right", "far right"),
    "top": ("top", "highest", "upper"),
    "bottom": ("bottom", "lowest", "lower"),
    "large": ("biggest", "largest"),
    "small": ("smallest",),
}
_ORDER_BACK: Final[dict[str, tuple[str, ...]]] = {
    "left": ("on the far left", "furthest to the left", "closest to the left edge"),
    "right": ("on the far right", "furthest to the right", "closest to the right edge"),
}


def colour(name: str, rng: np.random.Generator) -> str:
    return pick(rng, COLOUR_WORDS[name]) if name in COLOUR_WORDS else name


def say_value(name: str, value: str, rng: np.random.Generator) -> str:
    """A colour, pattern or size as it is said after ``is``."""
    if name == "colour":
        return colour(value, rng)
    return pick(rng, (PATTERN_WORDS if name == "pattern" else SIZE_WORDS)[value])


def noun(what: Description, rng: np.random.Generator, *, plural: bool = False, plain_words: bool = False) -> str:
    """The noun of a description. ``plain_words``: the usual name only, no synonym."""
    if what.kind:
        names = KIND_NOUNS[what.kind]
        return (names[0] if plain_words else pick(rng, names))[plural]
    return pick(rng, CLASSES[what.class_].nouns if what.class_ else ANY_NOUNS)[plural]


def say(
    what: Description,
    rng: np.random.Generator,
    article: str = "the",
    *,
    plural: bool = False,
    plain_words: bool = False,
) -> str:
    """The description as a noun phrase, with ``the``, ``a`` or no article ("")."""
    front: list[str] = []
    back: list[str] = []
    if what.order is not None:
        _say_order(what.order, rng, front, back)
    if what.size:
        front.append(pick(rng, SIZE_WORDS[what.size]))
    if what.pattern:
        if chance(rng, 0.3):
            back.append(PATTERN_TAILS[what.pattern])
        else:
            front.append(pick(rng, PATTERN_WORDS[what.pattern]))
    if what.colour:
        front.append(colour(what.colour, rng))
    if what.ability:
        back.append("that " + pick(rng, ABILITIES[what.ability].can))
    if what.place:
        back.append(_say_place(what.place, rng))
    if what.relation is not None:
        name, other = what.relation
        joint = "that is " if chance(rng, 0.25) else ""
        back.append(f"{joint}{pick(rng, RELATION_WORDS[name])} {say(other, rng, plain_words=plain_words)}")
    phrase = " ".join([*front, noun(what, rng, plural=plural, plain_words=plain_words), *back])
    return with_article(phrase) if article == "a" else f"{article} {phrase}" if article else phrase


def _say_order(order: tuple[str, int], rng: np.random.Generator, front: list[str], back: list[str]) -> None:
    axis, rank = order
    if rank:
        front.append(ORDINALS[rank])
        back.append(f"from the {axis}")
    elif axis in _ORDER_BACK and chance(rng, 0.4):
        back.append(pick(rng, _ORDER_BACK[axis]))
    else:
        front.append(pick(rng, _ORDER_FRONT[axis]))


def _say_place(place: str, rng: np.random.Generator) -> str:
    if place in PLACE_WORDS:
        return pick(rng, PLACE_WORDS[place])
    return pick(rng, (f"in the {place} corner", f"at the {place}", f"in the {place}"))
