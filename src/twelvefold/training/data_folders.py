"""The folders of tables and regions of a run, which the run remembers: later commands need not repeat them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from twelvefold.data.region_inputs import RegionSource
from twelvefold.schema import TwelvefoldError
from twelvefold.store import atomic_files
from twelvefold.store.prepared import MANIFEST, Prepared
from twelvefold.training.checkpoints import Checkpoints

FILE = "data_folders.json"


class DataFolders(NamedTuple):
    """Folder that ``prepare`` wrote, and folder that ``extract`` or ``features import`` wrote."""

    prepared: Path
    regions: Path


class TableOrigin(NamedTuple):
    """The data folder that tables were made from, or else ``RUN/world`` (it may not exist), and the options of the
    readers by task; without those of a task that were not recorded."""

    data: Path
    reader_options: Mapping[str, Mapping[str, Any]]


def find_data_folders(run: Path, *, prepared: Path | None = None, regions: Path | None = None) -> DataFolders:
    """Return the stated folders; where None, those that the run remembers, else ``RUN/prepared`` and ``RUN/regions``.

    Raises:
        TwelvefoldError: a folder that is not stated does not exist.
    """
    return DataFolders(
        *(
            Path(stated) if stated is not None else _existing(run, name)
            for name, stated in (("prepared", prepared), ("regions", regions))
        )
    )


def remember_data_folders(run: Path, folders: DataFolders) -> None:
    """Write the folders into the run's: relative if they are inside it, so that they move with it, else absolute."""
    root, content = run.absolute(), {}
    for name, folder in folders._asdict().items():
        path = folder.absolute()
        content[name] = str(path.relative_to(root) if path.is_relative_to(root) else path)
    if not (run / FILE).exists() or atomic_files.read_json(run / FILE) != content:
        atomic_files.write_json(run / FILE, content)


def remember_moved_folders(run: Path, folders: DataFolders) -> None:
    """Remember folders that a command stated, if the run remembers none that exist and these are what it trained on."""
    if all(remembered_folder(run, name).exists() for name in DataFolders._fields) or not os.access(run, os.W_OK):
        return
    state = Checkpoints(run / "checkpoints").read_state()
    digests = {"prepared": Prepared.open(folders.prepared).digest}
    digests["regions"] = RegionSource.open(folders.regions).detected.digest
    if state is not None and state["data_digests"] == digests:
        remember_data_folders(run, folders)


def remembered_folder(run: Path, name: str) -> Path:
    """Return the folder ``prepared`` or ``regions`` that the run remembers, or else that in its own folder.

    The folder may not exist. If a remembered one is gone and the run has its own, the run was moved with its data.
    """
    own = run / name
    if not (run / FILE).exists():
        return own
    content = atomic_files.convert_json(
        run / FILE, atomic_files.read_json(run / FILE), dict[str, str], remedy="remove it and state the folders"
    )
    remembered = run / content.get(name, name)
    return own if own.exists() and not remembered.exists() else remembered


def find_table_origin(run: Path, prepared: Path | None = None) -> TableOrigin:
    """Return what a run's tables were made from; ``prepared``: their folder; None: the one that the run remembers."""
    prepared = prepared or remembered_folder(run, "prepared")
    if not (prepared / MANIFEST).exists():
        return TableOrigin(run / "world", {})
    manifest = Prepared.open(prepared).manifest
    folder = Path(manifest.data_folder)
    return TableOrigin(folder if manifest.data_folder and folder.is_dir() else run / "world", manifest.reader_options)


def _existing(run: Path, name: str) -> Path:
    folder = remembered_folder(run, name)
    if folder.exists():
        return folder
    if folder == run / name:
        raise TwelvefoldError(f"{run} does not say where its {name} folder is: state --{name} FOLDER")
    raise TwelvefoldError(
        f"{run} remembers its {name} folder as {folder}, which is not there ({run / FILE}); "
        f"if it was moved, state where it is now: --{name} FOLDER"
    )
