"""Remember which steps of a folder are done, and from which inputs.

Each step has an entry ``made/<step>.json`` with the digest of its inputs. A step whose entry has the same digest, and
whose files are complete, need not be run again.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from twelvefold.schema import TwelvefoldError
from twelvefold.store import atomic_files
from twelvefold.store.prepared import ExampleCounts, FileEntry


class Entry(msgspec.Struct):
    """The result of one step: the digest of its inputs, its files by role, counts of examples, malformed records."""

    digest: str
    files: dict[str, FileEntry] = {}
    counts: ExampleCounts = ExampleCounts()
    problems: list[str] = []


class StepCache:
    """The entries of a folder. An entry is written last, so a killed process leaves a step undone, never half done."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def find(self, step: str, digest: str) -> Entry | None:
        """Return the entry of a step if its inputs had that digest and its files are complete, else None."""
        path = self._entry_path(step)
        if not path.exists():
            return None
        try:
            entry = msgspec.convert(atomic_files.read_json(path), Entry)
        except (msgspec.ValidationError, TwelvefoldError):
            return None  # an unreadable entry: the step is run again
        if entry.digest != digest:
            return None
        sizes = [(self.folder / file.file, file.file_bytes) for file in entry.files.values()]
        return entry if all(path.exists() and path.stat().st_size == size for path, size in sizes) else None

    def save(self, step: str, entry: Entry) -> Entry:
        """Write the entry of a step whose files are written, and return it."""
        atomic_files.write_json(self._entry_path(step), msgspec.to_builtins(entry))
        return entry

    def file_entry(self, file: str, count: int, digest: str) -> FileEntry:
        """Return the entry of a file of the folder that has just been written."""
        return FileEntry(file, (self.folder / file).stat().st_size, count, digest)

    def remove_leftovers(self) -> None:
        """Remove temporary files of killed processes; call it while holding the folder's lock."""
        atomic_files.remove_leftovers(self.folder)
        for child in self.folder.iterdir():
            if child.is_dir():
                atomic_files.remove_leftovers(child)

    def _entry_path(self, step: str) -> Path:
        return self.folder / "made" / f"{step}.json"
