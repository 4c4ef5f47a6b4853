"""Input images: a path, the bytes of a file, a PIL image or an array. Addresses on the network are refused."""

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

URL_START = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+:/|data:")
"""The start of a URL. ``Path`` merges the two slashes into one; a drive letter is a single letter, so it never fits."""


@dataclass(frozen=True, slots=True, eq=False)
class InputImage:
    """An opened image.

    rgb: (height, width, 3) uint8, after EXIF orientation. digest: of the pixels, so the same image from a file and from
    an array has the same digest. name: the name of its file, empty if there is none.
    """

    rgb: RGB = field(repr=False)
    width: int
    height: int
    digest: str
    name: str = ""


ImageSource = InputImage | str | PathLike[str] | bytes | Image.Image | NDArray[Any]
"""What :func:`load_image` opens."""


def load_image(source: ImageSource) -> InputImage:
    """Open a path, the bytes of a file, a PIL image or an array.

    Arrays are (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), uint8 or floats in 0..1; the fourth channel is opacity.

    Raises:
        ImageError: a URL, a missing file, bytes that are no image, or an array of another shape or dtype.
    """
    if isinstance(source, InputImage):
        return source
    if isinstance(source, (str, PathLike)) and URL_START.match(str(source)):
        raise ImageError(
            f"{str(source)[:80]} is an address, and images are never downloaded: save it and give its path"
        )
    if isinstance(source, (str, PathLike)):
        path = Path(source)
        return image_from_rgb(open_image(path), path.name)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return image_from_rgb(open_image(bytes(source)))
    if isinstance(source, Image.Image):
        return image_from_rgb(_rgb_from_pil(source))
    if isinstance(source, np.ndarray):
        return image_from_rgb(_rgb_from_array(source))
    raise ImageError(f"an image is a path, bytes, a PIL image or a numpy array, got {type(source).__name__}")


def image_from_rgb(rgb: RGB, name: str = "") -> InputImage:
    """Wrap pixels that are upright RGB already, as ``open_image`` returns them."""
    rgb = np.ascontiguousarray(rgb)
    height, width = rgb.shape[:2]
    pixels = digest_bytes(rgb.data.cast("B"))  # without a copy: a photograph has tens of megabytes
    return InputImage(rgb, width, height, digest_bytes(f"{width}x{height}:{pixels}".encode()), name)


def _rgb_from_pil(image: Image.Image) -> RGB:
    if not image.width or not image.height:
        raise ImageError(f"an image needs at least one pixel, got {image.width} x {image.height}")
    if image.width * image.height > MAX_PIXELS:
        size = f"{image.width} x {image.height}"
        raise ImageError(f"an image has at most {MAX_PIXELS:,} pixels, got {size}; scale it down")
    try:
        return np.asarray(to_rgb_image(apply_exif_orientation(image)))
    except PILLOW_ERRORS as error:
        raise ImageError(f"cannot decode the PIL image: {error}") from error


def _rgb_from_array(array: NDArray[Any]) -> RGB:
    shape = array.shape
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or 0 in shape:
        advice = "; channels come last" if array.ndim == 3 and shape[0] in (1, 3, 4) else ""
        raise ImageError(f"an image array is (H, W), (H, W, 3) or (H, W, 4), got {shape}{advice}")
    if np.issubdtype(array.dtype, np.floating):
        low, high = float(array.min()), float(array.max())
        if not (low >= 0.0 and high <= 1.0):
            raise ImageError(f"floats of an image are from 0 to 1, got {low:g} to {high:g}; use uint8 for 0 to 255")
        array = np.rint(array * 255.0).astype(np.uint8)
    if array.dtype != np.uint8:
        raise ImageError(f"an image array is uint8, or floats from 0 to 1, got {array.dtype}")
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[array.shape[2]]
    return _rgb_from_pil(Image.fromarray(np.ascontiguousarray(array.squeeze(2) if mode == "L" else array), mode))
