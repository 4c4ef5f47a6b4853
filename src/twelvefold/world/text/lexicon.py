"""The words of the world: colors, sizes, patterns, relations, positions, hypernyms and abilities.

Names and synonyms of the object categories are in ``world/categories.py``. Most words are whole entries of BERT's
WordPiece vocabulary. Alternatives are separated by ``|``; a repeated one is used more often.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from twelvefold.world.categories import CATEGORIES
from twelvefold.world.text.sampling import alternatives


def _words(words: str) -> frozenset[str]:
    return frozenset(words.split())


def _table(rows: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    return {key: alternatives(text) for key, text in rows.items()}


COLOR_WORDS: Final = _table({"gray": "gray | gray | grey", "purple": "purple | purple | purple | violet"})
"""Colors with several names. The others have one."""

SIZE_WORDS: Final = _table(
    {
        "small": "small | small | little | tiny",
        "medium": "medium sized | medium sized | mid sized | average sized",
        "large": "large | big | big | huge",
    }
)
PATTERN_WORDS: Final = _table(
    {
        "plain": "plain | solid",
        "striped": "striped | striped | stripy",
        "dotted": "dotted | spotted | polka dot",
        "checked": "checked | checked | plaid",
    }
)
PATTERN_PHRASES: Final = {
    "striped": "with stripes",
    "dotted": "with dots",
    "checked": "with checks",
    "plain": "without a pattern",
}
"""A pattern after the noun: ``the red cup with dots``."""

PATTERN_NOUNS: Final = {"plain": "plain", "striped": "stripes", "dotted": "dots", "checked": "checks"}

RELATION_WORDS: Final = _table(
    {
        "left of": "to the left of | to the left of | left of | on the left side of",
        "right of": "to the right of | to the right of | right of | on the right side of",
        "on": "on | on top of | on",
        "under": "under | underneath | below | beneath",
        "in front of": "in front of",
        "behind": "behind",
        "next to": "next to | beside | by",
    }
)
POSITION_WORDS: Final = _table(
    {
        "left": "on the left | on the left side | at the left",
        "right": "on the right | on the right side | at the right",
        "top": "at the top | near the top",
        "bottom": "at the bottom | near the bottom",
        "middle": "in the middle | in the center",
    }
)
LOCATION_WORDS: Final = _words(
    "left right top bottom middle center upper lower corner side leftmost rightmost topmost lowest highest edge first "
    "second third fourth last far above below front back behind between beside next near closest nearest under on in by"
)
"""Words that RefCOCO+ does not contain: its players were not allowed to use locations."""


@dataclass(frozen=True, slots=True)
class Hypernym:
    """A noun for several categories. ``nouns``: (singular, plural) pairs.

    People disagree about the ``unsure`` categories, so no question depends on them.
    """

    name: str
    nouns: tuple[tuple[str, str], ...]
    members: frozenset[str]
    unsure: frozenset[str] = frozenset()


def _members(supercategory: str) -> frozenset[str]:
    return frozenset(category.name for category in CATEGORIES if category.supercategory == supercategory)


_ANIMALS, _VEHICLES, _FOODS, _PLANTS = (_members(name) for name in ("animal", "vehicle", "food", "plant"))
_AMBIGUOUS_CLOTHING: Final = _words("backpack crown")

HYPERNYMS: Final = {
    hypernym.name: hypernym
    for hypernym in (
        Hypernym("animal", (*(("animal", "animals"),) * 2, ("creature", "creatures")), _ANIMALS),
        Hypernym("vehicle", (("vehicle", "vehicles"),), _VEHICLES),
        Hypernym(
            "clothing",
            (("piece of clothing", "pieces of clothing"), ("item of clothing", "items of clothing")),
            _members("piece of clothing") - _AMBIGUOUS_CLOTHING,
            _AMBIGUOUS_CLOTHING,
        ),
        Hypernym("food", (("food item", "food items"), ("piece of food", "pieces of food")), _FOODS),
        Hypernym(
            "device",
            (("device", "devices"), ("electronic device", "electronic devices")),
            _members("device"),
            _words("clock"),
        ),
        Hypernym("plant", (("plant", "plants"),), _PLANTS, _words("mushroom")),
    )
}
ANY_NOUNS: Final = (("thing", "things"), ("object", "objects"), ("item", "items"), ("thing", "things"))


@dataclass(frozen=True, slots=True)
class Ability:
    """What objects of some categories can do or be used for.

    ``phrases`` complete "something that ...". ``questions`` ask about "it". People disagree about the ``unsure``
    categories: a GuessWhat player answers N/A.
    """

    name: str
    phrases: str
    questions: str
    members: frozenset[str]
    unsure: frozenset[str] = frozenset()


ABILITIES: Final = {
    ability.name: ability
    for ability in (
        Ability(
            "alive",
            "is alive | can breathe | is a living creature",
            "is it alive? | is it a living thing? | does it breathe?",
            _ANIMALS,
            _PLANTS | _words("mushroom apple carrot banana"),
        ),
        Ability(
            "flies",
            "can fly | flies through the air | belongs in the sky",
            "can it fly? | does it fly? | is it something that flies?",
            _words("owl butterfly airplane rocket helicopter"),
            _words("duck balloon star penguin ball"),
        ),
        Ability(
            "edible",
            "you can eat | is good to eat | a hungry person would like",
            "can you eat it? | is it edible? | is it something to eat? | is it food?",
            _FOODS,
            _ANIMALS | _words("cup teapot"),
        ),
        Ability(
            "worn",
            "you can wear | people put on | belongs in a wardrobe",
            "can you wear it? | is it worn by people? | is it clothing? | is it something you put on?",
            _words("hat boot shirt dress crown"),
            _words("backpack umbrella"),
        ),
        Ability(
            "wheels",
            "has wheels | drives on wheels | rolls on wheels",
            "does it have wheels? | has it got wheels?",
            _words("car bus bicycle truck train"),
            _words("airplane helicopter backpack"),
        ),
        Ability(
            "ridden",
            "you can travel in | takes people from place to place",
            "can you travel in it? | is it a means of transport? | is it a vehicle?",
            _VEHICLES,
            _words("horse elephant balloon"),
        ),
        Ability(
            "electric",
            "has a screen or a lens | you would find in an electronics store",
            "is it electronic? | does it run on electricity?",
            _words("laptop television camera"),
            _words("telephone clock car bus train airplane helicopter rocket truck bell guitar"),
        ),
        Ability(
            "grows",
            "grows in the ground | needs water and sunlight",
            "does it grow in the ground? | is it a plant?",
            _PLANTS,
            _FOODS | _ANIMALS,
        ),
        Ability(
            "legs",
            "walks on four legs | has four paws or hooves",
            "does it walk on four legs? | is it a four legged animal?",
            _words("cat dog horse elephant rabbit pig"),
            _words("turtle crab chair bed"),
        ),
        Ability(
            "tells time",
            "tells the time | tells you when to get up",
            "does it tell the time?",
            _words("clock"),
            _words("telephone laptop television camera"),
        ),
        Ability("opens", "opens a lock | you need to open a door", "does it open a door?", _words("key")),
        Ability(
            "music",
            "makes music | a musician would play",
            "can you make music with it? | is it an instrument?",
            _words("guitar"),
            _words("bell telephone laptop television clock"),
        ),
        Ability(
            "holds a drink",
            "you drink from | holds a hot drink",
            "can you drink from it?",
            _words("cup"),
            _words("teapot bucket"),
        ),
        Ability(
            "sits",
            "people sit or lie on | is a piece of furniture",
            "is it furniture? | can you sit on it?",
            _words("chair bed"),
            _ANIMALS | _VEHICLES | _words("television clock gift bucket ball"),
        ),
    )
}


def pluralize(word: str) -> str:
    """Return the plural of a noun: ``ponies``, ``coaches``, ``slices of pizza``."""
    head, of, tail = word.partition(" of ")
    if of:
        return f"{pluralize(head)} of {tail}"
    if word.endswith("y") and word[-2] not in "aeiou":
        return word[:-1] + "ies"
    return word + ("es" if word.endswith(("s", "x", "ch", "sh")) else "s")


CATEGORY_NOUNS: Final = {
    c.name: (*((c.name, c.plural),) * (2 if c.synonyms else 1), *((word, pluralize(word)) for word in c.synonyms))
    for c in CATEGORIES
}
"""(singular, plural) of every name of a category. The usual name is used more often than each synonym."""

NUMBER_WORDS: Final = alternatives("zero | one | two | three | four | five | six | seven | eight | nine | ten")
ORDINALS: Final = ("first", "second", "third", "fourth", "fifth")


def add_article(phrase: str) -> str:
    """Put ``a`` or ``an`` before a phrase: ``an orange cup``, ``a unicycle``."""
    return ("an " if phrase[0] in "aeiou" and not phrase.startswith(("uni", "one")) else "a ") + phrase


def to_sentence(text: str, end: str = ".") -> str:
    """Capitalize the first letter and append ``end``."""
    return text[0].upper() + text[1:] + end


def tokenize(text: str) -> tuple[str, ...]:
    """Return the lower-case words without punctuation, as in RefCOCO and in Karpathy's files."""
    return tuple("".join(c if c.isalnum() or c in " '-" else "" for c in text.lower()).split())
