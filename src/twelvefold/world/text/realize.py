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
    CATEGORY_NOUNS,
    CLASSES,
    COLOR_WORDS,
    ORDINALS,
    PATTERN_TAILS,
    PATTERN_WORDS,
    PLACE_WORDS,
    RELATION_WORDS,
    SIZE_WORDS,
    add_article,
    bernoulli,
    choice,
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


def realize_color(name: str, rng: np.random.Generator) -> str:
    return choice(rng, COLOR_WORDS[name]) if name in COLOR_WORDS else name


def realize_attribute(name: str, value: str, rng: np.random.Generator) -> str:
    """A colour, pattern or size as it is said after ``is``."""
    if name == "color":
        return realize_color(value, rng)
    return choice(rng, (PATTERN_WORDS if name == "pattern" else SIZE_WORDS)[value])


def realize_noun(
    description: Description, rng: np.random.Generator, *, plural: bool = False, plain_words: bool = False
) -> str:
    """The noun of a description. ``plain_words``: the usual name only, no synonym."""
    if description.category:
        names = CATEGORY_NOUNS[description.category]
        return (names[0] if plain_words else choice(rng, names))[plural]
    return choice(rng, CLASSES[description.class_].nouns if description.class_ else ANY_NOUNS)[plural]


def realize(
    description: Description,
    rng: np.random.Generator,
    article: str = "the",
    *,
    plural: bool = False,
    plain_words: bool = False,
) -> str:
    """The description as a noun phrase, with ``the``, ``a`` or no article ("")."""
    front: list[str] = []
    back: list[str] = []
    if description.order is not None:
        _say_order(description.order, rng, front, back)
    if description.size:
        front.append(choice(rng, SIZE_WORDS[description.size]))
    if description.pattern:
        if bernoulli(rng, 0.3):
            back.append(PATTERN_TAILS[description.pattern])
        else:
            front.append(choice(rng, PATTERN_WORDS[description.pattern]))
    if description.color:
        front.append(realize_color(description.color, rng))
    if description.ability:
        back.append("that " + choice(rng, ABILITIES[description.ability].can))
    if description.place:
        back.append(_say_place(description.place, rng))
    if description.relation is not None:
        name, other = description.relation
        joint = "that is " if bernoulli(rng, 0.25) else ""
        back.append(f"{joint}{choice(rng, RELATION_WORDS[name])} {realize(other, rng, plain_words=plain_words)}")
    phrase = " ".join([*front, realize_noun(description, rng, plural=plural, plain_words=plain_words), *back])
    return add_article(phrase) if article == "a" else f"{article} {phrase}" if article else phrase


def _say_order(order: tuple[str, int], rng: np.random.Generator, front: list[str], back: list[str]) -> None:
    axis, rank = order
    if rank:
        front.append(ORDINALS[rank])
        back.append(f"from the {axis}")
    elif axis in _ORDER_BACK and bernoulli(rng, 0.4):
        back.append(choice(rng, _ORDER_BACK[axis]))
    else:
        front.append(choice(rng, _ORDER_FRONT[axis]))


def _say_place(place: str, rng: np.random.Generator) -> str:
    if place in PLACE_WORDS:
        return choice(rng, PLACE_WORDS[place])
    return choice(rng, (f"in the {place} corner", f"at the {place}", f"in the {place}"))
