"""Features in LMDB: a pickled dict for each picture, under its name, and ``keys``, the pickled list of all names.

Told apart by what a record holds: the original project's (arrays ``boxes`` and ``features``), its predecessor's (the
same as base64 text, from a TSV), MMF's (``bbox``, ``image_height``; keys are paths); and TensorPack's of Conceptual
Captions, which are no pickles (``tensorpack``). Records are taken in the order of their keys, by walking the tree: the
list ``keys`` is only compared with it. Of a file that was cut short, what is left is read (``lmdb_pages``).

Differs: the original searches its list of keys from the start at each access, and unpickles whatever a record asks for.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from twelvefold.datasets.reading.safe_pickle import load_arrays
from twelvefold.features.formats import tensorpack
from twelvefold.features.formats.fields import name_of, regions_of
from twelvefold.features.formats.lmdb_pages import Pages
from twelvefold.features.formats.record import Problem, Reading, Record, RecordError
from twelvefold.schema import TwelvefoldError
from twelvefold.store.atomic_files import digest_bytes

MAGIC = bytes.fromhex("dec0efbe")
"""LMDB's own mark, behind the 16 bytes of a page's head."""
TENSORPACK = b"__keys__"
LISTS = (b"keys", TENSORPACK)
"""Keys of records that list all others: the original project's, and TensorPack's."""


def is_lmdb(path: Path) -> bool:
    """Whether a folder or file is an LMDB environment, or what is left of one."""
    file = path / "data.mdb" if path.is_dir() else path
    if not file.is_file():
        return False
    with file.open("rb") as stream:
        return stream.read(20)[16:] == MAGIC


class LmdbFile:
    """An LMDB environment, a folder that holds ``data.mdb`` or a single file, opened without writing a lock."""

    unit = "pictures"

    def __init__(self, path: Path, reading: Reading) -> None:
        """Open it.

        Raises:
            TwelvefoldError: no LMDB, damaged, or the package ``lmdb`` isn't installed.
        """
        if importlib.util.find_spec("lmdb") is None:
            raise TwelvefoldError(
                "reading LMDB files needs the package lmdb, which isn't installed: pip install 'twelvefold[official]'"
            )
        self._file = path / "data.mdb" if path.is_dir() else path
        self._reading = reading
        if not is_lmdb(path):
            raise TwelvefoldError(f"{path} is no LMDB: expected a folder with data.mdb, or such a file")
        self._path = path
        with Pages(self._file) as pages:
            size, self._records, self._cut = pages.size, pages.meta.entries, not pages.whole()
            self._left = [place for place in pages.places() if place.key not in LISTS] if self._cut else []
        if self._cut:
            self.total = len(self._left)
        else:
            with self._reading_txn() as (env, txn):
                self.total = env.stat()["entries"] - sum(txn.get(name) is not None for name in LISTS)
        self.identity: dict[str, str | int] = {"bytes": size, "records": self.total}

    @contextmanager
    def _reading_txn(self) -> Iterator[tuple[Any, Any]]:
        """An environment and a transaction, open as long as the block lasts."""
        import lmdb

        try:
            with (
                lmdb.open(str(self._path), subdir=self._path.is_dir(), readonly=True, lock=False) as env,
                env.begin(buffers=True) as txn,
            ):
                yield env, txn
        except lmdb.Error as error:
            raise TwelvefoldError(f"{self._path} can't be read as an LMDB: {error}; damaged or cut short?") from error

    def records(self, after: str = "") -> Iterator[Record]:
        """Every record behind the key whose hexadecimal digits ``after`` is."""
        start = bytes.fromhex(after)
        if self._cut:
            yield from self._from_pages(start)
            return
        with self._reading_txn() as (_, txn), txn.cursor() as cursor:
            there = cursor.set_range(start) if start else cursor.first()
            if there and start and bytes(cursor.key()) == start:
                there = cursor.next()
            while there:
                key = bytes(cursor.key())
                if key not in LISTS:
                    yield self._record(key, cursor.value())
                there = cursor.next()

    def amiss(self) -> list[Problem]:
        """Names that ``keys`` lists and that have no record, or that it can't be read; how much was cut off."""
        if self._cut:
            why = f"it was cut short: of {self._records:,} entries {len(self._left):,} records can still be told"
            return [Problem(f"{self._file.name} (byte {self._file.stat().st_size:,})", why)]
        with self._reading_txn() as (_, txn):
            for name in LISTS:
                if (listed := txn.get(name)) is None:
                    continue
                what = f"key {name.decode()}"
                try:
                    names = tensorpack.value_of(listed) if name == TENSORPACK else load_arrays(listed, "the list")
                except (TwelvefoldError, RecordError) as error:
                    return [Problem(what, str(error))]
                if not isinstance(names, list):
                    return [Problem(what, f"expected a list of names, got {type(names).__name__}")]
                keys = [item if isinstance(item, bytes) else str(item).encode() for item in names]
                lost = [key for key in keys if txn.get(key) is None]
                return [Problem(f"key {_shown(key)}", "listed among the keys, but has no record") for key in lost]
        return []

    def _from_pages(self, start: bytes) -> Iterator[Record]:
        """The records of a file that was cut short; of one that lies behind its end, where that is."""
        with Pages(self._file) as pages:
            for place in self._left:
                if place.key > start and place.end <= pages.size:
                    yield self._record(place.key, pages.data[place.start : place.end])
                elif place.key > start:
                    name, why = _shown(place.key), f"lies behind the end of the file, at byte {place.start:,}"
                    yield Record(name, f"key {name}", place.key.hex(), 1, "", None, why)

    def _record(self, key: bytes, value: Any) -> Record:
        name, after, digest = _shown(key), key.hex(), digest_bytes(value)
        where = f"key {name}"
        try:
            if bytes(value[:1]) == bytes([tensorpack.FIRST_BYTE]):
                fields = tensorpack.fields_of(value)
                name = name_of(fields)
            else:
                fields = load_arrays(value, "the record")
            if not isinstance(fields, dict):
                raise RecordError(f"expected a dict, got {type(fields).__name__}")
            regions, notes = regions_of(fields, self._reading)
        except (TwelvefoldError, RecordError) as error:
            return Record(name, where, after, 1, digest, None, str(error))
        return Record(name, where, after, 1, digest, regions, notes=notes)


def _shown(key: bytes) -> str:
    return key.decode(errors="backslashreplace")
