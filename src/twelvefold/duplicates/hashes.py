"""Describe an image file by a few numbers: a digest of its pixels, perceptual hashes, and how much detail it has.

Files that store the same pixels in another format have the same digest. Copies that were resized, compressed or
brightened have hashes that differ in a few bits. The two hashes describe different things, low frequencies (pHash) and
gradients (dHash), so different images that agree in one by chance seldom agree in both. They are also taken of the
image's center and of its mirror image, for copies that were cropped or mirrored. Paper: section 2.2; the
original project compares ids only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import imagehash
import msgspec
import numpy as np
from PIL import Image

from twelvefold.images import RGB, ImageError, open_image
from twelvefold.schema import ImageKey
from twelvefold.store import atomic_files
from twelvefold.store.resumable import ResumableRows
from twelvefold.store.steps import block_steps, run_steps

BLOCK_SIZE = 256
"""Images in a block: one or two seconds of work, which is the most that a kill loses."""
CENTER_FRACTION = 0.92
"""Fraction of the sides of the center that is hashed too. Hashes bear about 5 % less or more: copies without the outer
10 % have nearly the hashes of this center."""
_HASH_SIDE = 160
"""Most pixels of a side from which hashes are computed; they have 32 x 32 and 9 x 8 pixels themselves."""
_DETAIL_SIDE, _DETAIL_CELLS, _DETAIL_BLUR_PX, _DETAIL_LEVELS = 128, 8, 1.5, 0.5
"""Detail is measured at this long side, in 8 x 8 cells. A cell has detail if the median pixel differs from its
surroundings by half a level: texture does, and flat areas with lines between them do not."""
_WHITE_LEVEL = 250.0
"""A cell is white if its median gray level is at least this."""
_MIN_CONTRAST = 4.0
"""Images whose gray levels at 32 x 32 pixels have a lower standard deviation (of 255) show nothing: blank pages, black
frames."""


class HashPair(NamedTuple):
    """The two perceptual hashes of an image, 64 bits each."""

    phash: int
    dhash: int


_NO_HASH = HashPair(0, 0)


class ImageFingerprint(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What is known of one image file.

    ``key``, ``num_bytes``, ``modified_ns``: identify the file and its state; the time is that of the last change of
    any kind (``st_ctime_ns``), which a copy with an old date cannot set back. ``pixels_digest``: of the upright RGB
    pixels. ``hashes``: of the whole image, its center and its mirror image. ``detail``: the fraction of the image
    that has texture, 0..1; 0 for blank images. ``white``: the fraction that is white, where more light may have hidden
    texture. ``problem``: why the file cannot be read; the fields after
    ``modified_ns`` are then empty.
    """

    key: str
    num_bytes: int
    modified_ns: int
    pixels_digest: str = ""
    width: int = 0
    height: int = 0
    hashes: tuple[HashPair, HashPair, HashPair] = (_NO_HASH, _NO_HASH, _NO_HASH)
    detail: float = 0.0
    white: float = 0.0
    problem: str = ""


def fingerprint_files(
    images: Mapping[ImageKey, Path], cache_dir: Path, *, processes: int = 1
) -> dict[ImageKey, ImageFingerprint]:
    """Return the fingerprint of every image, in the order of ``images``. Unreadable images state their ``problem``.

    ``cache_dir`` keeps the fingerprints of files whose size and time of change do not differ.
    """
    result: dict[ImageKey, ImageFingerprint] = {}
    todo: list[tuple[ImageFingerprint, Path]] = []
    with ResumableRows.open(cache_dir, ImageFingerprint, hash_version()) as cache:
        # An unreadable image is opened again: a package that reads its format may have been installed since.
        cached = {(row.key, row.num_bytes, row.modified_ns): row for row in cache.rows if not row.problem}
        for key, path in images.items():
            blank = _file_state(key, path)
            known = cached.get((blank.key, blank.num_bytes, blank.modified_ns))
            if known is None and not blank.problem:
                todo.append((blank, path))
            result[key] = known or blank
        if todo:
            steps = block_steps(todo, BLOCK_SIZE)
            run_steps(_fingerprint_block, steps, store=cache, description="images hashed", processes=processes)
            new = {row.key: row for row in cache.rows[-len(todo) :]}
            result = {key: new.get(row.key, row) for key, row in result.items()}
            requested = {str(key) for key in result}
            others = {row.key: row for row in cache.rows if row.key not in requested}
            cache.compact([*others.values(), *(row for row in result.values() if row.num_bytes >= 0)])
    return result


def fingerprint_image(pixels: RGB, key: str = "", num_bytes: int = 0, modified_ns: int = 0) -> ImageFingerprint:
    """Return the fingerprint of a decoded image (H, W, 3)."""
    height, width = pixels.shape[:2]
    gray = Image.fromarray(pixels).convert("L")
    small = gray.copy()
    small.thumbnail((_HASH_SIDE, _HASH_SIDE), Image.Resampling.LANCZOS, reducing_gap=3.0)  # as the hashes themselves
    left, top = ((1 - CENTER_FRACTION) / 2 * side for side in small.size)
    center = small.resize(small.size, Image.Resampling.BILINEAR, (left, top, small.width - left, small.height - top))
    mirrored = small.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return ImageFingerprint(
        key,
        num_bytes,
        modified_ns,
        atomic_files.digest_bytes(f"{width}x{height}:".encode() + pixels.tobytes()),
        width,
        height,
        (_hash_image(small), _hash_image(center), _hash_image(mirrored)),
        *_measure_detail(gray),
    )


def _hash_image(gray: Image.Image) -> HashPair:
    return HashPair(_as_integer(imagehash.phash(gray)), _as_integer(imagehash.dhash(gray)))


def _measure_detail(gray: Image.Image) -> tuple[float, float]:
    """Return the fraction of cells that have detail, 0 for images without contrast, and of cells that are white."""
    from scipy.ndimage import gaussian_filter  # costs half a second to import, and evidence by ids does not need it

    if np.asarray(gray.resize((32, 32), Image.Resampling.BOX), dtype=np.float64).std() < _MIN_CONTRAST:
        return 0.0, 0.0
    gray = gray.copy()
    gray.thumbnail((_DETAIL_SIDE, _DETAIL_SIDE), Image.Resampling.BOX)
    levels = np.asarray(gray, dtype=np.float32)
    height, width = (side // _DETAIL_CELLS for side in levels.shape)
    if not height or not width:
        return 0.0, 0.0
    difference = np.abs(levels - gaussian_filter(levels, _DETAIL_BLUR_PX))
    shape = (_DETAIL_CELLS, height, _DETAIL_CELLS, width)
    differences, brightness = (
        np.median(each[: height * _DETAIL_CELLS, : width * _DETAIL_CELLS].reshape(shape), axis=(1, 3))
        for each in (difference, levels)
    )
    return float((differences > _DETAIL_LEVELS).mean()), float((brightness >= _WHITE_LEVEL).mean())


def _file_state(key: ImageKey, path: Path) -> ImageFingerprint:
    """Return what can be known without opening the file. The size is -1 where the file cannot be found."""
    try:
        info = path.stat()
    except OSError as error:
        return ImageFingerprint(str(key), -1, -1, problem=error.strerror or str(error))
    return ImageFingerprint(str(key), info.st_size, info.st_ctime_ns)


def _fingerprint_block(block: Sequence[tuple[ImageFingerprint, Path]]) -> list[ImageFingerprint]:
    return [_fingerprint_file(blank, path) for blank, path in block]


def _fingerprint_file(blank: ImageFingerprint, path: Path) -> ImageFingerprint:
    try:
        pixels = open_image(path)
    except ImageError as error:
        return msgspec.structs.replace(blank, problem=error.reason(path))
    return fingerprint_image(pixels, blank.key, blank.num_bytes, blank.modified_ns)


def _as_integer(bits: imagehash.ImageHash) -> int:
    return int.from_bytes(np.packbits(bits.hash.ravel()).tobytes())


def hash_version() -> str:
    """Return the version of the fingerprints: hashes depend on how images are decoded and scaled."""
    return "3 " + " ".join(f"{name} {version(name)}" for name in ("imagehash", "pillow"))
