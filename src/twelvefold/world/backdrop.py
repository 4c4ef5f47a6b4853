"""What is behind the things: ten places made of seeded textures, coloured by a table and cropped at random.

The textures are made once per process and are the same in every process. Colours are kept muted, so that the things
in front stand out.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from twelvefold.world.categories import Rgb

Gray = NDArray[np.uint8]

SIDE: Final = 448
"""Side of a texture in pixels: a picture's crop (288 at most) finds many places in it."""


class Zone(NamedTuple):
    """A texture in one of some colours; ``contrast`` 1 takes texture level 0 to black and 255 to twice the colour."""

    texture: str
    colors: tuple[Rgb, ...]
    contrast: float


PLACES: Final[dict[str, tuple[Zone, ...]]] = {
    "room": (
        Zone("plaster", ((226, 218, 200), (206, 218, 224), (222, 208, 214), (210, 220, 202)), 0.5),
        Zone("wood", ((176, 142, 108), (154, 124, 100), (190, 160, 128)), 0.6),
    ),
    "meadow": (
        Zone("cloud", ((186, 214, 236), (200, 220, 232)), 0.35),
        Zone("grass", ((138, 170, 106), (150, 176, 112), (124, 158, 104)), 0.6),
    ),
    "beach": (
        Zone("water", ((142, 190, 206), (126, 178, 200)), 0.5),
        Zone("sand", ((226, 206, 166), (218, 198, 156), (232, 214, 180)), 0.4),
    ),
    "street": (
        Zone("brick", ((184, 144, 126), (170, 150, 138), (192, 164, 140)), 0.5),
        Zone("asphalt", ((132, 132, 136), (120, 122, 128), (146, 144, 144)), 0.5),
    ),
    "kitchen": (
        Zone("tile", ((222, 232, 232), (230, 228, 216), (214, 226, 218)), 0.6),
        Zone("checker", ((206, 198, 190), (196, 204, 208)), 0.6),
    ),
    "snow": (
        Zone("cloud", ((176, 192, 210), (190, 202, 214)), 0.3),
        Zone("snow", ((228, 234, 242), (222, 230, 240)), 0.3),
    ),
    "night": (
        Zone("stars", ((32, 38, 74), (26, 32, 62)), 1.0),
        Zone("asphalt", ((58, 62, 76), (52, 62, 66)), 0.8),
    ),
    "table": (Zone("wood", ((190, 150, 108), (166, 128, 94), (204, 172, 134)), 0.6),),
    "paper": (Zone("paper", ((244, 241, 230), (238, 242, 246), (246, 238, 222)), 0.5),),
    "carpet": (Zone("weave", ((166, 136, 138), (134, 146, 164), (160, 152, 128)), 0.6),),
}


def backdrop(place: str, width: int, height: int, horizon: int, rng: np.random.Generator) -> Gray:
    """(H, W, 3) uint8: the place without things; what lies above ``horizon`` is its first zone, below its second."""
    zones = PLACES[place]
    canvas = np.empty((height, width, 3), np.uint8)
    rows = ((0, horizon), (horizon, height)) if len(zones) == 2 else ((0, height),)
    for zone, (top, bottom) in zip(zones, rows, strict=True):
        x, y = rng.integers(SIDE - width + 1), rng.integers(SIDE - (bottom - top) + 1)
        color = np.array(zone.colors[rng.integers(len(zone.colors))]) + rng.integers(-6, 7, 3)
        levels = 1 + zone.contrast * (np.arange(256) - 128) / 128
        table = np.clip(levels[:, None] * color, 0, 255).astype(np.uint8)
        np.take(table, texture(zone.texture)[y : y + bottom - top, x : x + width], axis=0, out=canvas[top:bottom])
    if len(zones) == 2 and place in ("room", "kitchen", "street"):
        # A skirting board or a kerb: the edge between wall and floor, where a wall has one.
        edge = canvas[horizon - 4 : horizon]
        edge[:3] = edge[:3] // 2 + 118
        edge[3] //= 2
    return canvas


def noise_field() -> NDArray[np.float32]:
    """(SIDE, SIDE) float32: Gaussian noise of deviation 1, cropped at random for the grain of a picture."""
    return _noise_field()


@cache
def _noise_field() -> NDArray[np.float32]:
    return np.random.Generator(np.random.PCG64(7)).standard_normal((SIDE, SIDE), dtype=np.float32)


@cache
def texture(name: str) -> Gray:
    """(SIDE, SIDE) uint8: a texture by name; 128 is the colour itself."""
    names = list(_TEXTURES)
    rng = np.random.Generator(np.random.PCG64([11, names.index(name)]))
    rows, columns = np.mgrid[0:SIDE, 0:SIDE].astype(np.float64)
    return np.clip(128 + _TEXTURES[name](rng, rows, columns), 0, 255).round().astype(np.uint8)


Field = NDArray[np.float64]


def _grain(rng: np.random.Generator, down: float, across: float, depth: float) -> Field:
    """Noise smoothed over ``down`` x ``across`` pixels, of deviation ``depth``; its edges meet."""
    field = gaussian_filter(rng.standard_normal((SIDE, SIDE)), (down, across), mode="wrap")
    return np.asarray(field * depth / field.std())


def _plaster(rng: np.random.Generator, rows: Field, columns: Field) -> Field:
    return _grain(rng, 30, 30, 9) + _grain(rng, 1, 1, 3)


def _cloud(rng: np.random.Generator, rows: Field, columns: Field) -> Field:
    return _grain(rng, 12, 34, 26) + _grain(rng, 6, 14, 8)


def _grass(rng: np.random.Generator, rows: Field, columns: Field) -> Field:
    return _grain(rng, 3.5, 0.7, 20) + _grain(rng, 24, 30, 12)


def _sand(rng: np.random.Generator, rows: Field, columns: Field) -> Field:
    ripples: Field = 7 * np.sin(rows / 5.5 + _grain(rng, 20, 40, 1.6))
    return _grain(rng, 0.6, 0.6, 10) + ripples + _grain(rng, 30, 30, 8)


def _water(rng: np.random.Generator, rows: Field, columns: Field) -> Field:
    return _grain(rng, 1.2, 9, 20) + _grain(rng, 8, 40, 12)


def _asphalt(rng: np.random.Generator, rows: Field, columns: Field) -> Field:
    return _grain(rng, 0.7, 0.7, 14) + _grain(rng, 20, 40, 8)


def _snow(rng: np.random.Generator, rows: Field, columns: Field) -> Field:
    return _grain(rng, 10, 26, 18) + _grain(rng, 0.7, 0.7, 5)


def _weave(rng: np.random.Generator, rows: Field, columns: Field) -> Field:
    knots = np.where((rows // 3 + columns // 3) % 2 < 1, 14.0, -14.0)
    return knots + _grain(rng, 0.8, 0.8, 10) + _grain(rng, 24, 24, 10)


def _paper(rng: np.random.Generator, rows: Field, columns: Field) -> Field:
    return np.where(rows % 22 < 1, -22.0, 0.0) + _grain(rng, 0.8, 0.8, 3) + _grain(rng, 40, 40, 4)


def _stars(rng: np.random.Generator, rows: Field, columns: Field) -> Field:
    sky = _grain(rng, 40, 40, 12)
    bright = gaussian_filter((rng.random((SIDE, SIDE)) < 0.0016).astype(np.float64), 0.7, mode="wrap")
    return np.asarray(np.where(bright > 0.04, 127.0, sky + bright))


def _cells(rng: np.random.Generator, row: Field, column: Field, depth: float) -> Field:
    """A random level for each brick, tile or plank, told by its whole row and column numbers."""
    levels = rng.standard_normal((SIDE, SIDE)) * depth
    return np.asarray(levels[row.astype(int) % SIDE, column.astype(int) % SIDE])


def _brick(rng: np.random.Generator, rows: Field, columns: Field) -> Field:
    row = rows // 14
    shifted = columns + (row % 2) * 15
    mortar = (rows % 14 < 2) | (shifted % 30 < 2)
    return np.where(mortar, 46.0, _cells(rng, row, shifted // 30, 12)) + _grain(rng, 0.8, 0.8, 5)


def _tile(rng: np.random.Generator, rows: Field, columns: Field) -> Field:
    grout = (rows % 26 < 1.5) | (columns % 26 < 1.5)
    return np.where(grout, -46.0, _cells(rng, rows // 26, columns // 26, 4)) + _grain(rng, 30, 30, 4)


def _checker(rng: np.random.Generator, rows: Field, columns: Field) -> Field:
    dark = (rows // 30 + columns // 46) % 2 < 1
    return np.where(dark, -26.0, 10.0) + _grain(rng, 1, 1, 3) + _grain(rng, 30, 30, 4)


def _wood(rng: np.random.Generator, rows: Field, columns: Field) -> Field:
    row = rows // 28
    gap = rows % 28 < 1.2
    veins = _grain(rng, 1.1, 30, 10) + _grain(rng, 4, 60, 7)
    return np.where(gap, -56.0, veins + _cells(rng, row, row * 0, 10))


_TEXTURES: Final[dict[str, Callable[[np.random.Generator, Field, Field], Field]]] = {
    "plaster": _plaster,
    "cloud": _cloud,
    "grass": _grass,
    "sand": _sand,
    "water": _water,
    "asphalt": _asphalt,
    "snow": _snow,
    "weave": _weave,
    "paper": _paper,
    "stars": _stars,
    "brick": _brick,
    "tile": _tile,
    "checker": _checker,
    "wood": _wood,
}
