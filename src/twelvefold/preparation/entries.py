"""What each step of a preparation made, in ``made/<step>.json`` of the prepared folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from twelvefold.store.prepared import ExampleCounts, FileEntry
from twelvefold.store.steps import StepCache


class Entry(msgspec.Struct):
    """The result of a step: the digest of its inputs, its files by role, counts of examples, malformed records.

    ``other_sizes``: images of another size than the annotations state, with both sizes. ``scaled``: resized copies
    whose boxes are scaled. ``notes``: about unusual records that are used.
    """

    digest: str
    files: dict[str, FileEntry] = {}
    counts: ExampleCounts = ExampleCounts()
    problems: list[str] = []
    other_sizes: dict[str, str] = {}
    scaled: list[str] = []
    notes: list[str] = []

    def is_complete(self, folder: Path) -> bool:
        """Return whether all files of the step are in the folder, with their sizes."""
        sizes = [(folder / file.file, file.file_bytes) for file in self.files.values()]
        return all(path.exists() and path.stat().st_size == size for path, size in sizes)


def entry_cache(folder: Path, digests: Mapping[str, str]) -> StepCache[Entry]:
    """Return the entries of a prepared folder. ``digests``: by step, of its current inputs."""
    return StepCache(
        folder / "made", Entry, lambda step, entry: entry.digest == digests[step] and entry.is_complete(folder)
    )


def file_entry(folder: Path, file: str, count: int, digest: str) -> FileEntry:
    """Return the entry of a file of the folder that has just been written."""
    return FileEntry(file, (folder / file).stat().st_size, count, digest)
