"""The prepared folder, which ``prepare`` writes and training and evaluation read.

``prepared.json`` (the manifest, written last) lists ``tables/<task>-<split>.arrow``, ``vocabularies/<task>.json``,
``negatives/<task>.npy`` and ``clean.json`` (what cleaning removed, and why), each with its length and the digest of
everything that it was made from. A table holds all examples of a split; ``rows/<task>-<split>.npy`` has the row numbers
of those that are used: not removed by cleaning, with regions, within the recipe's limit. It is missing if all are.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from twelvefold.schema import HeadSpec, Split, TaskSpec, TwelvefoldError, did_you_mean
from twelvefold.store import atomic_files
from twelvefold.store.example_table import ExampleTable
from twelvefold.store.older_formats import rename_keys

MANIFEST = "prepared.json"
CLEANING = "clean.json"
FORMAT, VERSION = "twelvefold prepared", 3
TASK_FIELDS_OF_VERSION_1 = {"pairs": "pairs_per_example"}
"""Fields of a task that had other names in version 1. Versions 1 and 2 had no rows: their tables are used whole."""
SPLITS: tuple[Split, ...] = ("train", "val", "test")


class FileEntry(msgspec.Struct, frozen=True):
    """One file of the folder: its name, length in bytes, number of items (examples, answers, images), and the digest of
    what it was made from."""

    file: str
    file_bytes: int
    count: int
    digest: str


class ExampleCounts(msgspec.Struct, frozen=True):
    """Numbers of one split: examples read, malformed records, examples removed by cleaning, without regions, on an
    image of another size than the annotations state, beyond the recipe's limit, and kept."""

    read: int = 0
    malformed: int = 0
    removed: int = 0
    without_regions: int = 0
    other_size: int = 0
    beyond_limit: int = 0
    kept: int = 0


class DataSource(msgspec.Struct, frozen=True):
    """The data folder that was prepared: its name, and the seed if it is a drawn world."""

    folder: str
    world_seed: int | None = None

    def describe(self) -> str:
        """Return the data as people name it."""
        return f"folder {self.folder}" if self.world_seed is None else f"the drawn world (seed {self.world_seed})"


class PreparedManifest(msgspec.Struct, kw_only=True):
    """The contents of ``prepared.json``. Tables, rows and counts are by task, then split; the rest by task.

    ``source``: the data folder; None in folders that were prepared before it was recorded. ``data_folder``: its path.
    ``reader_options``: by task; empty in folders that were prepared before they were recorded.
    ``policy``: of cleaning. ``cleaning``: the cleaning manifest, whose count is the number of removed examples; None
    for full data. ``regions``: digest of the region store that negatives were made from, or empty. ``problems``:
    malformed records that were left out, each with the reason. ``other_sizes``: images that were left out because they
    do not have the size that the annotations state, with both sizes.
    """

    format: str = FORMAT
    version: int = VERSION
    source: DataSource | None = None
    data_folder: str = ""
    reader_options: dict[str, dict[str, Any]] = {}
    clean: bool
    policy: str = ""
    cleaning: FileEntry | None = None
    regions: str
    tasks: list[TaskSpec]
    tables: dict[str, dict[str, FileEntry]]
    rows: dict[str, dict[str, FileEntry]] = {}
    counts: dict[str, dict[str, ExampleCounts]]
    vocabularies: dict[str, FileEntry] = {}
    negatives: dict[str, FileEntry] = {}
    problems: list[str] = []
    other_sizes: dict[str, str] = {}

    def entries(self) -> list[FileEntry]:
        """Return every file that the manifest lists."""
        nested = [*self.tables.values(), *self.rows.values(), self.vocabularies, self.negatives]
        entries = [entry for group in nested for entry in group.values()]
        return entries if self.cleaning is None else [*entries, self.cleaning]


class Prepared:
    """The examples, answer lists and hard negatives of all tasks; a table is opened at its first use."""

    def __init__(self, folder: Path, manifest: PreparedManifest) -> None:
        self.folder = Path(folder)
        self.manifest = manifest
        self.tasks: tuple[TaskSpec, ...] = tuple(manifest.tasks)
        self.counts: dict[str, dict[str, ExampleCounts]] = manifest.counts
        self._open: dict[str, ExampleTable] = {}

    @classmethod
    def open(cls, folder: Path) -> Prepared:
        """Open a prepared folder and check the length of every listed file.

        Raises:
            TwelvefoldError: the folder is not a prepared folder, not complete or of another version, or a file is
                missing or truncated.
        """
        folder = Path(folder)
        if not (folder / MANIFEST).exists():
            raise TwelvefoldError(f"{folder} is not prepared: it has no {MANIFEST}; run `twelvefold prepare` (again)")
        remedy = "run `twelvefold prepare` again"
        raw = atomic_files.read_manifest(folder / MANIFEST, FORMAT, VERSION, remedy=remedy, older_versions=(1, 2))
        raw["tasks"] = rename_keys(raw.get("tasks"), TASK_FIELDS_OF_VERSION_1)
        manifest = atomic_files.convert_json(folder / MANIFEST, raw, PreparedManifest, remedy=remedy)
        for entry in manifest.entries():
            path = folder / entry.file
            size = path.stat().st_size if path.exists() else None
            if size != entry.file_bytes:
                problem = "is missing" if size is None else f"has {size:,} bytes, expected {entry.file_bytes:,}"
                raise TwelvefoldError(f"{path} {problem}; run `twelvefold prepare` again")
        return cls(folder, manifest)

    @cached_property
    def digest(self) -> str:
        """Digest of everything that the folder was made from: equal for equal data, options and code."""
        return atomic_files.digest_value(sorted([entry.file, entry.digest] for entry in self.manifest.entries()))

    def task(self, name: str) -> TaskSpec:
        """Return the task of that name.

        Raises:
            TwelvefoldError: it was not prepared; names the closest.
        """
        for spec in self.tasks:
            if spec.name == name:
                return spec
        raise TwelvefoldError(
            f"task {name!r} is not in {self.folder}{list_choices(name, [spec.name for spec in self.tasks])}"
        )

    def splits(self, task: str) -> tuple[Split, ...]:
        """Return the splits of a task."""
        tables = self.manifest.tables[self.task(task).name]
        return tuple(split for split in SPLITS if split in tables)

    def table(self, task: str, split: Split) -> ExampleTable:
        """Return the used examples of one task and split.

        Raises:
            TwelvefoldError: there is no such task or split, or the table is not the one that the manifest lists.
        """
        entry = self.manifest.tables[self.task(task).name].get(split)
        if entry is None:
            raise TwelvefoldError(f"task {task!r} has no split {split!r}{list_choices(split, self.splits(task))}")
        if entry.file not in self._open:
            table = ExampleTable.open(self.folder / entry.file)
            if (table.digest, len(table)) != (entry.digest, entry.count):
                raise TwelvefoldError(f"{table.path} is not the table that {MANIFEST} lists; prepare again")
            self._open[entry.file] = self._select_rows(table, task, split)
        return self._open[entry.file]

    def _select_rows(self, table: ExampleTable, task: str, split: Split) -> ExampleTable:
        entry = self.manifest.rows.get(task, {}).get(split)
        if entry is None:
            return table
        rows = load_array(self.folder / entry.file)
        if len(rows) != entry.count or (len(rows) and not 0 <= rows[0] <= rows[-1] < table.num_rows):
            raise TwelvefoldError(f"{self.folder / entry.file} does not hold rows of {table.path}; prepare again")
        return table.select(rows)

    def vocabulary(self, task: str) -> tuple[str, ...]:
        """Return the answers that a task predicts, in head order; empty if its outputs are not answers."""
        owner = self.task(task).vocabulary
        if not owner:
            return ()
        entry = self.manifest.vocabularies.get(owner)
        if entry is None:
            raise TwelvefoldError(f"task {task!r} uses the answer list of {owner!r}, which is not in {self.folder}")
        path = self.folder / entry.file
        remedy = "run `twelvefold prepare` again"
        return atomic_files.convert_json(path, atomic_files.read_json(path), tuple[str, ...], remedy=remedy)

    def head(self, task: str) -> HeadSpec:
        """Return the head of a task; its outputs are the task's answers or classes."""
        spec = self.task(task)
        return HeadSpec(spec.head, spec.family, self.vocabulary(task) or spec.classes, spec.pairs_per_example)

    def negatives(self, task: str) -> NDArray[np.int32] | None:
        """Return (N, k) int32: the hard negatives of each image, nearest first, or None if none were prepared.

        Row n holds the indices of the k images with the most similar regions to image n of
        ``table(task, "train").first_images()``, without n itself.
        """
        entry = self.manifest.negatives.get(self.task(task).name)
        if entry is None:
            return None
        return load_array(self.folder / entry.file)


def load_array(path: Path) -> NDArray[np.int32]:
    """Map an array of a prepared folder.

    Raises:
        TwelvefoldError: the file is not a NumPy array.
    """
    try:
        array: NDArray[np.int32] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, OverflowError) as error:
        raise TwelvefoldError(f"{path} is not a NumPy array ({error}); run `twelvefold prepare` again") from error
    return array


def list_choices(name: str, valid: Iterable[str]) -> str:
    """Return the end of an error about a name: ``; it has a, b, c; did you mean 'b'?``."""
    names = list(valid)
    return f"; it has {', '.join(names)}{did_you_mean(name, names)}"
