"""The vocabulary of the world: object categories, colors, patterns, sizes and backgrounds.

Images and language are both made from these lists.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Size = Literal["small", "medium", "large"]
Pattern = Literal["plain", "striped", "dotted", "checked"]
Relation = Literal["on", "under", "next to", "in front of"]
Rgb = tuple[int, int, int]

NUM_DRAWINGS: Final = 2
"""Drawings of every category: 0 is Noto Emoji's, 1 is Fluent Emoji's (see LICENSES.md)."""


@dataclass(frozen=True, slots=True)
class Category:
    """An object category with its wider class, as in COCO, and other names of the same category.

    Objects that fly may be in the air. The others stand on the ground.
    """

    name: str
    supercategory: str
    synonyms: tuple[str, ...]
    flies: bool


@dataclass(frozen=True, slots=True)
class Background:
    """A background. ``phrase`` completes "a dog ...", and ``synonyms`` do so too.

    With ``horizon`` the ground is below it. Without, the scene is seen from above.
    """

    name: str
    phrase: str
    synonyms: tuple[str, ...]
    indoors: bool | None
    horizon: bool


_FLYING: Final = {"butterfly", "airplane", "rocket", "helicopter", "balloon", "star", "owl"}


_CATEGORIES: Final = {
    "animal": "cat, kitty | dog, pup | horse, pony | elephant | rabbit, bunny | duck | owl | snail | turtle, tortoise "
    "| butterfly | crab | penguin | pig, piggy | fish",
    "vehicle": "car, automobile | bus, coach | bicycle, bike | airplane, plane, aeroplane | train, locomotive | "
    "sailboat, boat, sailing boat | rocket, spaceship | truck, lorry | helicopter, chopper",
    "household item": "chair, seat | bed | book | key | hammer | clock, alarm clock | umbrella, parasol | bell "
    "| teapot | cup, mug | bucket, pail",
    "device": "telephone, phone | laptop, notebook computer | television, tv, tv set | camera",
    "piece of clothing": "hat, top hat | boot | shirt, t-shirt, tee | dress, gown | backpack, rucksack | crown",
    "toy": "guitar | gift, present | balloon | ball, soccer ball, football",
    "food": "apple | banana | carrot | mushroom, toadstool | cake, birthday cake | ice cream, ice cream cone | "
    "pizza, slice of pizza",
    "plant": "tree | flower, tulip | cactus",
    "building": "house, cottage",
    "shape": "star",
}
"""Supercategory -> names of its categories, each with its synonyms."""


def _parse_category(supercategory: str, words: str) -> Category:
    name, *synonyms = words.split(", ")
    return Category(name, supercategory, tuple(synonyms), name in _FLYING)


CATEGORIES: Final = tuple(
    _parse_category(supercategory, words) for supercategory, rows in _CATEGORIES.items() for words in rows.split(" | ")
)
CATEGORY_BY_NAME: Final[dict[str, Category]] = {category.name: category for category in CATEGORIES}
CATEGORY_INDEX: Final[dict[str, int]] = {category.name: index for index, category in enumerate(CATEGORIES)}
"""The order of the detector's classes and of the arrays in glyphs.npz."""

COLORS: Final[dict[str, Rgb]] = {
    "red": (214, 38, 38),
    "orange": (244, 132, 24),
    "yellow": (246, 212, 40),
    "green": (52, 158, 62),
    "blue": (40, 92, 214),
    "purple": (138, 62, 178),
    "pink": (248, 138, 190),
    "brown": (134, 82, 42),
    "gray": (140, 142, 146),
    "black": (34, 34, 38),
    "white": (248, 248, 248),
}

PATTERNS: Final[tuple[Pattern, ...]] = ("plain", "striped", "dotted", "checked")

SIZES: Final[dict[Size, tuple[int, int]]] = {"small": (26, 40), "medium": (46, 64), "large": (74, 108)}
"""Smallest and largest long side of an object in pixels. The ranges have gaps, so that the words are unambiguous."""

BACKGROUND_BY_NAME: Final[dict[str, Background]] = {
    background.name: background
    for background in (
        Background("room", "in a room", ("in a living room", "indoors in a room"), True, True),
        Background("meadow", "in a meadow", ("on the grass", "in a field"), False, True),
        Background("beach", "on a beach", ("on the sand", "by the sea"), False, True),
        Background("street", "on a street", ("on the road", "in front of a brick wall"), False, True),
        Background("kitchen", "in a kitchen", ("on a tiled floor", "in the kitchen"), True, True),
        Background("snow", "in the snow", ("on snow", "in a snowy place"), False, True),
        Background("night", "at night", ("in the dark", "under the night sky"), False, True),
        Background("table", "on a table", ("on a wooden table", "on a table top"), None, False),
        Background("paper", "on a sheet of paper", ("on paper", "on lined paper"), None, False),
        Background("carpet", "on a carpet", ("on a rug", "on the carpet"), True, False),
    )
}
