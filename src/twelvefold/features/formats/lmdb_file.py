"""Features in LMDB: a pickled dict per image, under its name, and ``keys``, the pickled list of all names.

The content of a record shows its variant: the original project's (arrays ``boxes`` and ``features``), its predecessor's
(the same as base64 text), MMF's (``bbox``, ``image_height``; keys are paths), and TensorPack's for Conceptual Captions,
which is not pickled (``tensorpack``). Records are read in the order of their keys by a cursor; the list ``keys`` is
only compared with them. From a truncated file, all remaining records are read (``lmdb_pages``).

Differs: the original searches its list of keys from the start at each access, and unpickles without restrictions.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from twelvefold.config.extract import ImportConfig
from twelvefold.features.formats import tensorpack
from twelvefold.features.formats.fields import parse_regions, read_image_name
from twelvefold.features.formats.lmdb_pages import LmdbPages
from twelvefold.features.formats.record import FeatureFile, FeatureRecord, Problem, RecordError, RegionsWithWarnings
from twelvefold.parsing.bounds import MAX_SHOWN
from twelvefold.schema import TwelvefoldError
from twelvefold.store.atomic_files import digest_bytes
from twelvefold.store.safe_pickle import load_arrays

MAGIC = bytes.fromhex("dec0efbe")
"""LMDB's magic number, after the 16 bytes of a page's header."""
TENSORPACK_KEYS = b"__keys__"
KEY_LISTS = (b"keys", TENSORPACK_KEYS)
"""Keys of records that list all others: the original project's, and TensorPack's."""


def is_lmdb(path: Path) -> bool:
    """Return whether a folder or file begins like an LMDB environment."""
    file = path / "data.mdb" if path.is_dir() else path
    if not file.is_file():
        return False
    with file.open("rb") as stream:
        return stream.read(20)[16:] == MAGIC


class LmdbFile(FeatureFile):
    """An LMDB environment (a folder with ``data.mdb``, or a single file), opened without writing a lock."""

    def __init__(self, path: Path, config: ImportConfig) -> None:
        """Open it.

        Raises:
            TwelvefoldError: it is not an LMDB, it is damaged, or the package ``lmdb`` is not installed.
        """
        if importlib.util.find_spec("lmdb") is None:
            raise TwelvefoldError(
                "reading LMDB files needs the package lmdb, which is not installed: pip install 'twelvefold[official]'"
            )
        super().__init__(path, config)
        self._file = path / "data.mdb" if path.is_dir() else path
        if not is_lmdb(path):
            raise TwelvefoldError(f"{path} is not an LMDB: expected a folder with data.mdb, or such a file")
        with LmdbPages(self._file) as pages:
            size, self._num_entries, self._truncated = pages.size, pages.meta.num_entries, not pages.is_complete()
            self._spans = [span for span in pages.find_values() if span.key not in KEY_LISTS] if self._truncated else []
        if self._truncated:
            self.total = len(self._spans)
        else:
            with self._transaction() as (env, txn):
                self.total = env.stat()["entries"] - sum(txn.get(name) is not None for name in KEY_LISTS)
        self.identity = {"bytes": size, "records": self.total}

    @contextmanager
    def _transaction(self) -> Iterator[tuple[Any, Any]]:
        """Open the environment and a transaction."""
        import lmdb

        try:
            with (
                lmdb.open(str(self._path), subdir=self._path.is_dir(), readonly=True, lock=False) as env,
                env.begin(buffers=True) as txn,
            ):
                yield env, txn
        except lmdb.Error as error:
            raise TwelvefoldError(f"{self._path} cannot be read as an LMDB: {error}; damaged or truncated?") from error

    def records(self, after: str = "") -> Iterator[FeatureRecord]:
        """Yield the records after the key with the hexadecimal digits ``after``."""
        start = bytes.fromhex(after)
        if self._truncated:
            yield from self._read_pages(start)
            return
        with self._transaction() as (_, txn), txn.cursor() as cursor:
            has_record = cursor.set_range(start) if start else cursor.first()
            if has_record and start and bytes(cursor.key()) == start:
                has_record = cursor.next()
            while has_record:
                key = bytes(cursor.key())
                if key not in KEY_LISTS:
                    yield self._decode(key, cursor.value())
                has_record = cursor.next()

    def file_problems(self) -> list[Problem]:
        """Return listed names without a record, an unreadable list of keys, or how much of the file is missing."""
        if self._truncated:
            message = f"the file is truncated: {len(self._spans):,} of {self._num_entries:,} entries can still be found"
            return [Problem(f"{self._file.name} (byte {self._file.stat().st_size:,})", message)]
        with self._transaction() as (env, txn):
            list_key = next((key for key in KEY_LISTS if txn.get(key) is not None), None)
            if list_key is None:
                return []
            value, location = txn.get(list_key), f"key {list_key.decode()}"
            try:
                names = (
                    tensorpack.decode_value(value) if list_key == TENSORPACK_KEYS else load_arrays(value, "the list")
                )
            except (TwelvefoldError, RecordError) as error:
                return [Problem(location, str(error))]
            if not isinstance(names, list):
                return [Problem(location, f"expected a list of names, got {type(names).__name__}")]
            keys = [item if isinstance(item, bytes) else str(item).encode(errors="replace") for item in names]
            max_size = env.max_key_size()
            missing = [
                _printable(key)[:MAX_SHOWN] for key in keys if not 0 < len(key) <= max_size or txn.get(key) is None
            ]
            return [Problem(f"key {key}", "is in the list of keys, but has no record") for key in missing]

    def _read_pages(self, start: bytes) -> Iterator[FeatureRecord]:
        """Yield the records of a truncated file, and an error for each whose value is beyond its end."""
        with LmdbPages(self._file) as pages:
            for span in self._spans:
                if span.key > start and span.end <= pages.size:
                    yield self._decode(span.key, pages.data[span.start : span.end])
                elif span.key > start:
                    name = _printable(span.key)
                    error = RecordError(f"is beyond the end of the file, at byte {span.start:,}")
                    yield FeatureRecord(name, f"key {name}", span.key.hex(), "", error)

    def _decode(self, key: bytes, value: Any) -> FeatureRecord:
        name = printable_key = _printable(key)
        result: RegionsWithWarnings | Exception
        try:
            if bytes(value[:1]) == bytes([tensorpack.FIRST_BYTE]):
                fields = tensorpack.decode_record(value)
                name = read_image_name(fields)
            else:
                fields = load_arrays(value, "the record")
            if not isinstance(fields, dict):
                raise RecordError(f"expected a dict, got {type(fields).__name__}")
            result = parse_regions(fields, self._config)
        except (TwelvefoldError, RecordError) as error:
            result = error
        return FeatureRecord(name, f"key {printable_key}", key.hex(), digest_bytes(value), result)


def _printable(key: bytes) -> str:
    return key.decode(errors="backslashreplace")
