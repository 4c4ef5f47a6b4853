"""What the world is made of: the kinds of things, their colours, patterns and sizes, and where they stand.

The words here are what people say of the pictures, so language is made from the same list that pictures are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Size = Literal["small", "medium", "large"]
Pattern = Literal["plain", "striped", "dotted", "checked"]
Relation = Literal["on", "under", "next to", "in front of"]
Rgb = tuple[int, int, int]

NUM_DRAWINGS: Final = 2
"""Drawings of every kind: 0 is Noto Emoji's, 1 is Fluent Emoji's (see LICENSES.md)."""


@dataclass(frozen=True, slots=True)
class Category:
    """A kind of thing. ``synonyms`` name the very same kind; ``category`` names the wider class it belongs to.

    ``flies``: may hang in the air; the others stand with their feet on the ground.
    """

    name: str
    plural: str
    supercategory: str
    synonyms: tuple[str, ...] = ()
    flies: bool = False

    @property
    def article(self) -> str:
        """``a`` or ``an``, as the name is said."""
        return "an" if self.name[0] in "aeiou" and not self.name.startswith("uni") else "a"


@dataclass(frozen=True, slots=True)
class Background:
    """A place. ``phrase`` completes "a dog ..."; ``noun`` is the place itself; ``words`` are other ways to say it.

    A place with a ``horizon`` has a ground below it, where feet stand; one without is looked at from above.
    """

    name: str
    phrase: str
    noun: str
    words: tuple[str, ...]
    indoors: bool | None
    horizon: bool


def _categories(supercategory: str, *categories: tuple[str, str, tuple[str, ...]] | tuple[str, str]) -> list[Category]:
    return [Category(k[0], k[1], supercategory, k[2] if len(k) > 2 else (), k[0] in _FLIES) for k in categories]


_FLIES = {"butterfly", "airplane", "rocket", "helicopter", "balloon", "star", "owl"}

CATEGORIES: Final[tuple[Category, ...]] = (
    *_categories(
        "animal",
        ("cat", "cats", ("kitty",)),
        ("dog", "dogs", ("pup",)),
        ("horse", "horses", ("pony",)),
        ("elephant", "elephants"),
        ("rabbit", "rabbits", ("bunny",)),
        ("duck", "ducks"),
        ("owl", "owls"),
        ("snail", "snails"),
        ("turtle", "turtles", ("tortoise",)),
        ("butterfly", "butterflies"),
        ("crab", "crabs"),
        ("penguin", "penguins"),
        ("pig", "pigs", ("piggy",)),
        ("fish", "fish"),
    ),
    *_categories(
        "vehicle",
        ("car", "cars", ("automobile",)),
        ("bus", "buses", ("coach",)),
        ("bicycle", "bicycles", ("bike",)),
        ("airplane", "airplanes", ("plane", "aeroplane")),
        ("train", "trains", ("locomotive",)),
        ("sailboat", "sailboats", ("boat", "sailing boat")),
        ("rocket", "rockets", ("spaceship",)),
        ("truck", "trucks", ("lorry",)),
        ("helicopter", "helicopters", ("chopper",)),
    ),
    *_categories(
        "household item",
        ("chair", "chairs", ("seat",)),
        ("bed", "beds"),
        ("book", "books"),
        ("key", "keys"),
        ("hammer", "hammers"),
        ("clock", "clocks", ("alarm clock",)),
        ("umbrella", "umbrellas", ("parasol",)),
        ("bell", "bells"),
        ("teapot", "teapots"),
        ("cup", "cups", ("mug",)),
        ("bucket", "buckets", ("pail",)),
    ),
    *_categories(
        "device",
        ("telephone", "telephones", ("phone",)),
        ("laptop", "laptops", ("notebook computer",)),
        ("television", "televisions", ("tv", "tv set")),
        ("camera", "cameras"),
    ),
    *_categories(
        "piece of clothing",
        ("hat", "hats", ("top hat",)),
        ("boot", "boots"),
        ("shirt", "shirts", ("t-shirt", "tee")),
        ("dress", "dresses", ("gown",)),
        ("backpack", "backpacks", ("rucksack",)),
        ("crown", "crowns"),
    ),
    *_categories(
        "toy",
        ("guitar", "guitars"),
        ("gift", "gifts", ("present",)),
        ("balloon", "balloons"),
        ("ball", "balls", ("soccer ball", "football")),
    ),
    *_categories(
        "food",
        ("apple", "apples"),
        ("banana", "bananas"),
        ("carrot", "carrots"),
        ("mushroom", "mushrooms", ("toadstool",)),
        ("cake", "cakes", ("birthday cake",)),
        ("ice cream", "ice creams", ("ice cream cone",)),
        ("pizza", "pizzas", ("slice of pizza",)),
    ),
    *_categories(
        "plant",
        ("tree", "trees"),
        ("flower", "flowers", ("tulip",)),
        ("cactus", "cactuses"),
    ),
    *_categories("building", ("house", "houses", ("cottage",))),
    *_categories("shape", ("star", "stars")),
)

CATEGORY_BY_NAME: Final[dict[str, Category]] = {category.name: category for category in CATEGORIES}
CATEGORY_INDEX: Final[dict[str, int]] = {category.name: index for index, category in enumerate(CATEGORIES)}
"""The detector's class order and the order of the arrays in glyphs.npz."""

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
"""Long side of the whole thing in pixels, both ends included; the gaps between make the words true."""

BACKGROUNDS: Final[tuple[Background, ...]] = (
    Background("room", "in a room", "room", ("in a living room", "indoors in a room"), True, True),
    Background("meadow", "in a meadow", "meadow", ("on the grass", "in a field"), False, True),
    Background("beach", "on a beach", "beach", ("on the sand", "by the sea"), False, True),
    Background("street", "on a street", "street", ("on the road", "in front of a brick wall"), False, True),
    Background("kitchen", "in a kitchen", "kitchen", ("on a tiled floor", "in the kitchen"), True, True),
    Background("snow", "in the snow", "snow", ("on snow", "in a snowy place"), False, True),
    Background("night", "at night", "night", ("in the dark", "under the night sky"), False, True),
    Background("table", "on a table", "table", ("on a wooden table", "on a table top"), None, False),
    Background("paper", "on a sheet of paper", "paper", ("on paper", "on lined paper"), None, False),
    Background("carpet", "on a carpet", "carpet", ("on a rug", "on the carpet"), True, False),
)

BACKGROUND_BY_NAME: Final[dict[str, Background]] = {place.name: place for place in BACKGROUNDS}
