"""Lists of pictures in the plain formats that people have: text, CSV, TSV, JSON, JSON lines, NumPy, a folder.

A list gives ids or paths, and maybe a text beside each. What an id means is for ``splits.own`` to say.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from pyarrow import csv

from twelvefold.schema import TwelvefoldError, did_you_mean

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
"""Endings of files that are pictures. Others in a folder are passed over."""

COLUMNS = ("image_id", "image", "path", "file_name", "filename", "url", "key", "id")
"""Columns that can hold the pictures; where a list has exactly one of them, it need not be named."""

READS = (".txt", ".csv", ".tsv", ".jsonl", ".json", ".npy")

Column = str | int
"""A column by its name, or by its number, from 1, where a table has no line of names."""

Entry = tuple[str, str]
"""An id or a path, and its text or an empty one."""


def entries(path: Path, *, column: Column = "", text: Column = "") -> list[Entry]:
    """The entries of a list, in order.

    Raises:
        TwelvefoldError: no such file or format; not what its ending says; no such column; an entry that is empty or
            neither text nor a whole number; entries of mixed type.
    """
    if not path.is_file():
        raise TwelvefoldError(f"expected a list or a folder of pictures at {path}, got nothing there")
    ending = path.suffix.lower()
    if ending in (".csv", ".tsv"):
        return _table(path, column, text)
    if ending not in READS:
        raise TwelvefoldError(f"{path}: expected a folder, or a list that ends in one of {', '.join(READS)}")
    if ending == ".txt":
        lines = _text(path).splitlines()
        return [(line.strip(), "") for line in lines if line.strip()]
    return _checked(path, _array(path) if ending == ".npy" else _records(path), column, text)


def is_picture(name: str) -> bool:
    """Whether a name ends as a picture's does."""
    return name.lower().endswith(PICTURES)


def pictures(folder: Path) -> list[Path]:
    """The pictures in a folder, at any depth, in order of name; hidden files are none.

    Raises:
        TwelvefoldError: there is no picture.
    """
    found = []
    for parent, folders, names in os.walk(folder):
        folders.sort()
        ours = (name for name in sorted(names) if is_picture(name) and not name.startswith("."))
        found += [Path(parent, name) for name in ours]
    if not found:
        raise TwelvefoldError(f"{folder} holds no picture (a file that ends in {', '.join(PICTURES)})")
    return found


def _array(path: Path) -> list[Any]:
    try:
        values = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise TwelvefoldError(
            f"{path} is no plain NumPy array: {error}. Pickled objects are never loaded; save the ids again as whole "
            f"numbers or text"
        ) from error
    if not isinstance(values, np.ndarray) or values.ndim != 1 or values.dtype.kind not in "iuU":
        what = f"{values.dtype}, {values.shape}" if isinstance(values, np.ndarray) else "several arrays"
        raise TwelvefoldError(f"{path}: expected a one-dimensional array of whole numbers or of text, got {what}")
    return list(values.tolist())


def _records(path: Path) -> Sequence[Any]:
    data = path.read_bytes()
    try:
        if path.suffix.lower() == ".jsonl":
            return msgspec.json.Decoder(Any).decode_lines(data)
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise TwelvefoldError(f"{path} is truncated or not {path.suffix[1:].upper()}: {error}") from error
    if isinstance(value, dict):  # COCO's way: an object whose pictures lie under "images"
        value = value.get("images")
    if not isinstance(value, list):
        raise TwelvefoldError(f"{path}: expected a list, or an object with a list under 'images'")
    return value


def _checked(path: Path, records: Sequence[Any], column: Column, text: Column) -> list[Entry]:
    """The records as entries, all of one type."""
    if not records:
        return []
    is_object = isinstance(records[0], dict)
    if is_object:
        column = _column(path, list(records[0]), column)
        ids = [record.get(column) if isinstance(record, dict) else None for record in records]
    elif column or text:
        raise TwelvefoldError(f"{path} has no columns, so it has neither {column!r} nor {text!r}; it is a plain list")
    else:
        ids = list(records)
    kind = type(ids[0])
    for place, id_ in enumerate(ids):
        if type(id_) not in (str, int) or id_ == "":
            raise TwelvefoldError(f"{path}, record {place}: expected an id or a path, got {id_!r}")
        if type(id_) is not kind:
            raise TwelvefoldError(
                f"{path}: ids of mixed type: record 0 is {ids[0]!r}, record {place} is {id_!r}. The same picture may "
                f"be there as a number and as text; write all as numbers or all as text"
            )
    texts = [_said(path, n, record, text) for n, record in enumerate(records)] if text else [""] * len(ids)
    return list(zip(map(str, ids), texts, strict=True))


def _said(path: Path, place: int, record: dict[str, Any], text: Column) -> str:
    said = record.get(str(text))
    if not isinstance(said, str):
        raise TwelvefoldError(f"{path}, record {place}: expected a text under {text!r}, got {said!r}")
    return said


def _table(path: Path, column: Column, text: Column) -> list[Entry]:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    numbered = isinstance(column, int)
    try:
        reading = csv.ReadOptions(autogenerate_column_names=numbered)
        parsing = csv.ParseOptions(delimiter=delimiter, newlines_in_values=delimiter == ",")
        names = csv.open_csv(path, read_options=reading, parse_options=parsing).schema.names
        column = _column(path, names, f"f{column - 1}" if isinstance(column, int) else column)
        wanted = [column]
        if text:
            wanted.append(_column(path, names, f"f{text - 1}" if isinstance(text, int) else text))
        converting = csv.ConvertOptions(
            include_columns=wanted, column_types=dict.fromkeys(wanted, pa.string()), strings_can_be_null=False
        )
        table = csv.read_csv(path, reading, parsing, converting)
    except pa.ArrowInvalid as error:
        raise TwelvefoldError(f"{path} can't be read as {path.suffix[1:].upper()}: {error}") from error
    ids = [id_.strip() for id_ in table.column(0).to_pylist()]
    if "" in ids:
        raise TwelvefoldError(f"{path}, record {ids.index('')}: expected an id or a path in {column!r}, got nothing")
    return list(zip(ids, table.column(1).to_pylist() if text else [""] * len(ids), strict=True))


def _column(path: Path, names: Sequence[str], column: Column) -> str:
    """The column asked for, or the only one that can be meant."""
    if column:
        if column not in names:
            raise TwelvefoldError(
                f"{path} has no column {column!r}; it has {', '.join(names)}{did_you_mean(str(column), names)}"
            )
        return str(column)
    possible = [name for name in names if name in COLUMNS] if len(names) > 1 else list(names)
    if len(possible) != 1:
        raise TwelvefoldError(f"{path} has the columns {', '.join(names)}: say which of them names the pictures")
    return possible[0]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise TwelvefoldError(f"{path} is no text in UTF-8: {error}") from error


def pairs(path: Path, columns: tuple[str, str]) -> Iterator[tuple[str, str]]:
    """Two columns of a table, side by side: an id map."""
    left, right = (entries(path, column=column) for column in columns)
    yield from ((one, other) for (one, _), (other, _) in zip(left, right, strict=True))
