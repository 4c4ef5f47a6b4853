"""Rows of results about images that are kept on disk: a killed call resumes, a repeated call does nothing.

Rows depend neither on the order of images nor on thresholds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from twelvefold.schema import TwelvefoldError
from twelvefold.store import atomic_files

Row = TypeVar("Row", bound=msgspec.Struct)


class ResumableRows(Generic[Row]):
    """The rows in a folder, which also stores the steps that compute new rows (see :mod:`twelvefold.store.steps`).

    ``version``: of the code that computed them; rows of another version are ignored.
    """

    def __init__(self, folder: Path, row_type: type[Row], version: str) -> None:
        self._folder, self._version = folder, version
        self._decoder = msgspec.msgpack.Decoder(list[row_type])  # type: ignore[valid-type]
        self.rows: list[Row] = []

    @classmethod
    @contextmanager
    def open(cls, folder: Path, row_type: type[Row], version: str) -> Iterator[ResumableRows[Row]]:
        """Read the rows in ``folder`` and hold its lock for the ``with`` block.

        Raises:
            TwelvefoldError: a file of rows is damaged.
        """
        resumable = cls(folder, row_type, version)
        with atomic_files.lock_folder(folder, wait=True):
            atomic_files.remove_leftovers(folder)
            for path in sorted(folder.glob("*.msgpack")):
                try:
                    row_version, rows = msgspec.msgpack.decode(path.read_bytes(), type=tuple[str, msgspec.Raw])
                    if row_version == version:  # rows of another version may have other fields
                        resumable.rows += resumable._decoder.decode(rows)
                except (OSError, ValueError, RecursionError) as error:
                    raise TwelvefoldError(
                        f"{path} is damaged ({error}): remove it, and it is computed again"
                    ) from error
            yield resumable

    def load(self, _step: str, /) -> None:
        """Return None: a step is a block of items that have no row yet."""

    def save(self, _step: str, rows: Sequence[Row], /) -> None:
        """Append a block of rows and write it to disk."""
        self.rows += rows
        number = sum(1 for _ in self._folder.glob("block-*.msgpack"))
        self._write(self._folder / f"block-{number:05}.msgpack", rows)

    def compact(self, rows: Sequence[Row]) -> None:
        """Replace all rows by ``rows``, in a single file."""
        self.rows = list(rows)
        self._write(self._folder / "all.msgpack", self.rows)
        for path in self._folder.glob("block-*.msgpack"):
            path.unlink()

    def _write(self, path: Path, rows: Sequence[Row]) -> None:
        atomic_files.write_bytes(path, msgspec.msgpack.encode((self._version, rows)))
