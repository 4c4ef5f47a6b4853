"""Official files, written a record at a time: from the sheets of many pictures to one JSON, JSON-lines or pickle file.

A file's layout says what stands around its records. Workers put records on sheets, as text that is already part of
the file; in the end the sheets of all blocks are strung together, so no file is ever held in memory.
"""

from __future__ import annotations

import gzip
import io
import json
import pickle
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final, Literal

from twelvefold.store.atomic_files import atomic_file

Form = Literal["list", "dict", "fields", "lines", "lines.gz", "pickle"]


@dataclass(frozen=True, slots=True)
class Layout:
    """What an official file looks like around its records.

    form: ``list`` and ``dict`` are one JSON array or object; ``fields`` is an object with ``head``, then one array
    for each of ``parts``; ``lines`` is one JSON object a line; ``pickle`` is a Python 2 list of dicts (protocol 2).
    """

    path: str
    form: Form
    head: Mapping[str, object] = field(default_factory=dict)
    parts: tuple[str, ...] = ("",)


class AnnotationShard:
    """The records of a block of pictures, each under its file's path and part, as bytes of the file to be."""

    def __init__(self, layouts: Iterable[Layout]) -> None:
        self._forms = {layout.path: layout.form for layout in layouts}
        self._parts: defaultdict[tuple[str, str], list[bytes]] = defaultdict(list)

    def add(self, path: str, record: object, part: str = "") -> None:
        """Put a record down. ``record`` is a (key, value) pair where the file is a ``dict``."""
        form = self._forms[path]
        if form == "pickle":
            data = _unpickled_inside(record)
        elif form == "dict" and isinstance(record, tuple):
            data = (_json(record[0]) + ": " + _json(record[1])).encode()
        else:
            data = _json(record).encode()
        self._parts[path, part].append(data)

    def save(self, folder: Path) -> None:
        """One file for each part that has records."""
        for (path, part), records in self._parts.items():
            joint = _JOINT[self._forms[path]]
            (folder / _sheet_name(path, part)).write_bytes(joint.join(records))


def write_official(target: Path, layout: Layout, folders: Iterable[Path]) -> int:
    """Write the official file from the sheets saved in ``folders``, in their order; its size in bytes."""
    folders = list(folders)
    with atomic_file(target) as file:
        if layout.form == "lines.gz":
            # No name and no time in the header: the same records give the same bytes.
            with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0, compresslevel=6) as packed:
                _string_together(packed, layout, folders)
        else:
            _string_together(file, layout, folders)
    return target.stat().st_size


_JOINT: Final[Mapping[Form, bytes]] = {
    "list": b",\n", "dict": b",\n", "fields": b",\n", "lines": b"\n", "lines.gz": b"\n", "pickle": b"",
}  # fmt: skip
_AROUND: Final[Mapping[Form, tuple[bytes, bytes]]] = {
    "list": (b"[", b"]\n"),
    "dict": (b"{", b"}\n"),
    "lines": (b"", b"\n"),
    "lines.gz": (b"", b"\n"),
    # Protocol 2, an empty list, a mark, the records, APPENDS, STOP.
    "pickle": (pickle.PROTO + b"\x02" + pickle.EMPTY_LIST + pickle.MARK, pickle.APPENDS + pickle.STOP),
}


def _string_together(file: IO[bytes] | gzip.GzipFile, layout: Layout, folders: list[Path]) -> None:
    if layout.form == "fields":
        file.write(b"{" + "".join(f"{_json(k)}: {_json(v)}, " for k, v in layout.head.items()).encode())
        for number, part in enumerate(layout.parts):
            file.write(f"{', ' if number else ''}{_json(part)}: [".encode())
            _write_sheets(file, layout, part, folders)
            file.write(b"]")
        file.write(b"}\n")
    else:
        before, after = _AROUND[layout.form]
        file.write(before)
        _write_sheets(file, layout, "", folders)
        file.write(after)


def _write_sheets(file: IO[bytes] | gzip.GzipFile, layout: Layout, part: str, folders: list[Path]) -> None:
    joint = b""
    for shard in _sheets(layout, part, folders):
        file.write(joint)
        file.write(shard)
        joint = _JOINT[layout.form]


def _sheets(layout: Layout, part: str, folders: list[Path]) -> Iterator[bytes]:
    for folder in folders:
        shard = folder / _sheet_name(layout.path, part)
        if shard.exists():
            yield shard.read_bytes()


def _sheet_name(path: str, part: str) -> str:
    return f"{path.replace('/', '~')}~{part}.sheet"


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _unpickled_inside(record: object) -> bytes:
    """The opcodes that put one record on the stack: a pickle without its frame, and without a memo, so that the
    opcodes of many records may follow one another."""
    out = io.BytesIO()
    pickler = pickle.Pickler(out, protocol=2)
    pickler.fast = True
    pickler.dump(record)
    return out.getvalue()[2:-1]
