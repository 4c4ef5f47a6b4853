"""Pictures in: any file that a photograph comes in becomes upright RGB, or an error that says why not.

The one place that opens pictures: the detector looks at what it gives, and splits compare it. Paper: section 2.1.
"""

from __future__ import annotations

import io
import os
import struct
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
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
