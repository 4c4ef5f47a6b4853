"""Remember what the headers of a data folder's image files say, so that a repeated command opens only changed files.

A file is known by its inode, its size and the time of its last change of any kind, which a copy with an old date cannot
set back.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path

import msgspec

from twelvefold.datasets.reading.image_files import ImageFiles, scan_image_files
from twelvefold.image_folder import FileState, file_state
from twelvefold.images import upright_size
from twelvefold.schema import Size
from twelvefold.store import atomic_files

CACHE = "image_headers.msgpack"
"""The file in the folder of a cache."""
_VERSION = f"1 pillow {version('pillow')}"


class _Cache(msgspec.Struct, frozen=True):
    """``sizes``: of the upright image by the state of its file, None where only the first bytes were read."""

    version: str
    sizes: dict[FileState, Size | None]


class ImageHeaders:
    """The image files of a data folder. Those that were images before, and have not changed, are not opened."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._sizes: dict[FileState, Size | None] = {}

    @classmethod
    @contextmanager
    def open(cls, root: Path, cache_dir: Path) -> Iterator[ImageHeaders]:
        """Read what ``cache_dir`` has about files, and write what is new at the end of the ``with`` block.

        A cache that cannot be read or has another version is ignored.
        """
        headers, path = cls(root), cache_dir / CACHE
        with suppress(OSError, ValueError, RecursionError):
            cache = msgspec.msgpack.decode(path.read_bytes(), type=_Cache)
            if cache.version == _VERSION:
                headers._sizes = cache.sizes
        before = dict(headers._sizes)
        yield headers
        if headers._sizes != before:
            cache_dir.mkdir(parents=True, exist_ok=True)
            atomic_files.write_bytes(path, msgspec.msgpack.encode(_Cache(_VERSION, headers._sizes)))

    def scan(self) -> ImageFiles:
        """Return :func:`scan_image_files`, and forget files that are gone or have changed.

        Raises:
            TwelvefoldError: as that function.
        """
        content = scan_image_files(self._root, self._sizes.keys())
        unreadable = {content.files[key] for key in content.files if str(key) in content.unreadable}
        states = (file_state(path) for path in content.files.values() if path not in unreadable)
        self._sizes = {state: self._sizes.get(state) for state in states if state is not None}
        return content

    def size(self, path: Path) -> Size:
        """Return the size of an upright image.

        Raises:
            ImageError: its header cannot be read.
        """
        state = file_state(path)
        known = None if state is None else self._sizes.get(state)
        size = known or upright_size(path)
        if state is not None:
            self._sizes[state] = size
        return size
