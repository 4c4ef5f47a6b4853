"""The drawings of objects: masks that come with the package, scaled, rotated and mirrored.

A mask contains the light and shade of a drawing but no colors, so an object can have any color.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import maximum_filter

from twelvefold.schema import TwelvefoldError
from twelvefold.world.categories import CATEGORIES, CATEGORY_INDEX, NUM_DRAWINGS

SOLID = 128
"""Alpha from which a pixel belongs to an object: half covered."""


@dataclass(frozen=True, slots=True, eq=False)
class Sprite:
    """A drawing at its final size, cropped to its solid pixels. All arrays are (H, W) uint8, ``solid`` is bool.

    ``light``: 128 is the object's color, less is shade, more is shine. ``alpha``: the drawing. ``cover``: the drawing
    and its outline of one pixel. ``solid``: the pixels of the object.
    """

    light: NDArray[np.uint8]
    alpha: NDArray[np.uint8]
    cover: NDArray[np.uint8]
    solid: NDArray[np.bool_]

    @property
    def width(self) -> int:
        """Width in pixels."""
        return int(self.solid.shape[1])

    @property
    def height(self) -> int:
        """Height in pixels."""
        return int(self.solid.shape[0])


@lru_cache(maxsize=1024)
def sprite(category: str, drawing: int, long_px: int, angle: int, flip: bool) -> Sprite:
    """Return a category's drawing, rotated by ``angle`` degrees and outlined, with a long side of about ``long_px``."""
    glyph = _glyphs()[CATEGORY_INDEX[category]][drawing]
    scale = (long_px - 2) / _long_side(category, drawing, angle)
    size = (max(3, round(glyph.width * scale)), max(3, round(glyph.height * scale)))
    image = glyph.resize(size, Image.Resampling.HAMMING)
    if angle:
        image = image.rotate(angle, Image.Resampling.BICUBIC, expand=True)
    layers = np.pad(np.asarray(image), ((1, 1), (1, 1), (0, 0)))
    if flip:
        layers = layers[:, ::-1]
    cover = maximum_filter(layers[:, :, 1], size=3, mode="constant")
    solid = cover >= SOLID
    rows, columns = np.flatnonzero(solid.any(axis=1)), np.flatnonzero(solid.any(axis=0))
    ink = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    light, alpha = (np.ascontiguousarray(layers[:, :, layer][ink]) for layer in (0, 1))
    return Sprite(light, alpha, np.ascontiguousarray(cover[ink]), np.ascontiguousarray(solid[ink]))


@cache
def _long_side(category: str, drawing: int, angle: int) -> float:
    """Return the long side in pixels of the rotated mask, from both ends of each of its rows."""
    glyph = _glyphs()[CATEGORY_INDEX[category]][drawing]
    solid = np.asarray(glyph.getchannel("A")) >= SOLID
    rows = np.flatnonzero(solid.any(axis=1))
    left = solid[rows].argmax(axis=1)
    right = solid.shape[1] - solid[rows][:, ::-1].argmax(axis=1)
    points = np.stack([np.concatenate([left, right, left, right]), np.concatenate([rows, rows, rows + 1, rows + 1])])
    turn = np.deg2rad(angle)
    turned = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) @ points
    return float(np.ptp(turned, axis=1).max())


@cache
def _glyphs() -> list[list[Image.Image]]:
    """Return light and alpha of every drawing by category, cropped to the drawn pixels."""
    with np.load(BytesIO(files("twelvefold.world").joinpath("glyphs.npz").read_bytes()), allow_pickle=False) as arrays:
        masks, categories = arrays["masks"], arrays["kinds"].tolist()
    if categories != [category.name for category in CATEGORIES] or masks.shape[1] != NUM_DRAWINGS:
        raise TwelvefoldError(
            f"glyphs.npz needs {NUM_DRAWINGS} drawings of each of the world's categories, in its order: make it with "
            "tools/make_glyphs.py"
        )
    glyphs = [[Image.fromarray(np.moveaxis(drawing, 0, -1), "LA") for drawing in category] for category in masks]
    return [[glyph.crop(glyph.getchannel("A").getbbox()) for glyph in category] for category in glyphs]
