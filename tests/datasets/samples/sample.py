"""What every sample states: a few records in a dataset's official formats, written by hand."""

from __future__ import annotations

import gzip
import io
import json
import struct
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


def get_key(name: str) -> Callable[[Any], tuple[Any, Any]]:
    """Return a function that finds the text of a record at key ``name``."""
    return lambda record: (record, name)


@dataclass(frozen=True)
class FirstRecord:
    """The first record of train: its file, the list (or object) of records in it, its key there, its name in errors,
    and the text in a record: the dict or list that holds it, and its key there."""

    file: str
    name: str
    text: Callable[[Any], tuple[Any, Any]]
    records: Callable[[Any], Any] = field(default=lambda content: content)
    key: Any = 0


@dataclass(frozen=True)
class Sample:
    """``make_files``: the content of each official file by path. ``options``: of the reader, for small held-out splits.
    ``label``: type of the labels. ``has_unique_keys``: records are an object's values, so no id can be repeated.
    ``has_lines``: the first file has JSON lines, not compressed, so truncation damages its last record only.
    ``unlabeled_splits``: without labels. ``has_empty_texts``: some texts are empty."""

    make_files: Callable[[], dict[str, Any]]
    first: FirstRecord
    label: type
    options: Mapping[str, Any] = field(default_factory=dict)
    has_unique_keys: bool = False
    has_lines: bool = False
    unlabeled_splits: tuple[str, ...] = ()
    has_empty_texts: bool = False


def encode_file(name: str, content: Any) -> bytes:
    """Return the bytes of an official file."""
    if name.endswith(".txt"):
        return str(content).encode()
    if name.endswith(".zip"):
        return _zip(content)
    if name.endswith(".p"):
        return python2_pickle(content, protocol=2)
    if name.endswith(".jsonl.gz"):
        return gzip.compress(_json_lines(content))
    if name.endswith(".jsonl") or name.startswith("nlvr2/"):
        return _json_lines(content)
    return json.dumps(content).encode()


def _zip(contents: Mapping[str, Any]) -> bytes:
    """Return a zip file of texts, or of the captions of an image: a marked phrase ``text``, and the ``rest``."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in contents.items():
            text = content if isinstance(content, str) else "".join(map(_caption, content))
            archive.writestr(name, text)
    return data.getvalue()


def _caption(record: Mapping[str, str]) -> str:
    marked = f"[/EN#1/people {record['text']}] {record['rest']}" if "text" in record else f"[/EN#{record}"
    return marked + "\n"


def _json_lines(values: list[Any]) -> bytes:
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


def python2_pickle(value: Any, protocol: int) -> bytes:
    """Return what Python 2 writes for lists, dicts, ints and byte strings (bytes or str)."""
    if protocol == 0:
        return _protocol0(value) + b"."
    return b"\x80\x02" + _protocol2(value) + b"."


def _protocol2(value: Any) -> bytes:
    if isinstance(value, dict):
        return b"}(" + b"".join(_protocol2(k) + _protocol2(v) for k, v in value.items()) + b"u"
    if isinstance(value, list):
        return b"](" + b"".join(map(_protocol2, value)) + b"e"
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    data = value.encode() if isinstance(value, str) else value
    return b"T" + struct.pack("<i", len(data)) + data


def _protocol0(value: Any) -> bytes:
    if isinstance(value, dict):
        return b"(d" + b"".join(_protocol0(k) + _protocol0(v) + b"s" for k, v in value.items())
    if isinstance(value, list):
        return b"(l" + b"".join(_protocol0(item) + b"a" for item in value)
    if isinstance(value, int):
        return b"I%d\n" % value
    data = value.encode() if isinstance(value, str) else value
    return b"S" + repr(data)[1:].encode() + b"\n"
