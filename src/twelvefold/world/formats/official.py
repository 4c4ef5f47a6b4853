"""Official files as JSON, JSON lines, pickles, lines of text or zip files, put together from the shards of many blocks.

A layout describes what is around the records of a file. Workers add records to shards as bytes of the final file. At
the end the shards of all blocks are concatenated, so no file has to fit into memory.
"""

from __future__ import annotations

import gzip
import io
import json
import pickle
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final, Literal

from twelvefold.store.atomic_files import atomic_file

Form = Literal["list", "dict", "fields", "lines", "lines.gz", "pickle", "text", "zip"]


@dataclass(frozen=True, slots=True)
class Layout:
    """The structure of an official file.

    ``form``: ``list`` and ``dict`` are one JSON array or object; ``fields`` is an object with the fields of ``head``,
    then an array for each of ``parts``; ``lines`` is one JSON object per line; ``pickle`` is a list of dicts in
    protocol 2 (Python 2); ``text`` is one string per line; ``zip`` holds a file of text for each (name, text).
    """

    path: str
    form: Form
    head: Mapping[str, object] = field(default_factory=dict)
    parts: tuple[str, ...] = ("",)


class AnnotationShard:
    """The records of a block of images for each part of each official file."""

    def __init__(self, layouts: Iterable[Layout]) -> None:
        self._forms = {layout.path: layout.form for layout in layouts}
        self._parts: defaultdict[tuple[str, str], list[bytes]] = defaultdict(list)

    def add(self, path: str, record: object, part: str = "") -> None:
        """Add a record to an official file. It is a (key, value) pair if the form is ``dict``."""
        form = self._forms[path]
        if form == "pickle":
            data = _pickle_without_frame(record)
        elif form == "dict" and isinstance(record, tuple):
            data = (_json(record[0]) + ": " + _json(record[1])).encode()
        elif form == "text":
            data = f"{record}\n".encode()
        else:
            data = _json(record).encode()
        self._parts[path, part].append(data)

    def save(self, folder: Path) -> None:
        """Write one file for each part with records."""
        for (path, part), records in self._parts.items():
            (folder / _shard_name(path, part)).write_bytes(_SEPARATOR[self._forms[path]].join(records))


def write_official(target: Path, layout: Layout, folders: Iterable[Path]) -> int:
    """Write an official file from the shards in ``folders``, in their order. Return its size in bytes."""
    folders = list(folders)
    with atomic_file(target) as file:
        if layout.form == "lines.gz":
            # Without a name and a time in the header, equal records give equal bytes.
            with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0, compresslevel=6) as packed:
                _concatenate(packed, layout, folders)
        elif layout.form == "zip":
            _write_zip(file, layout, folders)
        else:
            _concatenate(file, layout, folders)
    return target.stat().st_size


_SEPARATOR: Final[Mapping[Form, bytes]] = {
    "list": b",\n", "dict": b",\n", "fields": b",\n", "lines": b"\n", "lines.gz": b"\n", "pickle": b"",
    "text": b"", "zip": b"\n",
}  # fmt: skip
_BEFORE: Final[Mapping[Form, bytes]] = {
    "list": b"[",
    "dict": b"{",
    # Protocol 2, an empty list, a mark, the records, APPENDS, STOP.
    "pickle": pickle.PROTO + b"\x02" + pickle.EMPTY_LIST + pickle.MARK,
}
_AFTER: Final[Mapping[Form, bytes]] = {
    "list": b"]\n", "dict": b"}\n", "fields": b"]}\n", "pickle": pickle.APPENDS + pickle.STOP, "text": b"",
}  # fmt: skip


def _concatenate(file: IO[bytes] | gzip.GzipFile, layout: Layout, folders: list[Path]) -> None:
    before = _BEFORE.get(layout.form, b"")
    if layout.form == "fields":
        before = b"{" + "".join(f"{_json(key)}: {_json(value)}, " for key, value in layout.head.items()).encode()
    for part in layout.parts:
        file.write(before + (f"{_json(part)}: [".encode() if part else b""))
        before, separator = b"], ", b""
        for shard in (folder / _shard_name(layout.path, part) for folder in folders):
            if shard.exists():
                file.write(separator)
                file.write(shard.read_bytes())
                separator = _SEPARATOR[layout.form]
    file.write(_AFTER.get(layout.form, b"\n"))


def _write_zip(file: IO[bytes], layout: Layout, folders: list[Path]) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        for shard in (folder / _shard_name(layout.path, "") for folder in folders):
            for line in shard.read_bytes().splitlines() if shard.exists() else ():
                name, text = json.loads(line)
                info = zipfile.ZipInfo(name)  # of 1980, so that equal records give equal bytes
                info.create_system, info.external_attr = 3, 0o644 << 16
                archive.writestr(info, text, compress_type=zipfile.ZIP_DEFLATED, compresslevel=6)


def _shard_name(path: str, part: str) -> str:
    return f"{path.replace('/', '~')}~{part}.shard"


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _pickle_without_frame(record: object) -> bytes:
    """Return the opcodes that put a record on the stack, without a memo, so that many may follow each other."""
    out = io.BytesIO()
    pickler = pickle.Pickler(out, protocol=2)
    pickler.fast = True
    pickler.dump(record)
    return out.getvalue()[2:-1]
