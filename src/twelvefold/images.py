"""Pictures in: any file that a photograph comes in becomes upright RGB, or an error that says why not.

The one place that opens pictures: the detector looks at what it gives, and splits compare it. Paper: section 2.1.
"""

from __future__ import annotations

import io
import os
import re
import struct
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from twelvefold.schema import TwelvefoldError

MAX_PIXELS = 80_000_000
"""Most pixels of a picture that is decoded: a 240 MB bitmap. Larger ones are taken for decompression bombs."""

PILLOW_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error, TypeError)
"""What Pillow raises on broken files: its decoders the first four, its reader of EXIF the others."""
EXIF_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes a picture upright, by its EXIF orientation; 1 is upright, other numbers mean nothing."""

IMAGE_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff"))
"""Suffixes of the image files in a folder of images."""

URL_START = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+:/|data:")
"""The start of a URL. ``Path`` merges the two slashes into one; a drive letter is a single letter, so it never fits."""

RGB = NDArray[np.uint8]
"""(H, W, 3), upright."""


class ImageError(TwelvefoldError):
    """A picture that can't be read: missing, truncated, too large, or no picture at all."""


class TooManyPixelsError(ImageError):
    """A picture of more pixels than are decoded; nothing but its header was read."""


def open_image(source: Path | bytes, *, max_pixels: int | None = None, formats: tuple[str, ...] | None = None) -> RGB:
    """The picture as (H, W, 3) uint8 RGB, turned upright by its EXIF orientation.

    Grey, palette, transparent (laid on white), CMYK and 16-bit pictures are converted. ``max_pixels``: ``MAX_PIXELS``
    where left out. ``formats``: Pillow's names of those that are read; all that Pillow knows where left out.

    Raises: ImageError, naming the file and the reason; TooManyPixelsError before anything is decoded.
    """
    with _opened(source, max_pixels, formats) as picture:
        picture.load()
        return np.asarray(to_rgb_image(apply_exif_orientation(picture)))


def image_size(
    source: Path | bytes, *, max_pixels: int | None = None, formats: tuple[str, ...] | None = None
) -> tuple[int, int]:
    """Width and height as the file's header has them, nothing decoded.

    Raises: ImageError, as :func:`open_image` does, where the header tells.
    """
    with _opened(source, max_pixels, formats) as picture:
        return picture.size


@contextmanager
def _opened(source: Path | bytes, max_pixels: int | None, formats: tuple[str, ...] | None) -> Iterator[Image.Image]:
    """The picture, its header read; what goes wrong with it inside the block is a ImageError too."""
    name = str(source) if isinstance(source, Path) else f"picture of {len(source)} bytes"
    most = MAX_PIXELS if max_pixels is None else max_pixels
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", Image.DecompressionBombWarning
            )  # our own limit is lower than Pillow's error
            with Image.open(source if isinstance(source, Path) else io.BytesIO(source), formats=formats) as picture:
                if picture.width * picture.height > most:
                    size = f"{picture.width} x {picture.height}"
                    advice = "make the picture smaller"
                    raise TooManyPixelsError(f"{name}: {size} pixels are more than {most:,}; {advice}")
                yield picture
    except FileNotFoundError as error:
        raise ImageError(f"{name}: no such file") from error
    except UnidentifiedImageError as error:
        known = "that Pillow knows" if formats is None else f"among {', '.join(formats)}"
        raise ImageError(f"{name}: not a picture in a format {known}") from error
    except Image.DecompressionBombError as error:
        raise TooManyPixelsError(f"{name}: larger than any picture that is read ({error})") from error
    except PILLOW_ERRORS as error:
        raise ImageError(f"{name}: can't be decoded, truncated or damaged ({error})") from error


def apply_exif_orientation(picture: Image.Image) -> Image.Image:
    """The picture turned as its EXIF orientation says.

    Not Pillow's ``exif_transpose``: it writes the whole EXIF anew, and so fails where any entry of it is damaged.
    """
    turn = EXIF_TRANSPOSES.get(picture.getexif().get(ExifTags.Base.Orientation, 1))
    return picture if turn is None else picture.transpose(turn)


def to_rgb_image(picture: Image.Image) -> Image.Image:
    """RGB, whatever the mode: transparency on white, numbers of more than 8 bits brought to 8."""
    if picture.mode in ("I", "I;16", "I;16L", "I;16B", "F"):
        values = np.nan_to_num(np.asarray(picture, dtype=np.float64)).clip(0.0)
        top = values.max(initial=0.0)
        full = 255.0 if top <= 255.0 else 65535.0 if top <= 65535.0 else top
        return Image.fromarray((values * (255.0 / full)).astype(np.uint8)).convert("RGB")
    if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        rgba = picture.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return picture.convert("RGB")


def to_rgb_array(image: RGB | Image.Image) -> RGB:
    """Return an opened image as (H, W, 3) uint8.

    Raises:
        ImageError: an array with another shape or dtype, or without pixels.
    """
    if isinstance(image, Image.Image):
        image = np.asarray(to_rgb_image(apply_exif_orientation(image)))
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ImageError(f"expected an image (H, W, 3) uint8, got {image.shape} {image.dtype}")
    return image


def walk_images(folder: Path, suffixes: Collection[str] = IMAGE_SUFFIXES) -> Iterator[Path]:
    """Yield the image files in a folder, at any depth, sorted within each folder; hidden ones are skipped."""
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if Path(name).suffix.lower() in suffixes and not name.startswith("."):
                yield Path(parent, name)


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
    pixels = xxhash.xxh3_128_hexdigest(rgb.data.cast("B"))  # without a copy: a photograph has tens of megabytes
    return InputImage(rgb, width, height, xxhash.xxh3_128_hexdigest(f"{width}x{height}:{pixels}".encode()), name)


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
