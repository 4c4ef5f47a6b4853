"""The prepared folder: what ``prepare`` leaves and everything later reads.

``prepared.json`` (the manifest, written last) lists ``tables/<task>-<split>.arrow``, ``vocabularies/<task>.json``,
``negatives/<task>.npy`` and ``clean.json`` (what cleaning removed, and why), each with its length and with the digest
of all that it was made from.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from twelvefold.schema import HeadSpec, Split, TaskSpec, TwelvefoldError, did_you_mean
from twelvefold.store import atomic_files
from twelvefold.store.example_table import ExampleTable
from twelvefold.store.older_formats import rename_keys

MANIFEST = "prepared.json"
CLEANING = "clean.json"
FORMAT, VERSION = "twelvefold prepared", 2
TASK_FIELDS_OF_VERSION_1 = {"pairs": "pairs_per_example"}
"""Fields of a task that had other names in version 1."""
SPLITS: tuple[Split, ...] = ("train", "val", "test")


class FileEntry(msgspec.Struct, frozen=True):
    """One file of the folder: its name, length in bytes, number of things in it (examples, answers, pictures)
    and the digest of what it was made from."""

    file: str
    file_bytes: int
    count: int
    digest: str


class Counts(msgspec.Struct, frozen=True):
    """What became of one split: examples read, malformed records left out, removed by cleaning, left out because
    the region store lacks their picture, beyond the recipe's limit, and kept."""

    read: int = 0
    malformed: int = 0
    removed: int = 0
    without_regions: int = 0
    beyond_limit: int = 0
    kept: int = 0


class Manifest(msgspec.Struct, kw_only=True):
    """``prepared.json``. ``tasks`` in their order; tables and counts by task, then split; the rest by task.

    ``policy``: of cleaning. ``cleaning``: its manifest, whose count is that of the removed examples; None for full
    data. ``regions``: digest of the region store that negatives were made from, empty where there was none.
    ``problems``: malformed records left out, each with the reason.
    """

    format: str = FORMAT
    version: int = VERSION
    clean: bool
    policy: str = ""
    cleaning: FileEntry | None = None
    regions: str
    tasks: list[TaskSpec]
    tables: dict[str, dict[str, FileEntry]]
    counts: dict[str, dict[str, Counts]]
    vocabularies: dict[str, FileEntry] = {}
    negatives: dict[str, FileEntry] = {}
    problems: list[str] = []

    def entries(self) -> list[FileEntry]:
        """Every file that the manifest lists."""
        nested = [*self.tables.values(), self.vocabularies, self.negatives]
        entries = [entry for group in nested for entry in group.values()]
        return entries if self.cleaning is None else [*entries, self.cleaning]


class Prepared:
    """The examples, answer lists and hard negatives of all tasks; tables are opened when first asked for."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = Path(folder)
        self.manifest = manifest
        self.tasks: tuple[TaskSpec, ...] = tuple(manifest.tasks)
        self.counts: dict[str, dict[str, Counts]] = manifest.counts
        self._open: dict[str, ExampleTable] = {}

    @classmethod
    def open(cls, folder: Path) -> Prepared:
        """Open a prepared folder, checking that every listed file is there with its length.

        Raises:
            TwelvefoldError: not a prepared folder, not finished, of another version, or a file cut short.
        """
        folder = Path(folder)
        if not (folder / MANIFEST).exists():
            raise TwelvefoldError(f"{folder} is not prepared: it has no {MANIFEST}; run `twelvefold prepare` (again)")
        raw = atomic_files.read_manifest(
            folder / MANIFEST, FORMAT, VERSION, again="run `twelvefold prepare` again", older=(1,)
        )
        raw["tasks"] = rename_keys(raw.get("tasks"), TASK_FIELDS_OF_VERSION_1)
        try:
            manifest = msgspec.convert(raw, Manifest)
        except msgspec.ValidationError as error:
            raise TwelvefoldError(f"{folder / MANIFEST} was changed after it was written: {error}") from error
        for entry in manifest.entries():
            path = folder / entry.file
            size = path.stat().st_size if path.exists() else None
            if size != entry.file_bytes:
                got = "is missing" if size is None else f"has {size:,} bytes, should have {entry.file_bytes:,}"
                raise TwelvefoldError(f"{path} {got}; run `twelvefold prepare` again")
        return cls(folder, manifest)

    @cached_property
    def digest(self) -> str:
        """Of everything that the folder was made from: the same data, options and code, the same digest."""
        return atomic_files.digest_value(sorted([entry.file, entry.digest] for entry in self.manifest.entries()))

    def task(self, name: str) -> TaskSpec:
        """The task of that name.

        Raises:
            TwelvefoldError: it wasn't prepared; names the closest.
        """
        for spec in self.tasks:
            if spec.name == name:
                return spec
        raise TwelvefoldError(
            f"task {name!r} is not in {self.folder}{choices(name, [spec.name for spec in self.tasks])}"
        )

    def splits(self, task: str) -> tuple[Split, ...]:
        """The splits that the task has."""
        tables = self.manifest.tables[self.task(task).name]
        return tuple(split for split in SPLITS if split in tables)

    def table(self, task: str, split: Split) -> ExampleTable:
        """The examples of one task and split.

        Raises:
            TwelvefoldError: there is no such task or split, or the table is another than the manifest lists.
        """
        entry = self.manifest.tables[self.task(task).name].get(split)
        if entry is None:
            raise TwelvefoldError(f"task {task!r} has no split {split!r}{choices(split, self.splits(task))}")
        if entry.file not in self._open:
            table = ExampleTable.open(self.folder / entry.file)
            if (table.digest, len(table)) != (entry.digest, entry.count):
                raise TwelvefoldError(f"{table.path} is not the table that {MANIFEST} lists; prepare again")
            self._open[entry.file] = table
        return self._open[entry.file]

    def vocabulary(self, task: str) -> tuple[str, ...]:
        """The answers that a task predicts, in head order; empty where its outputs are not answers."""
        owner = self.task(task).vocabulary
        if not owner:
            return ()
        entry = self.manifest.vocabularies.get(owner)
        if entry is None:
            raise TwelvefoldError(f"task {task!r} answers from the list of {owner!r}, which is not in {self.folder}")
        return tuple(atomic_files.read_json(self.folder / entry.file))

    def head(self, task: str) -> HeadSpec:
        """The head of a task: outputs are its answers or classes."""
        spec = self.task(task)
        return HeadSpec(spec.head, spec.family, self.vocabulary(task) or spec.classes, spec.pairs_per_example)

    def negatives(self, task: str) -> NDArray[np.int32] | None:
        """(N, k) int32, nearest first: for every picture n of ``table(task, "train").images()``, the places of
        the k pictures that look most like it, itself left out. None where there are none."""
        entry = self.manifest.negatives.get(self.task(task).name)
        if entry is None:
            return None
        try:
            found: NDArray[np.int32] = np.load(self.folder / entry.file, mmap_mode="r", allow_pickle=False)
        except ValueError as error:
            raise TwelvefoldError(f"{self.folder / entry.file} holds no hard negatives: {error}") from error
        return found


def choices(name: str, valid: Iterable[str]) -> str:
    """``; it has a, b, c; did you mean 'b'?``: the end of an error about a name."""
    names = list(valid)
    return f"; it has {', '.join(names)}{did_you_mean(name, names)}"
