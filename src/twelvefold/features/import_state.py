"""State of feature imports on disk: the settings of each import, and its finished blocks."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec

from twelvefold.features.formats.record import Problem
from twelvefold.store.atomic_files import convert_json, read_json

T = TypeVar("T")

IMPORTS = "imports"
"""Folder with the state of the imports, next to the stores ``detected`` and ``given``."""

BLOCK_KEYS = {
    "position": "after",
    "num_steps": "steps",
    "num_records": "records",
    "num_present": "already",
    "num_regions": "regions",
    "image_keys": "keys",
    "rejected": "refused",
    "warnings": "noted",
}
"""Attribute of ``ImportedBlock`` -> key in a block's JSON file."""
SETTINGS_KEYS = {"class_probs": "probabilities"}
"""Attribute of ``ImportSettings`` -> key in ``import.json``."""


class ImportedBlock(msgspec.Struct, rename=BLOCK_KEYS):
    """State of a finished block: the results of its records, and the position after the last one."""

    shard: str = ""
    position: str = ""
    num_steps: int = 0
    num_records: int = 0
    num_present: int = 0
    num_regions: int = 0
    image_keys: list[str] = []
    digests: list[str] = []
    rejected: list[Problem] = []
    warnings: list[Problem] = []
    last: bool = False


class ImportSettings(msgspec.Struct, rename=SETTINGS_KEYS):
    """Settings of an import; an interrupted import continues only with the same settings."""

    file: str
    format: str
    source: str
    boxes: str
    half: bool
    class_probs: bool
    candidates: str
    block: int
    identity: dict[str, str | int]


def list_imports(folder: Path) -> list[Path]:
    """Return the state folders of a store's imports, sorted by name."""
    return sorted(path for path in folder.iterdir() if (path / "import.json").exists()) if folder.is_dir() else []


def read_settings(state_folder: Path) -> ImportSettings | None:
    path = state_folder / "import.json"
    return _read_struct(path, ImportSettings) if path.exists() else None


def read_blocks(state_folder: Path) -> list[ImportedBlock]:
    """Return the finished blocks of an import, in order."""
    return [_read_struct(path, ImportedBlock) for path in sorted(state_folder.glob("[0-9]*.json"))]


def _read_struct(path: Path, struct: type[T]) -> T:
    return convert_json(path, read_json(path), struct, remedy="start the import over (--no-resume)")
