"""Open image files as upright RGB arrays.

All of the package opens images here, so that the detector and the search for duplicates get the same pixels.
"""

from __future__ import annotations

import hashlib
import io
import logging
import re
import stat
import struct
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from os import PathLike
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from twelvefold.image_formats import NEVER_OPENED, describe, identify, unsupported
from twelvefold.parsing.file_kind import HEAD_BYTES
from twelvefold.printable import printable_name
from twelvefold.schema import TwelvefoldError, escape_surrogates

MAX_PIXELS = 80_000_000
"""Larger images are refused as decompression bombs; this many pixels are a 240 MB bitmap."""

PILLOW_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error, TypeError)
"""Exceptions that Pillow raises for broken files: its decoders the first four, its EXIF reader the others."""
EXIF_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The operation that makes an image upright, by its EXIF orientation; 1 is upright, others are invalid."""

QUARTER_TURNS = {EXIF_TRANSPOSES[orientation] for orientation in (5, 6, 7, 8)}
"""Operations that exchange width and height."""

URL_START = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+:/|data:")
"""The start of a URL. ``Path`` merges the two slashes into one; a drive letter is a single letter, so it never fits."""

RGB = NDArray[np.uint8]
"""An upright image, (H, W, 3)."""


class ImageError(TwelvefoldError):
    """An image that can't be read: it is missing, truncated, too large, or not an image."""

    def reason(self, path: Path) -> str:
        """Return the message without the name of the file."""
        return str(self).removeprefix(escape_surrogates(str(path))).lstrip(": ")


class TooManyPixelsError(ImageError):
    """An image with more pixels than the limit; only its header was read."""


def open_image(source: Path | bytes, *, max_pixels: int | None = None, formats: tuple[str, ...] | None = None) -> RGB:
    """Return an image as (H, W, 3) uint8 RGB, made upright by its EXIF orientation.

    Gray, palette, transparent (on white), CMYK and 16-bit images are converted. ``max_pixels``: default ``MAX_PIXELS``.
    ``formats``: Pillow's names of the accepted formats; by default all that Pillow reads.

    Raises:
        ImageError: the file can't be read; the message names the file and the reason.
        TooManyPixelsError: the image is too large; nothing was decoded.
    """
    with _open(source, max_pixels, formats) as image:
        image.load()
        return np.asarray(to_rgb_image(apply_exif_orientation(image)))


def image_size(
    source: Path | bytes, *, max_pixels: int | None = None, formats: tuple[str, ...] | None = None
) -> tuple[int, int]:
    """Return width and height from the file's header, without decoding it and without its EXIF orientation.

    Raises:
        ImageError: as :func:`open_image`, if the header shows it.
    """
    with _open(source, max_pixels, formats) as image:
        return image.size


def upright_size(source: Path | bytes) -> tuple[int, int]:
    """Return width and height of the image that :func:`open_image` returns, from the file's header.

    Raises:
        ImageError: as :func:`open_image`, if the header shows it.
    """
    with _open(source, None, None) as image:
        turned = EXIF_TRANSPOSES.get(image.getexif().get(ExifTags.Base.Orientation, 1)) in QUARTER_TURNS
        return image.size[::-1] if turned else image.size


@lru_cache
def _rare_formats() -> tuple[str, ...]:
    """Return the formats that are tried for a file without a known signature (TGA ...)."""
    Image.init()
    return tuple(name for name in Image.ID if name not in NEVER_OPENED)


class _PillowWarnings:
    """Ignores Pillow's warnings inside its ``with`` blocks, in all threads. They never concern the decoded pixels.

    ``warnings.catch_warnings`` alone is not safe in threads: the first that leaves would restore them for the others.
    """

    def __init__(self) -> None:
        self._lock, self._depth, self._stack = Lock(), 0, ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            self._depth += 1
            if self._depth == 1:
                self._stack.enter_context(warnings.catch_warnings())
                warnings.filterwarnings("ignore", module=r"PIL\b")

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._depth -= 1
            if not self._depth:
                self._stack.close()


ignore_pillow_warnings = _PillowWarnings()
logging.getLogger("PIL").addHandler(logging.NullHandler())  # else its warnings go to stderr when nothing is configured


@contextmanager
def _open(source: Path | bytes, max_pixels: int | None, formats: tuple[str, ...] | None) -> Iterator[Image.Image]:
    """Yield the image after reading its header; errors of Pillow inside the block become ImageErrors too."""
    name = str(source) if isinstance(source, Path) else f"image of {len(source)} bytes"
    limit = MAX_PIXELS if max_pixels is None else max_pixels
    try:
        with ExitStack() as stack:
            stack.enter_context(ignore_pillow_warnings)
            stream = open_regular_file(source) if isinstance(source, Path) else io.BytesIO(source)
            file: Any = stack.enter_context(stream)
            head = file.read(HEAD_BYTES)
            image_format = identify(head)
            if image_format is not None and (problem := unsupported(image_format)):
                raise ImageError(f"{name}: {problem}")
            accepted = formats or ((image_format.pillow,) if image_format else _rare_formats())
            image = stack.enter_context(Image.open(file, formats=accepted))
            if image.width * image.height > limit:
                raise TooManyPixelsError(
                    f"{name}: {image.width} x {image.height} pixels are more than {limit:,}; make the image smaller"
                )
            yield image
    except UnidentifiedImageError as error:
        if image_format is None:
            kind = describe(head)
            raise ImageError(f"{name} {kind}" if kind.startswith("is ") else f"{name}: {kind}") from error
        if formats is not None and image_format.pillow not in formats:
            raise ImageError(f"{name}: not an image in a format among {', '.join(formats)}") from error
        raise ImageError(f"{name}: can't be decoded, truncated or damaged ({image_format.name})") from error
    except Image.DecompressionBombError as error:
        raise TooManyPixelsError(f"{name}: more pixels than any image may have ({error})") from error
    except PILLOW_ERRORS as error:
        raise ImageError(f"{name}: can't be decoded, truncated or damaged ({error})") from error


def open_regular_file(path: Path) -> io.BufferedReader:
    """Open a file for reading. Devices and pipes, which may block forever, are refused.

    Raises:
        ImageError: it is missing, a link to a missing file, a folder, no regular file, or may not be read.
    """
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise ImageError(f"{path}: a folder can't be decoded as an image")
        if not stat.S_ISREG(mode):
            raise ImageError(f"{path}: not a regular file, but a pipe, a socket or a device")
        return path.open("rb")
    except FileNotFoundError as error:
        if path.is_symlink():
            raise ImageError(f"{path}: a link to {path.readlink()}, and there is no such file") from error
        raise ImageError(f"{path}: no such file") from error
    except OSError as error:
        raise ImageError(f"{path}: can't be opened ({error.strerror})") from error
    except ValueError as error:  # a null character, or a surrogate that is no byte of a name
        raise ImageError(f"{path}: no such file, as no file can have this name") from error


def digest_image(path: Path) -> str:
    """Return the xxh3_128 digest of an image file's bytes, 32 hexadecimal digits.

    Raises:
        ImageError: the file can't be read.
    """
    try:
        with open_regular_file(path) as file:
            return hashlib.file_digest(file, xxhash.xxh3_128).hexdigest()
    except OSError as error:
        raise ImageError(f"{path}: can't be read ({error.strerror})") from error


def apply_exif_orientation(image: Image.Image) -> Image.Image:
    """Return the image made upright by its EXIF orientation.

    Unlike Pillow's ``exif_transpose`` it does not rewrite the EXIF data, which fails if any entry is damaged.
    """
    operation = EXIF_TRANSPOSES.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    return image if operation is None else image.transpose(operation)


def to_rgb_image(image: Image.Image) -> Image.Image:
    """Convert an image of any mode to RGB: transparency on white, values of more than 8 bits scaled to 8 bits."""
    if image.mode in ("I", "I;16", "I;16L", "I;16B", "F"):
        values = np.nan_to_num(np.asarray(image, dtype=np.float64)).clip(0.0)
        maximum = values.max(initial=0.0)
        full_scale = 255.0 if maximum <= 255.0 else 65535.0 if maximum <= 65535.0 else maximum
        return Image.fromarray((values * (255.0 / full_scale)).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def to_rgb_array(image: RGB | Image.Image) -> RGB:
    """Return an opened image as (H, W, 3) uint8.

    Raises:
        ImageError: an array with another shape or dtype, or without pixels.
    """
    if isinstance(image, Image.Image):
        with ignore_pillow_warnings:
            image = np.asarray(to_rgb_image(apply_exif_orientation(image)))
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ImageError(f"expected an image (H, W, 3) uint8, got {image.shape} {image.dtype}")
    return image


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
        return image_from_rgb(open_image(path), printable_name(path.name))
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
    pixels = xxhash.xxh3_128_hexdigest(rgb.data.cast("B"))  # without a copy: an image can have tens of megabytes
    return InputImage(rgb, width, height, xxhash.xxh3_128_hexdigest(f"{width}x{height}:{pixels}".encode()), name)


def _rgb_from_pil(image: Image.Image) -> RGB:
    if not image.width or not image.height:
        raise ImageError(f"an image needs at least one pixel, got {image.width} x {image.height}")
    if image.width * image.height > MAX_PIXELS:
        size = f"{image.width} x {image.height}"
        raise ImageError(f"an image has at most {MAX_PIXELS:,} pixels, got {size}; scale it down")
    try:
        with ignore_pillow_warnings:
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
