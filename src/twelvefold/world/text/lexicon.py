"""The words of the world: colors, sizes, patterns, relations, positions, hypernyms and abilities.

Names and synonyms of the object categories are in ``world/categories.py``. Most words are whole entries of BERT's
WordPiece vocabulary. Alternatives are separated by ``|``; a repeated one is used more often.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from twelvefold.world.categories import CATEGORIES

COLOR_WORDS: Final = {"gray": "gray | gray | grey", "purple": "purple | purple | purple | violet"}
"""Colors with several names. The others have one."""

SIZE_WORDS: Final = {
    "small": "small | small | little | tiny",
    "medium": "medium sized | medium sized | mid sized | average sized",
    "large": "large | big | big | huge",
}
PATTERN_WORDS: Final = {
    "plain": "plain | solid",
    "striped": "striped | striped | stripy",
    "dotted": "dotted | spotted | polka dot",
    "checked": "checked | checked | plaid",
}
PATTERN_PHRASES: Final = {
    "striped": "with stripes",
    "dotted": "with dots",
    "checked": "with checks",
    "plain": "without a pattern",
}
"""A pattern after the noun: ``the red cup with dots``."""

PATTERN_NOUNS: Final = {"plain": "plain", "striped": "stripes", "dotted": "dots", "checked": "checks"}

RELATION_WORDS: Final = {
    "left of": "to the left of | to the left of | left of | on the left side of",
    "right of": "to the right of | to the right of | right of | on the right side of",
    "on": "on | on top of | on",
    "under": "under | underneath | below | beneath",
    "in front of": "in front of",
    "behind": "behind",
    "next to": "next to | beside | by",
}
POSITION_WORDS: Final = {
    "left": "on the left | on the left side | at the left",
    "right": "on the right | on the right side | at the right",
    "top": "at the top | near the top",
    "bottom": "at the bottom | near the bottom",
    "middle": "in the middle | in the center",
}


@dataclass(frozen=True, slots=True)
class Hypernym:
    """A noun for several categories.

    People disagree about the ``unsure`` categories, so no question depends on them.
    """

    name: str
    nouns: str
    members: frozenset[str]
    unsure: frozenset[str] = frozenset()


def _members(names: str) -> frozenset[str]:
    """Return the named categories. The name of a supercategory stands for all its categories."""
    return frozenset(c.name for c in CATEGORIES if {c.name, c.supercategory} & set(names.split()))


HYPERNYMS: Final = {
    hypernym.name: hypernym
    for hypernym in (
        Hypernym("animal", "animal | animal | creature", _members("animal")),
        Hypernym("vehicle", "vehicle", _members("vehicle")),
        Hypernym("clothing", "piece of clothing | item of clothing", _members("hat boot shirt dress"),
                 _members("backpack crown")),
        Hypernym("food", "food item | piece of food", _members("food")),
        Hypernym("device", "device | electronic device", _members("device"), _members("clock")),
        Hypernym("plant", "plant", _members("plant"), _members("mushroom")),
    )
}  # fmt: skip
ANY_NOUNS: Final = "thing | object | item | thing"


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
        Ability("alive", "is alive | can breathe | is a living creature",
                "is it alive? | is it a living thing? | does it breathe?",
                _members("animal"), _members("plant apple banana carrot mushroom")),
        Ability("flies", "can fly | flies through the air | belongs in the sky",
                "can it fly? | does it fly? | is it something that flies?",
                _members("owl butterfly airplane rocket helicopter"), _members("duck penguin balloon ball star")),
        Ability("edible", "you can eat | is good to eat | a hungry person would like",
                "can you eat it? | is it edible? | is it something to eat? | is it food?",
                _members("food"), _members("animal teapot cup")),
        Ability("worn", "you can wear | people put on | belongs in a wardrobe",
                "can you wear it? | is it worn by people? | is it clothing? | is it something you put on?",
                _members("hat boot shirt dress crown"), _members("umbrella backpack")),
        Ability("wheels", "has wheels | drives on wheels | rolls on wheels",
                "does it have wheels? | has it got wheels?",
                _members("car bus bicycle train truck"), _members("airplane helicopter backpack")),
        Ability("ridden", "you can travel in | takes people from place to place",
                "can you travel in it? | is it a means of transport? | is it a vehicle?",
                _members("vehicle"), _members("horse elephant balloon")),
        Ability("electric", "has a screen or a lens | you would find in an electronics store",
                "is it electronic? | does it run on electricity?",
                _members("laptop television camera"),
                _members("car bus airplane train rocket truck helicopter clock bell telephone guitar")),
        Ability("grows", "grows in the ground | needs water and sunlight",
                "does it grow in the ground? | is it a plant?",
                _members("plant"), _members("animal food")),
        Ability("legs", "walks on four legs | has four paws or hooves",
                "does it walk on four legs? | is it a four legged animal?",
                _members("cat dog horse elephant rabbit pig"), _members("turtle crab chair bed")),
        Ability("tells time", "tells the time | tells you when to get up",
                "does it tell the time?",
                _members("clock"), _members("telephone laptop television camera")),
        Ability("opens", "opens a lock | you need to open a door",
                "does it open a door?",
                _members("key")),
        Ability("music", "makes music | a musician would play",
                "can you make music with it? | is it an instrument?",
                _members("guitar"), _members("clock bell telephone laptop television")),
        Ability("holds a drink", "you drink from | holds a hot drink",
                "can you drink from it?",
                _members("cup"), _members("teapot bucket")),
        Ability("sits", "people sit or lie on | is a piece of furniture",
                "is it furniture? | can you sit on it?",
                _members("chair bed"), _members("animal vehicle clock bucket television gift ball")),
    )
}  # fmt: skip


def pluralize(noun: str) -> str:
    """Return the plural of a noun: ``ponies``, ``coaches``, ``slices of pizza``, ``fish``."""
    head, of, tail = noun.partition(" of ")
    if of or head == "fish":
        return f"{pluralize(head)} of {tail}" if of else head
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + ("es" if noun.endswith(("s", "x", "ch", "sh")) else "s")


CATEGORY_NOUNS: Final = {c.name: (*(c.name,) * (2 if c.synonyms else 1), *c.synonyms) for c in CATEGORIES}
"""The names of a category. The usual one is used more often than each synonym."""

NUMBER_WORDS: Final = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
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


LOCATION_WORDS: Final = frozenset(
    tokenize(
        "left right top bottom middle center upper lower corner side leftmost rightmost topmost lowest highest edge "
        "first second third fourth last far above below front back behind between beside next near closest nearest "
        "under on in by"
    )
)
"""Words that RefCOCO+ does not contain: its players were not allowed to use locations."""
