"""Store the predictions of each part of a task as soon as it is scored, so that a killed evaluation resumes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from twelvefold.evaluation.score import PartResult
from twelvefold.schema import TwelvefoldError
from twelvefold.store import atomic_files

_DECODER = msgspec.msgpack.Decoder(PartResult)


class PartStore:
    """Parts of one task as files ``folder/parts-DIGEST/TASK/START-STOP.msgpack``, until the task is scored.

    ``digest``: of all that the predictions depend on. Parts with another digest are never read.
    """

    def __init__(self, folder: Path, digest: str, task: str) -> None:
        self.folder = folder / f"parts-{digest[:16]}" / task

    def __contains__(self, rows: range) -> bool:
        return self._path(rows).exists()

    def save(self, rows: range, result: PartResult) -> None:
        """Write the predictions of a part, atomically."""
        atomic_files.write_bytes(self._path(rows), msgspec.msgpack.encode(result))

    def load(self, rows: range) -> PartResult:
        """Read the predictions of a part.

        Raises:
            TwelvefoldError: the file is missing or damaged.
        """
        path = self._path(rows)
        try:
            result = _DECODER.decode(path.read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            raise TwelvefoldError(f"{path} is damaged ({error}): remove it, and evaluate again") from error
        if len(result.records) != len(rows):
            raise TwelvefoldError(f"{path} has {len(result.records)} predictions, expected {len(rows)}: remove it")
        return result

    def remove(self) -> None:
        """Remove the task's parts, and their folder if no other task has any."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(OSError):
            self.folder.parent.rmdir()

    def _path(self, rows: range) -> Path:
        return self.folder / f"{rows.start:08}-{rows.stop:08}.msgpack"


class StoredParts:
    """All parts of a task in order, read one after the other each time they are iterated."""

    def __init__(self, store: PartStore, parts: Sequence[range]) -> None:
        self.store, self.parts = store, parts

    def __iter__(self) -> Iterator[PartResult]:
        return (self.store.load(rows) for rows in self.parts)


def remove_other_parts(folder: Path, digest: str) -> None:
    """Remove parts with another digest: of other weights, data or limits. Call it while holding the folder's lock."""
    for path in folder.glob("parts-*"):
        if path.name != f"parts-{digest[:16]}":
            shutil.rmtree(path, ignore_errors=True)
