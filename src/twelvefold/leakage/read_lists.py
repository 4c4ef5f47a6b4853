"""Read lists of images in common formats: text, CSV, TSV, JSON, JSON lines, NumPy, or a folder.

A list contains ids or paths, each with an optional text. ``leakage.custom_sets`` decides what an id means.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
from pyarrow import csv

from twelvefold.images import IMAGE_SUFFIXES, walk_images
from twelvefold.schema import TwelvefoldError, did_you_mean
from twelvefold.splits.id_lists import load_flat_array

IMAGE_COLUMNS = ("image_id", "image", "path", "file_name", "filename", "url", "key", "id")
"""Columns that may contain the images. A list with exactly one of them needs no column name."""

LIST_SUFFIXES = (".txt", ".csv", ".tsv", ".jsonl", ".json", ".npy")

Column = str | int
"""The name of a column, or its number, starting at 1, in a table without a header."""

Entry = tuple[str, str]
"""An id or a path, and its text, which may be empty."""


def read_entries(path: Path, *, column: Column = "", text: Column = "") -> list[Entry]:
    """Return the entries of a list, in order. ``column`` contains the images, ``text`` the texts.

    Raises:
        TwelvefoldError: the file is missing, of an unknown format, or not valid; there is no such column; an entry is
            empty, or neither text nor an integer; or the entries have different types.
    """
    if not path.is_file():
        raise TwelvefoldError(f"expected a list or a folder of images at {path}, but there is no such file or folder")
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv"):
        return _read_table(path, column, text)
    if suffix not in LIST_SUFFIXES:
        raise TwelvefoldError(f"{path}: expected a folder, or a list that ends in one of {', '.join(LIST_SUFFIXES)}")
    if suffix == ".txt":
        lines = _read_text(path).splitlines()
        return [(line.strip(), "") for line in lines if line.strip()]
    return _to_entries(path, _read_array(path) if suffix == ".npy" else _read_json(path), column, text)


def is_image_name(name: str) -> bool:
    """Return whether a name has the suffix of an image file."""
    return name.lower().endswith(tuple(IMAGE_SUFFIXES))


def list_images(folder: Path) -> list[Path]:
    """Return the image files in a folder, at any depth, sorted by name. Hidden files are ignored.

    Raises:
        TwelvefoldError: there is no image.
    """
    paths = list(walk_images(folder))
    if not paths:
        raise TwelvefoldError(f"{folder} contains no image (a file that ends in {', '.join(sorted(IMAGE_SUFFIXES))})")
    return paths


def _read_array(path: Path) -> list[Any]:
    values = load_flat_array(path)
    if values.dtype.kind not in "iuU":
        raise TwelvefoldError(f"{path}: expected integers or text, got {values.dtype}")
    return list(values.tolist())


def _read_json(path: Path) -> Sequence[Any]:
    data = path.read_bytes()
    try:
        if path.suffix.lower() == ".jsonl":
            return msgspec.json.Decoder(Any).decode_lines(data)
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise TwelvefoldError(f"{path} is truncated or not {path.suffix[1:].upper()}: {error}") from error
    if isinstance(value, dict):  # COCO's format: an object with its images under "images"
        value = value.get("images")
    if not isinstance(value, list):
        raise TwelvefoldError(f"{path}: expected a list, or an object with a list under 'images'")
    return value


def _to_entries(path: Path, records: Sequence[Any], column: Column, text: Column) -> list[Entry]:
    """Return the records as entries, after checking that their ids have one type."""
    if not records:
        return []
    if isinstance(records[0], dict):
        column = _find_column(path, list(records[0]), column)
        ids = [record.get(column) if isinstance(record, dict) else None for record in records]
    elif column or text:
        raise TwelvefoldError(f"{path} has no columns, so it has neither {column!r} nor {text!r}; it is a plain list")
    else:
        ids = list(records)
    id_type = type(ids[0])
    for index, id_ in enumerate(ids):
        if type(id_) not in (str, int) or id_ == "":
            raise TwelvefoldError(f"{path}, record {index}: expected an id or a path, got {id_!r}")
        if type(id_) is not id_type:
            raise TwelvefoldError(
                f"{path}: ids of mixed type: record 0 is {ids[0]!r}, record {index} is {id_!r}. The same image may "
                f"occur as a number and as text; write all as numbers or all as text"
            )
    texts = [_text_of(path, n, record, text) for n, record in enumerate(records)] if text else [""] * len(ids)
    return list(zip(map(str, ids), texts, strict=True))


def _text_of(path: Path, index: int, record: dict[str, Any], column: Column) -> str:
    value = record.get(str(column))
    if not isinstance(value, str):
        raise TwelvefoldError(f"{path}, record {index}: expected a text under {column!r}, got {value!r}")
    return value


def _read_table(path: Path, column: Column, text: Column) -> list[Entry]:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    has_header = not isinstance(column, int)
    try:
        read_options = csv.ReadOptions(autogenerate_column_names=not has_header)
        parse_options = csv.ParseOptions(delimiter=delimiter, newlines_in_values=delimiter == ",")
        names = csv.open_csv(path, read_options=read_options, parse_options=parse_options).schema.names
        column = _find_column(path, names, f"f{column - 1}" if isinstance(column, int) else column)
        columns = [column]
        if text:
            columns.append(_find_column(path, names, f"f{text - 1}" if isinstance(text, int) else text))
        convert_options = csv.ConvertOptions(
            include_columns=columns, column_types=dict.fromkeys(columns, pa.string()), strings_can_be_null=False
        )
        table = csv.read_csv(path, read_options, parse_options, convert_options)
    except pa.ArrowInvalid as error:
        raise TwelvefoldError(f"{path} can't be read as {path.suffix[1:].upper()}: {error}") from error
    ids = [id_.strip() for id_ in table.column(0).to_pylist()]
    if "" in ids:
        raise TwelvefoldError(f"{path}, record {ids.index('')}: expected an id or a path in {column!r}, got nothing")
    return list(zip(ids, table.column(1).to_pylist() if text else [""] * len(ids), strict=True))


def _find_column(path: Path, names: Sequence[str], column: Column) -> str:
    """Return the requested column, or the only one that may contain the images."""
    if column:
        if column not in names:
            raise TwelvefoldError(
                f"{path} has no column {column!r}; it has {', '.join(names)}{did_you_mean(str(column), names)}"
            )
        return str(column)
    possible = [name for name in names if name in IMAGE_COLUMNS] if len(names) > 1 else list(names)
    if len(possible) != 1:
        raise TwelvefoldError(f"{path} has the columns {', '.join(names)}: state which of them contains the images")
    return possible[0]


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise TwelvefoldError(f"{path} is not UTF-8 text: {error}") from error
