"""From a scene to a picture: deterministic, about ten milliseconds each, with nothing but NumPy and Pillow.

The paper reads photographs (section 2.1); these pictures are the world's, and a detector has to find the things in
them from their pixels.
"""

from __future__ import annotations

import io
from functools import cache, lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from twelvefold.world.backdrop import SIDE, backdrop, noise_field
from twelvefold.world.categories import CATEGORY_BY_NAME, COLORS, Pattern
from twelvefold.world.scene import Scene, SceneObject

Pixels = NDArray[np.uint8]

_SHADE, _SHINE = 0.22, 0.72
"""Light 0 keeps 22 % of a colour, light 255 goes 72 % of the way to white: shading, eyes and wheels survive."""

_SECOND: Final[dict[str, float]] = {
    "red": 0.75, "orange": 0.75, "green": 0.75, "blue": 0.75, "purple": 0.75, "brown": 0.70, "black": 0.42,
    "yellow": -0.50, "pink": -0.45, "gray": 0.55, "white": -0.50,
}  # fmt: skip
"""A pattern's second colour: the share of the way to white, or, negative, of the way to black. Black, gray and white
stay short of each other."""


def draw_scene(scene: Scene) -> Image.Image:
    """The picture, RGB, of the scene's width and height: a function of the scene alone."""
    light = scene.light
    rng = np.random.Generator(np.random.PCG64(light.grain))
    canvas = backdrop(scene.background, scene.width, scene.height, scene.horizon, rng)
    for obj in scene.objects:
        draw_shadow(canvas, obj, scene.horizon)
        draw_object(canvas, obj)
    table = np.clip(np.arange(256) * light.brightness, 0, 255).round().astype(np.int16)
    levels = np.take(table, canvas)
    if light.noise:
        x, y = rng.integers(SIDE - scene.width + 1), rng.integers(SIDE - scene.height + 1)
        grain = noise_field()[y : y + scene.height, x : x + scene.width] * light.noise
        levels += grain.round().astype(np.int16)[:, :, None]
    picture = Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8))
    return picture.filter(ImageFilter.GaussianBlur(light.blur)) if light.blur else picture


def encode_jpeg(image: Image.Image, quality: int) -> bytes:
    """The picture as a JPEG file."""
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return out.getvalue()


def draw_jpeg(scene: Scene) -> bytes:
    """The scene's picture as a JPEG file of the scene's own quality."""
    return encode_jpeg(draw_scene(scene), scene.light.quality)


def draw_object(canvas: Pixels, obj: SceneObject) -> None:
    """Draw one thing onto the picture (H, W, 3) uint8, in place, over what is there."""
    shape = obj.sprite
    region = canvas[obj.pose.y : obj.pose.y + shape.height, obj.pose.x : obj.pose.x + shape.width]
    rng = np.random.Generator(np.random.PCG64(obj.pose.grain))
    main = _shaded(obj.color, rng)
    color = _table(main)[shape.light]
    if obj.pattern != "plain":
        mask = pattern_mask(obj.pattern, shape.width, shape.height, rng)
        color += mask[:, :, None] * (_table(_second(obj.color, main))[shape.light] - color)
    alpha = shape.alpha.astype(np.float32)[:, :, None] / 255
    cover = shape.cover.astype(np.float32)[:, :, None] / 255
    line = np.float32(170.0) if obj.color == "black" else main * np.float32(0.34)
    region[:] = (region * (1 - cover) + color * alpha + line * (cover - alpha) + 0.5).astype(np.uint8)


def draw_shadow(canvas: Pixels, obj: SceneObject, horizon: int) -> None:
    """Darken a soft ellipse at the thing's feet, in place; things in the air or on another thing cast none."""
    if (CATEGORY_BY_NAME[obj.category].flies and horizon) or (obj.relation is not None and obj.relation[0] == "on"):
        return
    x1, _, x2, y2 = (int(edge) for edge in obj.whole_px)
    width, height = int((x2 - x1) * 1.1), max(6, int((x2 - x1) * 0.24))
    left, top = (x1 + x2 - width) // 2, y2 - height // 2 - 1
    x, y = max(left, 0), max(top, 0)
    region = canvas[y : top + height, x : left + width]
    shade = _ellipse(width, height)[y - top :, x - left :][: region.shape[0], : region.shape[1], None]
    region[:] = region * shade


@lru_cache(maxsize=256)
def _ellipse(width: int, height: int) -> NDArray[np.float32]:
    """(height, width): what a shadow leaves of the light, 0.62 in its middle and 1 at its edge."""
    shade = _soft_ellipse().resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(1 - 0.38 * np.asarray(shade, np.float32) / 255, dtype=np.float32)


@cache
def _soft_ellipse() -> Image.Image:
    image = Image.new("L", (128, 64))
    ImageDraw.Draw(image).ellipse((16, 8, 112, 56), fill=255)
    return image.filter(ImageFilter.GaussianBlur(6))


def _shaded(color: str, rng: np.random.Generator) -> NDArray[np.float32]:
    """(3,): the colour as this one thing has it; black, gray and white move together in all channels."""
    jitter = rng.integers(-10, 11, 3)
    if color in ("gray", "black", "white"):
        jitter = np.full(3, jitter[0] // 2)
    return np.clip(np.array(COLORS[color]) + jitter, 0, 255).astype(np.float32)


def _second(color: str, main: NDArray[np.float32]) -> NDArray[np.float32]:
    share = _SECOND[color]
    target = np.float32(255.0 if share > 0 else 0.0)
    return main + np.float32(abs(share)) * (target - main)


def _table(color: NDArray[np.float32]) -> NDArray[np.float32]:
    """(256, 3): the colour under light 0..255."""
    levels = np.arange(256, dtype=np.float32)[:, None]
    shade = color * (_SHADE + (1 - _SHADE) * np.minimum(levels, 128) / 128)
    shine = _SHINE * np.maximum(levels - 128, 0) / 127
    return np.asarray(shade + shine * (255 - shade), dtype=np.float32)


def pattern_mask(pattern: Pattern, width: int, height: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """(height, width) in 0..1: where the second colour goes, with edges of one pixel; never made for ``plain``.

    Periods are shares of the long side, so a pattern looks alike at every size, within what a pixel can show.
    """
    longest = max(width, height)
    phase = rng.random(2) * 64
    rows = np.arange(height, dtype=np.float32)[:, None] + np.float32(phase[0])
    columns = np.arange(width, dtype=np.float32)[None, :] + np.float32(phase[1])
    if pattern == "striped":
        period = np.clip(longest / 3.6, 9, 24)
        turn = np.pi / 4 * rng.integers(4)
        wave = np.cos(2 * np.pi / period * (columns * np.cos(turn) + rows * np.sin(turn)))
        mask = 0.5 + period / (2 * np.pi) * (wave - 0.1)
    elif pattern == "checked":
        period = np.clip(longest / 2.8, 11, 32)
        wave = np.cos(2 * np.pi / period * columns) * np.cos(2 * np.pi / period * rows)
        mask = 0.5 + period / (2 * np.pi) * 1.6 * wave
    else:
        period = np.clip(longest / 3.6, 9, 24)
        half = period / 2
        # Two lattices, one in the other's gaps, so that dots stand in a quincunx.
        near = [np.hypot((columns + shift) % period - half, (rows + shift) % period - half) for shift in (0.0, half)]
        mask = 0.5 + 0.25 * period - np.minimum(near[0], near[1])
    return np.asarray(np.clip(mask, 0, 1), dtype=np.float32)
