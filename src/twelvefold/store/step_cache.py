"""What has been made in a folder, and from what: each thing has a note beside it that holds the digest of its
sources. A thing whose note has the same digest, and whose files are whole, need not be made again."""

from __future__ import annotations

from pathlib import Path

import msgspec

from twelvefold.schema import TwelvefoldError
from twelvefold.store import atomic_files as files
from twelvefold.store.prepared import Counts, FileEntry


class Made(msgspec.Struct):
    """One made thing: the digest of its sources, its files by what they are, what became of its examples."""

    digest: str
    files: dict[str, FileEntry] = {}
    counts: Counts = Counts()
    problems: list[str] = []


class Ledger:
    """The notes of a folder, in ``made/``. A note is written last, so a kill leaves a thing unmade, never half."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def find(self, name: str, digest: str) -> Made | None:
        """What was made as ``name`` from sources of that digest, if it is there and its files are whole."""
        path = self._note(name)
        if not path.exists():
            return None
        try:
            made = msgspec.convert(files.read_json(path), Made)
        except (msgspec.ValidationError, TwelvefoldError):
            return None  # a note that can't be read says nothing: the thing is made anew
        if made.digest != digest:
            return None
        paths = [(self.folder / entry.file, entry.file_bytes) for entry in made.files.values()]
        return made if all(path.exists() and path.stat().st_size == size for path, size in paths) else None

    def note(self, name: str, made: Made) -> Made:
        """Write down that ``name`` is made; its files must be."""
        files.write_json(self._note(name), msgspec.to_builtins(made))
        return made

    def entry(self, file: str, count: int, digest: str) -> FileEntry:
        """The entry of a file of the folder that has just been written."""
        return FileEntry(file, (self.folder / file).stat().st_size, count, digest)

    def clear(self) -> None:
        """Remove what a killed process left half-written; call it while holding the folder's lock."""
        files.remove_leftovers(self.folder)
        for inner in self.folder.iterdir():
            if inner.is_dir():
                files.remove_leftovers(inner)

    def _note(self, name: str) -> Path:
        return self.folder / "made" / f"{name}.json"
