"""Features as a ``.npy`` file for each picture: a pickled dict (the original project's extraction), or an array of
features beside a dict in ``<stem>_info.npy`` (MMF's). Files are taken in the order of their names, folders included.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from twelvefold.datasets.reading.safe_pickle import load_arrays
from twelvefold.features.formats.fields import regions_of
from twelvefold.features.formats.record import Problem, Reading, Record, RecordError
from twelvefold.schema import TwelvefoldError
from twelvefold.store.atomic_files import digest_bytes, digest_value

INFO = "_info.npy"


def npy_files(folder: Path) -> list[str]:
    """Paths below ``folder`` of all pictures' files, in order."""
    return sorted(
        os.path.relpath(Path(parent, name), folder)
        for parent, _, names in os.walk(folder)
        for name in names
        if name.endswith(".npy") and not name.endswith(INFO)
    )


class NpyFolder:
    """A folder of ``.npy`` files, searched at any depth."""

    unit = "pictures"

    def __init__(self, path: Path, reading: Reading) -> None:
        """Look at the names in the folder.

        Raises:
            TwelvefoldError: there is no such file in it.
        """
        self._folder = path
        self._reading = reading
        self._names = npy_files(path)
        if not self._names:
            raise TwelvefoldError(f"{path} holds no .npy file")
        self.total = len(self._names)
        self.identity: dict[str, str | int] = {"records": self.total, "names": digest_value(self._names)}

    def records(self, after: str = "") -> Iterator[Record]:
        """Every file behind the one named ``after``."""
        for name in self._names:
            if name > after:
                yield self._record(name)

    def amiss(self) -> list[Problem]:
        """Nothing: each file stands for itself."""
        return []

    def _record(self, name: str) -> Record:
        path = self._folder / name
        try:
            data = path.read_bytes()
        except OSError as error:
            return Record(name, name, name, 1, "", None, f"can't be read: {error.strerror}")
        try:
            value, digest = array(data), digest_bytes(data)
            fields = value if isinstance(value, dict) else {"features": value}
            info = path.with_name(path.name.removesuffix(".npy") + INFO)
            if not isinstance(value, dict) and info.exists():
                more = info.read_bytes()
                beside = array(more)
                if not isinstance(beside, dict):
                    raise RecordError(f"{info.name}: expected a dict, got {type(beside).__name__}")
                fields, digest = {**beside, **fields}, digest_bytes(data + more)
            regions, notes = regions_of(fields, self._reading)
        except (TwelvefoldError, RecordError, OSError) as error:
            return Record(name, name, name, 1, digest_bytes(data), None, str(error))
        return Record(name, name, name, 1, digest, regions, notes=notes)


def array(data: bytes) -> Any:
    """What a ``.npy`` file holds: an array of numbers, or the plain data that ``numpy.save`` pickled.

    Raises:
        RecordError: no such file, or cut short.
        TwelvefoldError: a pickle that asks for more than plain data and arrays.
    """
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read_header(stream)
    except ValueError as error:
        raise RecordError(f"expected a .npy file, got what is none or cut short ({error})") from None
    rest = memoryview(data)[stream.tell() :]
    if dtype.hasobject:
        return load_arrays(rest, "the pickle in it")
    wanted = dtype.itemsize * int(np.prod(shape))
    if len(rest) < wanted:
        raise RecordError(f"cut short: expected {wanted:,} bytes of numbers, got {len(rest):,}")
    return np.frombuffer(rest[:wanted], dtype).reshape(shape, order="F" if fortran else "C")
