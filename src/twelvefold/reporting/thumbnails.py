"""Images for a page: small JPEGs inside the page itself, with boxes to draw over them. Paper: Fig. 3."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image

from twelvefold.images import ImageError, open_image
from twelvefold.schema import Box, ImageKey, Size

MAX_SIDE = 320
"""Longest side on the page, in pixels; smaller images keep their size."""

MAX_BYTES = 28_000
"""Size of one JPEG: with four examples of each of twelve tasks, the page is smaller than 4 MB."""

QUALITIES = (85, 70, 55, 40, 25)
"""JPEG qualities, tried in turn until the image is small enough."""

Role = Literal["model", "truth", "candidate"]


@dataclass(frozen=True, slots=True)
class BoxOverlay:
    """A box over an image, in pixels of the original image, and what it shows."""

    role: Role
    x: float
    y: float
    width: float
    height: float

    @classmethod
    def from_box(cls, box_px: Box, role: Role) -> BoxOverlay:
        x1, y1, x2, y2 = (round(side, 1) for side in box_px)
        return cls(role, x1, y1, round(x2 - x1, 1), round(y2 - y1, 1))


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """An image on a page.

    uri: a data URI; empty if there is no image, and ``alt`` then says why. width, height: of the original image, made
    upright, in the pixels of the boxes. is_true: the right image of a retrieval example.
    """

    uri: str
    width: int
    height: int
    alt: str
    caption: str = ""
    is_true: bool = False
    boxes: tuple[BoxOverlay, ...] = ()


class Thumbnails:
    """Make thumbnails of the images of a data folder."""

    def __init__(self, paths: Mapping[ImageKey, Path]) -> None:
        self._paths = paths

    def make(
        self,
        key: ImageKey,
        alt: str,
        *,
        caption: str = "",
        is_true: bool = False,
        boxes: tuple[BoxOverlay, ...] = (),
        size: Size | None = None,
    ) -> Thumbnail:
        """Return the image of that key; without an image if the file is missing or can't be read.

        ``size``: width and height of the image that ``boxes`` refer to, if the file may be a resized copy of it.
        """
        path = self._paths.get(key)
        if path is None:
            return Thumbnail("", 4, 3, f"The image {key} is not in the data folder.", caption, is_true)
        try:
            rgb = open_image(path)
        except ImageError as error:
            return Thumbnail("", 4, 3, f"The image {key} can't be read: {error}.", caption, is_true)
        uri = "data:image/jpeg;base64," + base64.b64encode(_small_jpeg(Image.fromarray(rgb))).decode()
        width, height = size or (rgb.shape[1], rgb.shape[0])
        return Thumbnail(uri, width, height, alt, caption, is_true, boxes)


def _small_jpeg(image: Image.Image) -> bytes:
    """Return a JPEG of at most ``MAX_BYTES``: the best quality that fits, at a smaller size if none does."""
    side = MAX_SIDE
    while True:
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
        for quality in QUALITIES:
            out = io.BytesIO()
            image.save(out, "JPEG", quality=quality, optimize=True)
            if out.tell() <= MAX_BYTES:
                return out.getvalue()
        side = side * 2 // 3
