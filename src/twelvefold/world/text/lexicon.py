"""The words themselves: how people say a colour, a size, a pattern, a class of things, a place, a relation.

One list per idea; the kinds' own names and synonyms are in ``world/kinds.py``. Words are chosen to be whole
entries of BERT's WordPiece vocabulary where English allows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np

from twelvefold.world.categories import CATEGORIES

T = TypeVar("T")


def _names(words: str) -> frozenset[str]:
    return frozenset(words.replace("ice cream", "ice_cream").replace("_", " ").split())


COLOR_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "gray": ("gray", "gray", "grey"),
    "purple": ("purple", "purple", "purple", "violet"),
}
"""Other spellings and names; a colour that is not here has the one word."""

SIZE_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "small": ("small", "small", "little", "tiny"),
    "medium": ("medium sized", "medium sized", "mid sized", "average sized"),
    "large": ("large", "big", "big", "huge"),
}

PATTERN_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "plain": ("plain", "solid"),
    "striped": ("striped", "striped", "stripy"),
    "dotted": ("dotted", "spotted", "polka dot"),
    "checked": ("checked", "checked", "plaid"),
}

PATTERN_TAILS: Final[dict[str, str]] = {
    "striped": "with stripes",
    "dotted": "with dots",
    "checked": "with checks",
    "plain": "without a pattern",
}
"""A pattern said after the noun: ``the red cup with dots``."""

PATTERN_ANSWERS: Final[dict[str, str]] = {"plain": "plain", "striped": "stripes", "dotted": "dots", "checked": "checks"}

RELATION_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "left of": ("to the left of", "to the left of", "left of", "on the left side of"),
    "right of": ("to the right of", "to the right of", "right of", "on the right side of"),
    "on": ("on", "on top of", "on"),
    "under": ("under", "underneath", "below", "beneath"),
    "in front of": ("in front of",),
    "behind": ("behind",),
    "next to": ("next to", "beside", "by"),
}
PLACE_RELATIONS: Final = ("left of", "right of")
"""Relations that say where in the picture: RefCOCO+ may not use them."""

PLACE_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "left": ("on the left", "on the left side", "at the left"),
    "right": ("on the right", "on the right side", "at the right"),
    "top": ("at the top", "near the top"),
    "bottom": ("at the bottom", "near the bottom"),
    "middle": ("in the middle", "in the center"),
}
LOCATION_WORDS: Final = _names(
    "left right top bottom middle center upper lower corner side leftmost rightmost topmost lowest highest edge first "
    "second third fourth last far above below front back behind between beside next near closest nearest under on in by"
)
"""Words that RefCOCO+ never uses: its players were forbidden to say where a thing is."""


@dataclass(frozen=True, slots=True)
class NounClass:
    """A class of kinds that people name with one noun. ``unsure`` kinds may or may not count: never asked about."""

    name: str
    nouns: tuple[tuple[str, str], ...]
    members: frozenset[str]
    unsure: frozenset[str] = frozenset()


def _in_supercategory(name: str) -> frozenset[str]:
    return frozenset(category.name for category in CATEGORIES if category.supercategory == name)


CLASSES: Final[dict[str, NounClass]] = {
    c.name: c
    for c in (
        NounClass(
            "animal",
            (("animal", "animals"), ("animal", "animals"), ("creature", "creatures")),
            _in_supercategory("animal"),
        ),
        NounClass("vehicle", (("vehicle", "vehicles"),), _in_supercategory("vehicle")),
        NounClass(
            "clothing",
            (("piece of clothing", "pieces of clothing"), ("item of clothing", "items of clothing")),
            _in_supercategory("piece of clothing") - {"backpack", "crown"},
            frozenset({"backpack", "crown"}),
        ),
        NounClass(
            "food", (("food item", "food items"), ("piece of food", "pieces of food")), _in_supercategory("food")
        ),
        NounClass(
            "device",
            (("device", "devices"), ("electronic device", "electronic devices")),
            _in_supercategory("device"),
            frozenset({"clock"}),
        ),
        NounClass("plant", (("plant", "plants"),), _in_supercategory("plant"), frozenset({"mushroom"})),
    )
}
ANY_NOUNS: Final = (("thing", "things"), ("object", "objects"), ("item", "items"), ("thing", "things"))


@dataclass(frozen=True, slots=True)
class Ability:
    """Something that kinds can do or be used for. ``can`` fits "something that ..."; ``asked`` is a whole question
    about "it"; ``unsure`` kinds are open to argument: a player answers N/A."""

    name: str
    can: tuple[str, ...]
    asked: tuple[str, ...]
    members: frozenset[str]
    unsure: frozenset[str] = frozenset()


ABILITIES: Final[dict[str, Ability]] = {
    a.name: a
    for a in (
        Ability(
            "alive",
            ("is alive", "can breathe", "is a living creature"),
            ("is it alive?", "is it a living thing?", "does it breathe?"),
            CLASSES["animal"].members,
            CLASSES["plant"].members | _names("mushroom apple carrot banana"),
        ),
        Ability(
            "flies",
            ("can fly", "flies through the air", "belongs in the sky"),
            ("can it fly?", "does it fly?", "is it something that flies?"),
            _names("owl butterfly airplane rocket helicopter"),
            _names("duck balloon star penguin ball"),
        ),
        Ability(
            "edible",
            ("you can eat", "is good to eat", "a hungry person would like"),
            ("can you eat it?", "is it edible?", "is it something to eat?", "is it food?"),
            CLASSES["food"].members,
            CLASSES["animal"].members | _names("cup teapot"),
        ),
        Ability(
            "worn",
            ("you can wear", "people put on", "belongs in a wardrobe"),
            ("can you wear it?", "is it worn by people?", "is it clothing?", "is it something you put on?"),
            _names("hat boot shirt dress crown"),
            _names("backpack umbrella"),
        ),
        Ability(
            "wheels",
            ("has wheels", "drives on wheels", "rolls on wheels"),
            ("does it have wheels?", "has it got wheels?"),
            _names("car bus bicycle truck train"),
            _names("airplane helicopter backpack"),
        ),
        Ability(
            "ridden",
            ("you can travel in", "takes people from place to place"),
            ("can you travel in it?", "is it a means of transport?", "is it a vehicle?"),
            CLASSES["vehicle"].members,
            _names("horse elephant balloon"),
        ),
        Ability(
            "electric",
            ("has a screen or a lens", "you would find in an electronics store"),
            ("is it electronic?", "does it run on electricity?"),
            _names("laptop television camera"),
            _names("telephone clock car bus train airplane helicopter rocket truck bell guitar"),
        ),
        Ability(
            "grows",
            ("grows in the ground", "needs water and sunlight"),
            ("does it grow in the ground?", "is it a plant?"),
            CLASSES["plant"].members,
            CLASSES["food"].members | CLASSES["animal"].members,
        ),
        Ability(
            "legs",
            ("walks on four legs", "has four paws or hooves"),
            ("does it walk on four legs?", "is it a four legged animal?"),
            _names("cat dog horse elephant rabbit pig"),
            _names("turtle crab chair bed"),
        ),
        Ability(
            "tells time",
            ("tells the time", "tells you when to get up"),
            ("does it tell the time?",),
            _names("clock"),
            _names("telephone laptop television camera"),
        ),
        Ability(
            "opens",
            ("opens a lock", "you need to open a door"),
            ("does it open a door?",),
            _names("key"),
        ),
        Ability(
            "music",
            ("makes music", "a musician would play"),
            ("can you make music with it?", "is it an instrument?"),
            _names("guitar"),
            _names("bell telephone laptop television clock"),
        ),
        Ability(
            "holds a drink",
            ("you drink from", "holds a hot drink"),
            ("can you drink from it?",),
            _names("cup"),
            _names("teapot bucket"),
        ),
        Ability(
            "sits",
            ("people sit or lie on", "is a piece of furniture"),
            ("is it furniture?", "can you sit on it?"),
            _names("chair bed"),
            CLASSES["animal"].members | CLASSES["vehicle"].members | _names("television clock gift bucket ball"),
        ),
    )
}


def pluralize(word: str) -> str:
    """The plural of a noun as English spells it: ``ponies``, ``coaches``, ``slices of pizza``."""
    if " of " in word:
        head, _, tail = word.partition(" of ")
        return f"{pluralize(head)} of {tail}"
    if word.endswith("y") and word[-2] not in "aeiou":
        return word[:-1] + "ies"
    return word + ("es" if word.endswith(("s", "x", "ch", "sh")) else "s")


CATEGORY_NOUNS: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    k.name: (
        *(((k.name, k.plural),) * (2 if k.synonyms else 1)),
        *((word, pluralize(word)) for word in k.synonyms),
    )
    for k in CATEGORIES
}
"""Singular and plural of every name of a kind; the usual name is drawn more often than each other one."""

NUMBERS: Final = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
ORDINALS: Final = ("first", "second", "third", "fourth", "fifth")


def choice(rng: np.random.Generator, options: Sequence[T]) -> T:
    """One of the options, each equally likely."""
    return options[int(rng.random() * len(options))]


def shuffled(rng: np.random.Generator, options: Sequence[T]) -> list[T]:
    """The options in a drawn order."""
    order = list(options)
    for last in range(len(order) - 1, 0, -1):
        other = int(rng.random() * (last + 1))
        order[last], order[other] = order[other], order[last]
    return order


def bernoulli(rng: np.random.Generator, share: float) -> bool:
    """True in ``share`` of the draws."""
    return bool(rng.random() < share)


def add_article(phrase: str) -> str:
    """``a`` or ``an`` before a phrase, as it is said: ``an orange cup``, ``a unicycle``."""
    return ("an " if phrase[0] in "aeiou" and not phrase.startswith(("uni", "one")) else "a ") + phrase


def sentence(text: str, end: str = ".") -> str:
    """A capital at the front and a stop at the end."""
    return text[0].upper() + text[1:] + end


def tokenize(text: str) -> tuple[str, ...]:
    """Lower-case words without punctuation, as RefCOCO's and Karpathy's tokens are."""
    return tuple("".join(c if c.isalnum() or c in " '-" else "" for c in text.lower()).split())
