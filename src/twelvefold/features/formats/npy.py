"""Features as one ``.npy`` file per image: a pickled dict (the original project's extraction), or an array of features
with a dict in ``<stem>_info.npy`` (MMF's). Files are read in the order of their paths.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from twelvefold.config.extract import ImportConfig
from twelvefold.features.formats.fields import parse_regions
from twelvefold.features.formats.record import FeatureFile, FeatureRecord, RecordError, RegionsWithWarnings
from twelvefold.schema import TwelvefoldError
from twelvefold.store.atomic_files import digest_bytes, digest_value
from twelvefold.store.npy_content import load_npy

INFO_SUFFIX = "_info.npy"


def list_npy_files(folder: Path) -> list[str]:
    """Return the sorted paths of the images' files, relative to ``folder``."""
    return sorted(
        os.path.relpath(Path(parent, name), folder)
        for parent, _, names in os.walk(folder)
        for name in names
        if name.endswith(".npy") and not name.endswith(INFO_SUFFIX)
    )


class NpyFolder(FeatureFile):
    """A folder of ``.npy`` files, at any depth."""

    def __init__(self, path: Path, config: ImportConfig) -> None:
        """List the files.

        Raises:
            TwelvefoldError: there is no ``.npy`` file.
        """
        super().__init__(path, config)
        self._names = list_npy_files(path)
        if not self._names:
            raise TwelvefoldError(f"{path} holds no .npy file")
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
            value = load_npy(data, "the file")
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
