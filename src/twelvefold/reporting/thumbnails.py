"""Pictures on a page: small JPEGs inside the page itself, with boxes to be drawn over them. Paper: Fig. 3."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from PIL import Image

from twelvefold.schema import Box, ImageKey

SIDE = 320
"""Longest side on the page, in pixels; smaller pictures stay as they are."""

BYTES = 28_000
"""Most that one picture may take: with four examples of each of twelve tasks, a page of less than 4 MB."""

QUALITIES = (85, 70, 55, 40, 25)
"""Tried in turn until a picture is small enough."""

Role = Literal["model", "truth", "candidate"]


@dataclass(frozen=True, slots=True)
class Drawn:
    """A box over a picture, in the picture's own pixels, and whose it is."""

    role: Role
    x: float
    y: float
    width: float
    height: float

    @classmethod
    def of(cls, box_px: Box, role: Role) -> Drawn:
        x1, y1, x2, y2 = (round(side, 1) for side in box_px)
        return cls(role, x1, y1, round(x2 - x1, 1), round(y2 - y1, 1))


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture to show. ``uri`` is empty where there is none to show, and ``alt`` then says why. ``width`` and
    ``height``: of the original, in pixels."""

    uri: str
    width: int
    height: int
    alt: str
    caption: str = ""
    is_true: bool = False
    boxes: tuple[Drawn, ...] = field(default=())


class Album:
    """The pictures of a data folder, by key, ready for a page."""

    def __init__(self, paths: Mapping[ImageKey, Path]) -> None:
        self._paths = paths

    def show(
        self, key: ImageKey, alt: str, *, caption: str = "", is_true: bool = False, boxes: tuple[Drawn, ...] = ()
    ) -> Picture:
        """The picture of that name; where the file is missing or no picture, a place that says so."""
        path = self._paths.get(key)
        if path is None:
            return Picture("", 4, 3, f"The picture {key} is not in the data folder.", caption, is_true)
        try:
            with Image.open(path) as opened:
                width, height = opened.size
                data = _small(opened.convert("RGB"))
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            return Picture("", 4, 3, f"The picture {key} can't be read: {error}.", caption, is_true)
        uri = "data:image/jpeg;base64," + base64.b64encode(data).decode()
        return Picture(uri, width, height, alt, caption, is_true, boxes)


def _small(image: Image.Image) -> bytes:
    """A JPEG of at most ``BYTES``, of the best quality that allows it; a picture of pure noise is made smaller."""
    side = SIDE
    while True:
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
        for quality in QUALITIES:
            out = io.BytesIO()
            image.save(out, "JPEG", quality=quality, optimize=True)
            if out.tell() <= BYTES:
                return out.getvalue()
        side = side * 2 // 3
