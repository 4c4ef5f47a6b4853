"""What a picture file shows, in a few numbers: a digest of its pixels and two hashes of its looks.

Files that were only wrapped anew have the same pixels. Copies that were scaled, compressed or brightened have hashes
that differ in a few bits. The two hashes look at different things, the picture's broad waves (pHash) and the slopes
between neighbouring places (dHash), so that pictures which agree in one by chance seldom agree in both. Paper: section
2.2 knew ids only.
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
from twelvefold.store.resumable import Notes, in_blocks

BLOCK = 256
"""Pictures in a block: a second or two of work, what a kill costs at most."""


class Fingerprint(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One file: its key, bytes and time of change; then the digest of its upright RGB pixels, width and height, the
    two hashes of 64 bits, and ``detail``, the standard deviation of its levels of grey at 32 x 32. ``problem``: why
    it can't be read, the rest then being empty."""

    key: str
    size: int
    changed_ns: int
    pixels: str = ""
    width: int = 0
    height: int = 0
    waves: int = 0
    slopes: int = 0
    detail: float = 0.0
    problem: str = ""


def fingerprints(pictures: Mapping[ImageKey, Path], notes: Path, *, processes: int = 1) -> dict[ImageKey, Fingerprint]:
    """The fingerprint of every picture, in their order; ``notes``: a folder that remembers those of files whose size
    and time of change stay. Unreadable pictures have a fingerprint that says so."""
    found: dict[ImageKey, Fingerprint] = {}
    todo: list[tuple[Fingerprint, Path]] = []
    with Notes.open(notes, Fingerprint, hashed_by()) as book:
        known = {(noted.key, noted.size, noted.changed_ns): noted for noted in book.rows}
        for key, path in pictures.items():
            blank = _unseen(key, path)
            noted = known.get((blank.key, blank.size, blank.changed_ns))
            if noted is None and not blank.problem:
                todo.append((blank, path))
            found[key] = noted or blank
        if todo:
            in_blocks(_block, todo, BLOCK, book, what="pictures hashed", processes=processes)
            new = {noted.key: noted for noted in book.rows[-len(todo) :]}
            found = {key: new.get(seen.key, seen) for key, seen in found.items()}
            asked = {str(key) for key in found}
            others = {noted.key: noted for noted in book.rows if noted.key not in asked}
            book.settle([*others.values(), *(seen for seen in found.values() if seen.size >= 0)])
    return found


def fingerprint(picture: RGB, key: str = "", size: int = 0, changed_ns: int = 0) -> Fingerprint:
    """The fingerprint of a picture that is open."""
    height, width = picture.shape[:2]
    grey = Image.fromarray(picture).convert("L")
    return Fingerprint(
        key,
        size,
        changed_ns,
        atomic_files.digest_bytes(f"{width}x{height}:".encode() + picture.tobytes()),
        width,
        height,
        _number(imagehash.phash(grey)),
        _number(imagehash.dhash(grey)),
        float(np.asarray(grey.resize((32, 32), Image.Resampling.BOX), dtype=np.float64).std()),
    )


def _unseen(key: ImageKey, path: Path) -> Fingerprint:
    """What can be known without opening the file; a size of -1 where it isn't there."""
    try:
        about = path.stat()
    except OSError as error:
        return Fingerprint(str(key), -1, -1, problem=error.strerror or str(error))
    return Fingerprint(str(key), about.st_size, about.st_mtime_ns)


def _block(work: Sequence[tuple[Fingerprint, Path]]) -> list[Fingerprint]:
    return [_seen(blank, path) for blank, path in work]


def _seen(blank: Fingerprint, path: Path) -> Fingerprint:
    try:
        picture = open_image(path)
    except ImageError as error:
        return msgspec.structs.replace(blank, problem=str(error).removeprefix(f"{path}: "))
    return fingerprint(picture, blank.key, blank.size, blank.changed_ns)


def _number(bits: imagehash.ImageHash) -> int:
    return int.from_bytes(np.packbits(bits.hash.ravel()).tobytes())


def hashed_by() -> str:
    """The version of what is found here: hashes depend on how pictures are decoded and scaled."""
    return "1 " + " ".join(f"{name} {version(name)}" for name in ("imagehash", "pillow"))
