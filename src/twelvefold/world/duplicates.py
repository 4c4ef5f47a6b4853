"""One picture under another name: what publishers do to photographs on the way, without changing what they show.

The world plants such copies so that a test can see whether the cleaning of splits (section 2.2) finds them.
"""

from __future__ import annotations

import io
from typing import Final, Literal, get_args

from PIL import Image, ImageDraw

from twelvefold.schema import Box
from twelvefold.world.draw import encode_jpeg

Transform = Literal["resized", "re-encoded", "cropped", "watermarked", "brightened"]
TRANSFORMS: Final[tuple[Transform, ...]] = get_args(Transform)

_SCALE, _CROP, _GAIN, _QUALITY = 0.875, 0.02, 1.08, 55


def make_near_duplicate(image: Image.Image, how: Transform) -> Image.Image:
    """A copy of an RGB picture: at 7/8 of its size, after a poor JPEG, without the outer 2 % of its sides, with a
    mark in a corner, or 8 % brighter."""
    if how == "resized":
        size = (round(image.width * _SCALE), round(image.height * _SCALE))
        return image.resize(size, Image.Resampling.LANCZOS)
    if how == "re-encoded":
        return Image.open(io.BytesIO(encode_jpeg(image, _QUALITY))).convert("RGB")
    if how == "cropped":
        x, y = _cut(image.width), _cut(image.height)
        return image.crop((x, y, image.width - x, image.height - y))
    if how == "brightened":
        return image.point(lambda level: level * _GAIN)
    marked = image.copy()
    pen = ImageDraw.Draw(marked, "RGBA")
    right, bottom = image.width - 6, image.height - 6
    pen.rounded_rectangle((right - 44, bottom - 14, right, bottom), 4, fill=(255, 255, 255, 110))
    pen.ellipse((right - 41, bottom - 11, right - 33, bottom - 3), outline=(40, 40, 40, 150), width=2)
    pen.line((right - 29, bottom - 7, right - 5, bottom - 7), fill=(40, 40, 40, 150), width=3)
    return marked


def transform_box(box_px: Box, width: int, height: int, how: Transform) -> Box:
    """Where a box of the original, ``width`` x ``height`` pixels, lies in its copy."""
    if how == "resized":
        across, down = round(width * _SCALE) / width, round(height * _SCALE) / height
        return (box_px[0] * across, box_px[1] * down, box_px[2] * across, box_px[3] * down)
    if how == "cropped":
        x, y = _cut(width), _cut(height)
        right, bottom = width - 2 * x, height - 2 * y
        x1, x2 = (min(max(edge - x, 0), right) for edge in (box_px[0], box_px[2]))
        y1, y2 = (min(max(edge - y, 0), bottom) for edge in (box_px[1], box_px[3]))
        return (x1, y1, x2, y2)
    return box_px


def _cut(side: int) -> int:
    """Pixels taken from each end, so that 2 % of the side goes in all."""
    return max(1, round(side * _CROP / 2))
