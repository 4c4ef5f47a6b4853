"""Open a feature file with the reader of its format."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from twelvefold.config.extract import FeatureFormat
from twelvefold.features.formats.lmdb_file import LmdbFile, is_lmdb
from twelvefold.features.formats.npy import NpyFolder, list_npy_files
from twelvefold.features.formats.record import FeatureFile, ReadOptions
from twelvefold.features.formats.tsv import COLUMNS, TsvFile, read_lines
from twelvefold.features.formats.vinvl import VinvlFile
from twelvefold.schema import TwelvefoldError, did_you_mean


def open_feature_file(
    path: Path, format: FeatureFormat, options: ReadOptions, sizes: Path | None = None
) -> tuple[str, FeatureFile]:
    """Return the format of a file or folder, and the open file. ``sizes``: image sizes for VinVL's format.

    Raises:
        TwelvefoldError: there is no such file, or it does not have the format (with "auto": any supported format).
    """
    if format not in get_args(FeatureFormat):
        raise TwelvefoldError(
            f"no format {format!r} of feature files; there are {', '.join(get_args(FeatureFormat))}"
            f"{did_you_mean(format, get_args(FeatureFormat))}"
        )
    if not path.exists():
        raise TwelvefoldError(f"there is no feature file {path}")
    if format == "auto":
        format = detect_format(path)
    needs_folder = {"npy": True, "tsv": False, "vinvl": False}.get(format)
    if needs_folder is not None and needs_folder != path.is_dir():
        expected, actual = ("folder", "file") if needs_folder else ("file", "folder")
        raise TwelvefoldError(f"{path}: format {format} needs a {expected}, got a {actual}")
    match format:
        case "npy":
            return format, NpyFolder(path, options)
        case "tsv":
            return format, TsvFile(path, options)
        case "vinvl":
            return format, VinvlFile(path, options, sizes)
        case _:
            return format, LmdbFile(path, options)


def detect_format(path: Path) -> FeatureFormat:
    """Return the format of a file or folder by its content.

    Raises:
        TwelvefoldError: it has none of the supported formats.
    """
    if is_lmdb(path):
        return "lmdb"
    if path.is_dir():
        if (path / "data.mdb").exists():
            raise TwelvefoldError(f"{path / 'data.mdb'} does not begin like an LMDB: it was truncated or overwritten")
        if list_npy_files(path):
            return "npy"
        raise TwelvefoldError(f"{path} has neither data.mdb (LMDB) nor .npy files; for a table, give the file itself")
    first = next(read_lines(path), None)
    num_columns = first.data.count(b"\t") + 1 if first else 0
    if num_columns in COLUMNS:
        return "tsv"
    if num_columns in (2, 3):
        return "vinvl"
    raise TwelvefoldError(
        f"{path} is not an LMDB, and its first line has {num_columns} tab-separated columns; feature tables have "
        f"{', '.join(map(str, COLUMNS))} (bottom-up attention, LXMERT) or 2 or 3 (VinVL)"
    )
