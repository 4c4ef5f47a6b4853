"""Which reader a feature file needs: told by its first bytes, its name and its columns, or by the caller."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from twelvefold.features.formats.lmdb_file import LmdbFile, is_lmdb
from twelvefold.features.formats.npy import NpyFolder, npy_files
from twelvefold.features.formats.record import Format, Reading, Source
from twelvefold.features.formats.tsv import COLUMNS, TsvFile, lines
from twelvefold.features.formats.vinvl import VinvlFile
from twelvefold.schema import TwelvefoldError, did_you_mean


def open_source(path: Path, form: Format, reading: Reading, sizes: Path | None = None) -> tuple[str, Source]:
    """The file's format and the file, open for reading.

    Raises:
        TwelvefoldError: there is no such file, it is none of the formats, or not the one that was said.
    """
    if form not in get_args(Format):
        raise TwelvefoldError(
            f"no format {form!r} of feature files; there are {', '.join(get_args(Format))}"
            f"{did_you_mean(form, get_args(Format))}"
        )
    if not path.exists():
        raise TwelvefoldError(f"there is no feature file {path}")
    kind = recognise(path) if form == "auto" else form
    wants_folder = {"npy": True, "tsv": False, "vinvl": False}.get(kind)
    if wants_folder is not None and wants_folder != path.is_dir():
        raise TwelvefoldError(f"{path}: format {kind} is a {'folder' if wants_folder else 'file'}, and this is none")
    match kind:
        case "npy":
            return kind, NpyFolder(path, reading)
        case "tsv":
            return kind, TsvFile(path, reading)
        case "vinvl":
            return kind, VinvlFile(path, reading, sizes)
        case _:
            return kind, LmdbFile(path, reading)


def recognise(path: Path) -> Format:
    """The format of a file or folder.

    Raises:
        TwelvefoldError: it is none of those that are read.
    """
    if is_lmdb(path):
        return "lmdb"
    if path.is_dir():
        if (path / "data.mdb").exists():
            raise TwelvefoldError(f"{path / 'data.mdb'} does not begin like an LMDB: it was cut short or overwritten")
        if npy_files(path):
            return "npy"
        raise TwelvefoldError(f"{path} holds neither data.mdb (LMDB) nor .npy files; for a table, name the file itself")
    first = next(lines(path), None)
    columns = first.data.count(b"\t") + 1 if first else 0
    if columns in COLUMNS:
        return "tsv"
    if columns in (2, 3):
        return "vinvl"
    raise TwelvefoldError(
        f"{path} is no LMDB, and its first line has {columns} tab-separated columns, where tables of features have "
        f"{', '.join(map(str, COLUMNS))} (bottom-up attention, LXMERT) or 2 or 3 (VinVL)"
    )
