"""Near-duplicates of an image: changes that publishers make to images without changing what they show.

The world contains such copies so that tests can check that the cleaning of splits (section 2.2) finds them.
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


def make_near_duplicate(image: Image.Image, transform: Transform) -> Image.Image:
    """Return a copy of an RGB image: at 7/8 of its size, after a JPEG of low quality, without the outer 2 % of its
    sides, with a mark in a corner, or 8 % brighter."""
    if transform == "resized":
        size = (round(image.width * _SCALE), round(image.height * _SCALE))
        return image.resize(size, Image.Resampling.LANCZOS)
    if transform == "re-encoded":
        return Image.open(io.BytesIO(encode_jpeg(image, _QUALITY))).convert("RGB")
    if transform == "cropped":
        x, y = _cropped_px(image.width), _cropped_px(image.height)
        return image.crop((x, y, image.width - x, image.height - y))
    if transform == "brightened":
        return image.point(lambda level: level * _GAIN)
    marked = image.copy()
    pen = ImageDraw.Draw(marked, "RGBA")
    right, bottom = image.width - 6, image.height - 6
    pen.rounded_rectangle((right - 44, bottom - 14, right, bottom), 4, fill=(255, 255, 255, 110))
    pen.ellipse((right - 41, bottom - 11, right - 33, bottom - 3), outline=(40, 40, 40, 150), width=2)
    pen.line((right - 29, bottom - 7, right - 5, bottom - 7), fill=(40, 40, 40, 150), width=3)
    return marked


def transform_box(box_px: Box, width: int, height: int, transform: Transform) -> Box:
    """Return a box of the original, ``width`` x ``height`` pixels, in the pixels of its copy."""
    if transform == "resized":
        x, y = round(width * _SCALE) / width, round(height * _SCALE) / height
        return (box_px[0] * x, box_px[1] * y, box_px[2] * x, box_px[3] * y)
    if transform == "cropped":
        left, top = _cropped_px(width), _cropped_px(height)
        right, bottom = width - 2 * left, height - 2 * top
        x1, x2 = (min(max(edge - left, 0), right) for edge in (box_px[0], box_px[2]))
        y1, y2 = (min(max(edge - top, 0), bottom) for edge in (box_px[1], box_px[3]))
        return (x1, y1, x2, y2)
    return box_px


def _cropped_px(side: int) -> int:
    """Return the pixels that are removed at each end, 2 % of the side in total."""
    return max(1, round(side * _CROP / 2))
