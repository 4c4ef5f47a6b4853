"""Pictures as people have them: a path, bytes, a PIL picture or an array, never an address on the network."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from twelvefold.images import (
    MAX_PIXELS,
    PILLOW_ERRORS,
    RGB,
    ImageError,
    apply_exif_orientation,
    open_image,
    to_rgb_image,
)
from twelvefold.store.atomic_files import digest_bytes

ADDRESS = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+:/|data:")
"""How addresses begin (``Path`` leaves one slash of two); a drive letter is one letter."""


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """An open picture: ``rgb`` (height, width, 3) uint8, upright. ``digest`` is of its pixels, so that the same
    photograph from a file and from an array is one. ``name``: the file it came from, empty where there was none."""

    rgb: RGB = field(repr=False)
    width: int
    height: int
    digest: str
    name: str = ""


Source = Picture | str | PathLike[str] | bytes | Image.Image | NDArray[Any]
"""What :func:`picture` opens."""


def picture(source: Source) -> Picture:
    """The picture of a path, the bytes of a file, a PIL picture or an array.

    Arrays are (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), uint8 or floats from 0 to 1; the fourth channel is opacity.

    Raises:
        ImageError: an address, no such file, no picture in it, or an array of another shape or type.
    """
    if isinstance(source, Picture):
        return source
    if isinstance(source, (str, PathLike)) and ADDRESS.match(str(source)):
        raise ImageError(f"{str(source)[:80]} is an address; pictures are never fetched: save it, and give the file")
    if isinstance(source, (str, PathLike)):
        path = Path(source)
        return of_rgb(open_image(path), path.name)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return of_rgb(open_image(bytes(source)))
    if isinstance(source, Image.Image):
        return of_rgb(_from_pil(source))
    if isinstance(source, np.ndarray):
        return of_rgb(_from_array(source))
    raise ImageError(f"a picture is a path, bytes, a PIL picture or a numpy array, got {type(source).__name__}")


def of_rgb(rgb: RGB, name: str = "") -> Picture:
    """The picture of pixels that are upright RGB already, as ``open_image`` gives them."""
    rgb = np.ascontiguousarray(rgb)
    height, width = rgb.shape[:2]
    shown = digest_bytes(rgb.data.cast("B"))  # no copy: a photograph has tens of megabytes
    return Picture(rgb, width, height, digest_bytes(f"{width}x{height}:{shown}".encode()), name)


def _from_pil(image: Image.Image) -> RGB:
    if not image.width or not image.height:
        raise ImageError(f"a picture needs a pixel at least, got {image.width} x {image.height}")
    if image.width * image.height > MAX_PIXELS:
        size = f"{image.width} x {image.height}"
        raise ImageError(f"{size} pixels are more than {MAX_PIXELS:,}; make the picture smaller")
    try:
        return np.asarray(to_rgb_image(apply_exif_orientation(image)))
    except PILLOW_ERRORS as error:
        raise ImageError(f"the PIL picture can't be decoded: {error}") from error


def _from_array(array: NDArray[Any]) -> RGB:
    shape = array.shape
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or 0 in shape:
        advice = "; channels come last" if array.ndim == 3 and shape[0] in (1, 3, 4) else ""
        raise ImageError(f"an array of a picture is (H, W), (H, W, 3) or (H, W, 4), got {shape}{advice}")
    if np.issubdtype(array.dtype, np.floating):
        least, most = float(array.min()), float(array.max())
        if not (least >= 0.0 and most <= 1.0):
            raise ImageError(f"floats of a picture go from 0 to 1, got {least:g} to {most:g}; give uint8 for 0 to 255")
        array = np.rint(array * 255.0).astype(np.uint8)
    if array.dtype != np.uint8:
        raise ImageError(f"an array of a picture is uint8, or floats from 0 to 1, got {array.dtype}")
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[array.shape[2]]
    return _from_pil(Image.fromarray(np.ascontiguousarray(array.squeeze(2) if mode == "L" else array), mode))
