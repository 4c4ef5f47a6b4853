"""Draw scenes with NumPy and Pillow: deterministic, about ten milliseconds per image.

A detector has to find the objects from the pixels, as in the paper's photographs (section 2.1).
"""

from __future__ import annotations

import io
from functools import cache, lru_cache
from typing import Final

import numpy as np
from numpy.random import PCG64, Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from twelvefold.world.backdrop import SIDE, draw_backdrop, noise_field
from twelvefold.world.categories import CATEGORY_BY_NAME, COLORS, Pattern
from twelvefold.world.scene import Scene, SceneObject

Pixels = NDArray[np.uint8]

_SHADE, _SHINE = 0.22, 0.72
"""Light 0 leaves 22 % of a color, light 255 is 72 % of the way to white: shading, eyes and wheels stay visible."""

_SECOND_COLOR: Final[dict[str, float]] = {
    "red": 0.75, "orange": 0.75, "green": 0.75, "blue": 0.75, "purple": 0.75, "brown": 0.70, "black": 0.42,
    "yellow": -0.50, "pink": -0.45, "gray": 0.55, "white": -0.50,
}  # fmt: skip
"""The second color of a pattern: the share of the way to white, or, if negative, to black. Black, gray and white stay
distinguishable."""


def draw_scene(scene: Scene) -> Image.Image:
    """Return the RGB image of a scene, a function of the scene."""
    light = scene.light
    rng = Generator(PCG64(light.grain))
    canvas = draw_backdrop(scene.background, scene.width, scene.height, scene.horizon, rng)
    for obj in scene.objects:
        _draw_shadow(canvas, obj, scene.horizon)
        draw_object(canvas, obj)
    table = np.clip(np.arange(256) * light.brightness, 0, 255).round().astype(np.int16)
    levels = np.take(table, canvas)
    if light.noise:
        x, y = rng.integers(SIDE - scene.width + 1), rng.integers(SIDE - scene.height + 1)
        noise = noise_field()[y : y + scene.height, x : x + scene.width] * light.noise
        levels += noise.round().astype(np.int16)[:, :, None]
    image = Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8))
    return image.filter(ImageFilter.GaussianBlur(light.blur)) if light.blur else image


def encode_jpeg(image: Image.Image, quality: int) -> bytes:
    """Return the image as a JPEG file."""
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return out.getvalue()


def draw_jpeg(scene: Scene) -> bytes:
    """Return the image of a scene as a JPEG file with the scene's quality."""
    return encode_jpeg(draw_scene(scene), scene.light.quality)


def draw_object(canvas: Pixels, obj: SceneObject) -> None:
    """Draw an object onto an image (H, W, 3) uint8, in place."""
    shape = obj.sprite
    region = canvas[obj.pose.y : obj.pose.y + shape.height, obj.pose.x : obj.pose.x + shape.width]
    rng = Generator(PCG64(obj.pose.grain))
    main = _vary_shade(obj.color, rng)
    color = _color_table(main)[shape.light]
    if obj.pattern != "plain":
        mask = make_pattern_mask(obj.pattern, shape.width, shape.height, rng)
        color += mask[:, :, None] * (_color_table(_second_color(obj.color, main))[shape.light] - color)
    alpha = shape.alpha.astype(np.float32)[:, :, None] / 255
    cover = shape.cover.astype(np.float32)[:, :, None] / 255
    outline = np.float32(170.0) if obj.color == "black" else main * np.float32(0.34)
    region[:] = (region * (1 - cover) + color * alpha + outline * (cover - alpha) + 0.5).astype(np.uint8)


def _draw_shadow(canvas: Pixels, obj: SceneObject, horizon: int) -> None:
    """Darken a soft ellipse below the object, in place, unless it is in the air or on another object."""
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
    """Return (height, width): the share of light in a shadow, 0.62 in its middle and 1 at its edge."""
    shade = _soft_ellipse().resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(1 - 0.38 * np.asarray(shade, np.float32) / 255, dtype=np.float32)


@cache
def _soft_ellipse() -> Image.Image:
    image = Image.new("L", (128, 64))
    ImageDraw.Draw(image).ellipse((16, 8, 112, 56), fill=255)
    return image.filter(ImageFilter.GaussianBlur(6))


def _vary_shade(color: str, rng: Generator) -> NDArray[np.float32]:
    """Return (3,): the shade of an object. The channels of black, gray and white stay equal."""
    jitter = rng.integers(-10, 11, 3)
    if color in ("gray", "black", "white"):
        jitter = np.full(3, jitter[0] // 2)
    return np.clip(np.array(COLORS[color]) + jitter, 0, 255).astype(np.float32)


def _second_color(color: str, main: NDArray[np.float32]) -> NDArray[np.float32]:
    share = _SECOND_COLOR[color]
    target = np.float32(255.0 if share > 0 else 0.0)
    return main + np.float32(abs(share)) * (target - main)


def _color_table(color: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (256, 3): the color under light 0 to 255."""
    levels = np.arange(256, dtype=np.float32)[:, None]
    shade = color * (_SHADE + (1 - _SHADE) * np.minimum(levels, 128) / 128)
    shine = _SHINE * np.maximum(levels - 128, 0) / 127
    return np.asarray(shade + shine * (255 - shade), dtype=np.float32)


def make_pattern_mask(pattern: Pattern, width: int, height: int, rng: Generator) -> NDArray[np.float32]:
    """Return (height, width) in 0..1: where the second color is, with edges of one pixel. ``plain`` has no mask.

    Periods are shares of the long side, within limits, so that a pattern looks similar at every size.
    """
    longest = max(width, height)
    phase = rng.random(2) * 64
    rows = np.arange(height, dtype=np.float32)[:, None] + np.float32(phase[0])
    columns = np.arange(width, dtype=np.float32)[None, :] + np.float32(phase[1])
    period = np.clip(longest / 2.8, 11, 32) if pattern == "checked" else np.clip(longest / 3.6, 9, 24)
    if pattern == "checked":
        wave = np.cos(2 * np.pi / period * columns) * np.cos(2 * np.pi / period * rows)
        mask = 0.5 + period / (2 * np.pi) * 1.6 * wave
    elif pattern == "striped":
        turn = np.pi / 4 * rng.integers(4)
        wave = np.cos(2 * np.pi / period * (columns * np.cos(turn) + rows * np.sin(turn)))
        mask = 0.5 + period / (2 * np.pi) * (wave - 0.1)
    else:
        half = period / 2
        # Two lattices, one in the gaps of the other.
        near = [np.hypot((columns + shift) % period - half, (rows + shift) % period - half) for shift in (0.0, half)]
        mask = 0.5 + 0.25 * period - np.minimum(near[0], near[1])
    return np.asarray(np.clip(mask, 0, 1), dtype=np.float32)
