"""The shapes of things: masks shipped with the package, brought to a size, an angle and a side.

A mask keeps the light and shade of a drawing and drops its colours, so that colour is free to choose.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from twelvefold.schema import TwelvefoldError
from twelvefold.world.categories import CATEGORIES, CATEGORY_INDEX, NUM_DRAWINGS

SOLID = 128
"""Alpha from which a pixel belongs to a thing: half covered."""


@dataclass(frozen=True, slots=True, eq=False)
class Sprite:
    """One drawing at its final size, cropped to its solid pixels; all (H, W) uint8 but ``solid``, bool.

    light: 128 is the thing's own colour, less is shade, more is shine. alpha: the drawing. cover: the drawing and
    the line of one pixel around it. solid: pixels that count as the thing's.
    """

    light: NDArray[np.uint8]
    alpha: NDArray[np.uint8]
    cover: NDArray[np.uint8]
    solid: NDArray[np.bool_]

    @property
    def width(self) -> int:
        return int(self.solid.shape[1])

    @property
    def height(self) -> int:
        return int(self.solid.shape[0])


def use_drawings(path: Path | None) -> None:
    """Draw with other masks of ``tools/make_glyphs.py`` in this process; how unseen drawings are tested. None goes
    back to the package's own.

    Raises: TwelvefoldError where the file's kinds are not the world's.
    """
    glyphs = None if path is None else _load(path.read_bytes())
    for known in (_glyphs, sprite, _long_side):
        known.cache_clear()
    _own_masks[:] = [] if glyphs is None else [glyphs]


_own_masks: list[list[list[Image.Image]]] = []


@lru_cache(maxsize=1024)
def sprite(category: str, drawing: int, long_px: int, angle: int, flip: bool) -> Sprite:
    """A kind's drawing whose long side, once turned by ``angle`` degrees and outlined, is about ``long_px``."""
    glyph = _glyphs()[CATEGORY_INDEX[category]][drawing % len(_glyphs()[0])]
    scale = (long_px - 2) / _long_side(category, drawing, angle)
    size = (max(3, round(glyph.width * scale)), max(3, round(glyph.height * scale)))
    image = glyph.resize(size, Image.Resampling.HAMMING)
    if angle:
        image = image.rotate(angle, Image.Resampling.BICUBIC, expand=True)
    layers = np.pad(np.asarray(image), ((1, 1), (1, 1), (0, 0)))
    if flip:
        layers = layers[:, ::-1]
    cover = _grown(layers[:, :, 1])
    solid = cover >= SOLID
    rows, columns = np.flatnonzero(solid.any(axis=1)), np.flatnonzero(solid.any(axis=0))
    ink = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    light, alpha = (np.ascontiguousarray(layers[:, :, layer][ink]) for layer in (0, 1))
    return Sprite(light, alpha, np.ascontiguousarray(cover[ink]), np.ascontiguousarray(solid[ink]))


def _grown(alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The mask with its edge one pixel further out: the highest of each pixel's neighbours."""
    padded = np.pad(alpha, 1)
    rows = np.maximum(np.maximum(padded[:-2], padded[1:-1]), padded[2:])
    return np.asarray(np.maximum(np.maximum(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:]))


@cache
def _long_side(category: str, drawing: int, angle: int) -> float:
    """Long side in pixels of the stored mask once turned: from the two ends of each of its rows."""
    glyph = _glyphs()[CATEGORY_INDEX[category]][drawing % len(_glyphs()[0])]
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
    if _own_masks:
        return _own_masks[0]
    glyphs = _load(files("twelvefold.world").joinpath("glyphs.npz").read_bytes())
    if len(glyphs[0]) != NUM_DRAWINGS:
        raise TwelvefoldError(f"glyphs.npz: expected {NUM_DRAWINGS} drawings of each kind, got {len(glyphs[0])}")
    return glyphs


def _load(data: bytes) -> list[list[Image.Image]]:
    """Light and alpha of every drawing by kind, cropped to the ink."""
    with np.load(BytesIO(data), allow_pickle=False) as arrays:
        masks, categories = arrays["masks"], arrays["kinds"].tolist()
    if categories != [category.name for category in CATEGORIES]:
        raise TwelvefoldError("the masks' kinds are not the world's, in its order: make them with tools/make_glyphs.py")
    glyphs = [[Image.fromarray(np.moveaxis(drawing, 0, -1), "LA") for drawing in category] for category in masks]
    return [[glyph.crop(glyph.getchannel("A").getbbox()) for glyph in category] for category in glyphs]
