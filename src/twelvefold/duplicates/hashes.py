"""Describe an image file by a few numbers: a digest of its pixels and two perceptual hashes.

Files that store the same pixels in another format have the same digest. Copies that were resized, compressed or
brightened have hashes that differ in a few bits. The two hashes describe different things, low frequencies (pHash) and
gradients (dHash), so different images that agree in one by chance seldom agree in both. Paper: section 2.2 compares ids
only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

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


class ImageFingerprint(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What is known of one image file.

    ``key``, ``num_bytes``, ``modified_ns``: identify the file and its state. ``pixels_digest``: of the upright RGB
    pixels. ``phash``, ``dhash``: 64 bits each. ``contrast``: standard deviation of the gray levels at 32 x 32 pixels.
    ``problem``: why the file cannot be read; the fields after ``modified_ns`` are then empty.
    """

    key: str
    num_bytes: int
    modified_ns: int
    pixels_digest: str = ""
    width: int = 0
    height: int = 0
    phash: int = 0
    dhash: int = 0
    contrast: float = 0.0
    problem: str = ""


def fingerprint_files(
    images: Mapping[ImageKey, Path], cache_dir: Path, *, processes: int = 1
) -> dict[ImageKey, ImageFingerprint]:
    """Return the fingerprint of every image, in the order of ``images``. Unreadable images state their ``problem``.

    ``cache_dir`` keeps the fingerprints of files whose size and modification time do not change.
    """
    result: dict[ImageKey, ImageFingerprint] = {}
    todo: list[tuple[ImageFingerprint, Path]] = []
    with ResumableRows.open(cache_dir, ImageFingerprint, hash_version()) as cache:
        cached = {(row.key, row.num_bytes, row.modified_ns): row for row in cache.rows}
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
    return ImageFingerprint(
        key,
        num_bytes,
        modified_ns,
        atomic_files.digest_bytes(f"{width}x{height}:".encode() + pixels.tobytes()),
        width,
        height,
        _as_integer(imagehash.phash(gray)),
        _as_integer(imagehash.dhash(gray)),
        float(np.asarray(gray.resize((32, 32), Image.Resampling.BOX), dtype=np.float64).std()),
    )


def _file_state(key: ImageKey, path: Path) -> ImageFingerprint:
    """Return what can be known without opening the file. The size is -1 where the file cannot be found."""
    try:
        info = path.stat()
    except OSError as error:
        return ImageFingerprint(str(key), -1, -1, problem=error.strerror or str(error))
    return ImageFingerprint(str(key), info.st_size, info.st_mtime_ns)


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
    return "1 " + " ".join(f"{name} {version(name)}" for name in ("imagehash", "pillow"))
