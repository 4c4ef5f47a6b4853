"""Open a feature file with the reader of its format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from twelvefold.config.extract import FeatureFormat, ImportConfig
from twelvefold.features.formats.hdf5_file import Hdf5File, is_hdf5
from twelvefold.features.formats.lmdb_file import LmdbFile, is_lmdb
from twelvefold.features.formats.npy import NpyFolder, list_npy_files
from twelvefold.features.formats.record import FeatureFile
from twelvefold.features.formats.tsv import COLUMNS, TsvFile, read_lines
from twelvefold.features.formats.vinvl import VinvlFile
from twelvefold.parsing.file_kind import check_file_kind
from twelvefold.schema import TwelvefoldError, did_you_mean

READERS: Mapping[str, type[FeatureFile]] = {
    "lmdb": LmdbFile,
    "mmf": LmdbFile,
    "npy": NpyFolder,
    "npz": NpyFolder,
    "hdf5": Hdf5File,
    "tsv": TsvFile,
    "vinvl": VinvlFile,
}


def open_feature_file(path: Path, config: ImportConfig) -> tuple[str, FeatureFile]:
    """Return the format of a file or folder, and the open file.

    Raises:
        TwelvefoldError: there is no such file, or it does not have the format (with "auto": any supported format).
    """
    formats = ("auto", *READERS)
    if config.format not in formats:
        raise TwelvefoldError(
            f"no format {config.format!r} of feature files; there are {', '.join(formats)}"
            f"{did_you_mean(config.format, formats)}"
        )
    if not path.exists():
        raise TwelvefoldError(f"there is no feature file {path}")
    check_file_kind(path / "data.mdb" if path.is_dir() else path)
    format = detect_format(path) if config.format == "auto" else config.format
    reader = READERS[format]
    if reader is not LmdbFile and path.is_dir() != (reader is NpyFolder):
        expected, actual = ("file", "folder") if path.is_dir() else ("folder", "file")
        raise TwelvefoldError(f"{path}: format {format} needs a {expected}, got a {actual}")
    return format, reader(path, config)


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
        if names := list_npy_files(path):
            return "npz" if names[0].endswith(".npz") else "npy"
        raise TwelvefoldError(
            f"{path} has neither data.mdb (LMDB) nor .npy or .npz files; for a table or HDF5, give the file itself"
        )
    if is_hdf5(path):
        return "hdf5"
    if path.suffix in (".npy", ".npz"):
        raise TwelvefoldError(f"{path} has the features of one image: give the folder of such files, {path.parent}")
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
