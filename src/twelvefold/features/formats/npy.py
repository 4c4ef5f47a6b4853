"""Features as one file per image. Files are read in the order of their paths.

``.npy``: a pickled dict (the original project's extraction), or an array of features with a dict in ``<stem>_info.npy``
(MMF's). ``.npz``: an array for each field (bottom-up attention in PyTorch, MCAN), of which only those that are used are
read.
"""

from __future__ import annotations

import io
import os
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from twelvefold.config.extract import ImportConfig
from twelvefold.features.formats.fields import BOXES, FEATURES, HEIGHT, PROBABILITIES, WIDTH, parse_regions
from twelvefold.features.formats.record import FeatureFile, FeatureRecord, RecordError, RegionsWithWarnings
from twelvefold.schema import TwelvefoldError
from twelvefold.store.atomic_files import digest_bytes, digest_value
from twelvefold.store.npy_content import load_npy

SUFFIXES = (".npy", ".npz")
INFO_SUFFIX = "_info.npy"
FIELDS = frozenset((*BOXES, *FEATURES, *PROBABILITIES, *WIDTH, *HEIGHT))
MAX_FIELD_BYTES = 1 << 28
"""Largest array of an ``.npz`` file; 100 regions of 2,048 numbers take 0.8 MB."""


def list_npy_files(folder: Path) -> list[str]:
    """Return the sorted paths of the images' ``.npy`` and ``.npz`` files, relative to ``folder``."""
    return sorted(
        os.path.relpath(Path(parent, name), folder)
        for parent, _, names in os.walk(folder)
        for name in names
        if name.endswith(SUFFIXES) and not name.endswith(INFO_SUFFIX)
    )


class NpyFolder(FeatureFile):
    """A folder of ``.npy`` or ``.npz`` files, at any depth."""

    def __init__(self, path: Path, config: ImportConfig) -> None:
        """List the files.

        Raises:
            TwelvefoldError: there is no such file.
        """
        super().__init__(path, config)
        self._names = list_npy_files(path)
        if not self._names:
            raise TwelvefoldError(f"{path} holds no .npy or .npz file")
        self.total = len(self._names)
        self.identity = {"records": self.total, "names": digest_value(self._names)}

    def records(self, after: str = "") -> Iterator[FeatureRecord]:
        """Yield the files after the one named ``after``."""
        return (self._read(name) for name in self._names if name > after)

    def _read(self, name: str) -> FeatureRecord:
        path = self._path / name
        try:
            data = path.read_bytes()
        except OSError as error:
            return FeatureRecord(name, name, name, "", RecordError(f"cannot be read: {error.strerror}"))
        digest = digest_bytes(data)
        result: RegionsWithWarnings | Exception
        try:
            value = load_npz(data) if name.endswith(".npz") else load_npy(data, "the file")
            fields = value if isinstance(value, dict) else {"features": value}
            info_path = path.with_name(path.name.removesuffix(".npy") + INFO_SUFFIX)
            if not isinstance(value, dict) and info_path.exists():
                info_data = info_path.read_bytes()
                info = load_npy(info_data, info_path.name)
                if not isinstance(info, dict):
                    raise RecordError(f"{info_path.name}: expected a dict, got {type(info).__name__}")
                fields, digest = {**info, **fields}, digest_bytes(data + info_data)
            result = parse_regions(fields, self._config)
        except (TwelvefoldError, RecordError, OSError) as error:
            result = error
        return FeatureRecord(name, name, name, digest, result)


def load_npz(data: bytes) -> dict[str, Any]:
    """Return the fields of an ``.npz`` file that are used.

    Raises:
        RecordError: it is not such a file, damaged, or a field is too large.
        TwelvefoldError: a field is damaged, or needs more than plain data.
    """
    fields: dict[str, Any] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for member in archive.infolist():
                name = member.filename.removesuffix(".npy")
                if name not in FIELDS:
                    continue
                if member.file_size > MAX_FIELD_BYTES:
                    raise RecordError(f"{name}: expected at most {MAX_FIELD_BYTES:,} bytes, got {member.file_size:,}")
                with archive.open(member) as stream:
                    fields[name] = load_npy(stream.read(MAX_FIELD_BYTES + 1), name)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise RecordError(f"not an .npz file, or truncated ({error})") from None
    return fields
