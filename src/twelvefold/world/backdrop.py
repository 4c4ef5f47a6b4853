"""Backdrops: ten backgrounds of seeded textures, colored by a table and cropped at random.

Textures are made once per process and are the same in every process. Colors are muted, so that objects are visible.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Final, NamedTuple

import numpy as np
from numpy.random import PCG64, Generator
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from twelvefold.world.categories import Rgb

Pixels = NDArray[np.uint8]
Field = NDArray[np.float64]

SIDE: Final = 448
"""Side of a texture in pixels. An image (at most 288) is a crop of it."""


class Zone(NamedTuple):
    """A texture in one of several colors. ``contrast`` 1 maps texture level 0 to black, and 255 to twice the color."""

    texture: str
    colors: tuple[Rgb, ...]
    contrast: float


BACKDROPS: Final[dict[str, tuple[Zone, ...]]] = {
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
"""One zone, or one above the horizon and one below it."""


def draw_backdrop(background: str, width: int, height: int, horizon: int, rng: Generator) -> Pixels:
    """Return (H, W, 3) uint8: the background without objects."""
    zones = BACKDROPS[background]
    canvas = np.empty((height, width, 3), np.uint8)
    rows = ((0, horizon), (horizon, height)) if len(zones) == 2 else ((0, height),)
    for zone, (top, bottom) in zip(zones, rows, strict=True):
        x, y = rng.integers(SIDE - width + 1), rng.integers(SIDE - (bottom - top) + 1)
        color = np.array(zone.colors[rng.integers(len(zone.colors))]) + rng.integers(-6, 7, 3)
        levels = 1 + zone.contrast * (np.arange(256) - 128) / 128
        table = np.clip(levels[:, None] * color, 0, 255).astype(np.uint8)
        np.take(table, make_texture(zone.texture)[y : y + bottom - top, x : x + width], axis=0, out=canvas[top:bottom])
    if background in ("room", "kitchen", "street"):
        # A skirting board or a curb between wall and floor.
        edge = canvas[horizon - 4 : horizon]
        edge[:3] = edge[:3] // 2 + 118
        edge[3] //= 2
    return canvas


@cache
def noise_field() -> NDArray[np.float32]:
    """Return (SIDE, SIDE) float32: Gaussian noise of standard deviation 1."""
    return Generator(PCG64(7)).standard_normal((SIDE, SIDE), dtype=np.float32)


@cache
def make_texture(name: str) -> Pixels:
    """Return (SIDE, SIDE) uint8: a texture. 128 is the color itself."""
    rng = Generator(PCG64([11, list(_TEXTURES).index(name)]))
    rows, columns = np.mgrid[0:SIDE, 0:SIDE].astype(np.float64)
    return np.clip(128 + _TEXTURES[name](rng, rows, columns), 0, 255).round().astype(np.uint8)


def _smooth_noise(rng: Generator, down: float, across: float, depth: float) -> Field:
    """Return periodic noise, smoothed over ``down`` x ``across`` pixels, of standard deviation ``depth``."""
    field = gaussian_filter(rng.standard_normal((SIDE, SIDE)), (down, across), mode="wrap")
    return np.asarray(field * depth / field.std())


Texture = Callable[[Generator, Field, Field], Field]


def _noise(*layers: tuple[float, float, float]) -> Texture:
    """Return a texture that is the sum of layers of smooth noise: (down, across, depth)."""
    return lambda rng, rows, columns: np.asarray(sum(_smooth_noise(rng, *layer) for layer in layers))


def _sand(rng: Generator, rows: Field, columns: Field) -> Field:
    ripples: Field = 7 * np.sin(rows / 5.5 + _smooth_noise(rng, 20, 40, 1.6))
    return _smooth_noise(rng, 0.6, 0.6, 10) + ripples + _smooth_noise(rng, 30, 30, 8)


def _weave(rng: Generator, rows: Field, columns: Field) -> Field:
    knots = np.where((rows // 3 + columns // 3) % 2 < 1, 14.0, -14.0)
    return knots + _smooth_noise(rng, 0.8, 0.8, 10) + _smooth_noise(rng, 24, 24, 10)


def _paper(rng: Generator, rows: Field, columns: Field) -> Field:
    lines = np.where(rows % 22 < 1, -22.0, 0.0)
    return lines + _smooth_noise(rng, 0.8, 0.8, 3) + _smooth_noise(rng, 40, 40, 4)


def _stars(rng: Generator, rows: Field, columns: Field) -> Field:
    sky = _smooth_noise(rng, 40, 40, 12)
    bright = gaussian_filter((rng.random((SIDE, SIDE)) < 0.0016).astype(np.float64), 0.7, mode="wrap")
    return np.asarray(np.where(bright > 0.04, 127.0, sky + bright))


def _cells(rng: Generator, row: Field, column: Field, depth: float) -> Field:
    """Return a random level for each brick, tile or plank with the given row and column numbers."""
    levels = rng.standard_normal((SIDE, SIDE)) * depth
    return np.asarray(levels[row.astype(int) % SIDE, column.astype(int) % SIDE])


def _brick(rng: Generator, rows: Field, columns: Field) -> Field:
    row = rows // 14
    shifted = columns + (row % 2) * 15
    mortar = (rows % 14 < 2) | (shifted % 30 < 2)
    return np.where(mortar, 46.0, _cells(rng, row, shifted // 30, 12)) + _smooth_noise(rng, 0.8, 0.8, 5)


def _tile(rng: Generator, rows: Field, columns: Field) -> Field:
    grout = (rows % 26 < 1.5) | (columns % 26 < 1.5)
    return np.where(grout, -46.0, _cells(rng, rows // 26, columns // 26, 4)) + _smooth_noise(rng, 30, 30, 4)


def _checker(rng: Generator, rows: Field, columns: Field) -> Field:
    dark = (rows // 30 + columns // 46) % 2 < 1
    return np.where(dark, -26.0, 10.0) + _smooth_noise(rng, 1, 1, 3) + _smooth_noise(rng, 30, 30, 4)


def _wood(rng: Generator, rows: Field, columns: Field) -> Field:
    row = rows // 28
    gap = rows % 28 < 1.2
    veins = _smooth_noise(rng, 1.1, 30, 10) + _smooth_noise(rng, 4, 60, 7)
    return np.where(gap, -56.0, veins + _cells(rng, row, row * 0, 10))


_TEXTURES: Final[dict[str, Texture]] = {
    "plaster": _noise((30, 30, 9), (1, 1, 3)),
    "cloud": _noise((12, 34, 26), (6, 14, 8)),
    "grass": _noise((3.5, 0.7, 20), (24, 30, 12)),
    "sand": _sand,
    "water": _noise((1.2, 9, 20), (8, 40, 12)),
    "asphalt": _noise((0.7, 0.7, 14), (20, 40, 8)),
    "snow": _noise((10, 26, 18), (0.7, 0.7, 5)),
    "weave": _weave,
    "paper": _paper,
    "stars": _stars,
    "brick": _brick,
    "tile": _tile,
    "checker": _checker,
    "wood": _wood,
}
"""The order is part of the seeds."""
