"""Read lists of images as spreadsheets, pandas and other programs write them, or a folder.

A list contains ids or paths, each with an optional text: text, CSV, TSV, JSON, JSON lines, NumPy or Parquet, in UTF-8
or UTF-16. ``splits.list_tables`` reads tables of text; ``leakage.custom_sets`` decides what an id means.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet

from twelvefold.datasets.reading.image_sources import FLICKR30K, NAME_PATTERNS, name_examples, published_key
from twelvefold.image_folder import ImageFolder, scan_image_folder, skipped_lines
from twelvefold.parsing.file_kind import check_file_kind
from twelvefold.parsing.json_text import JsonError, decode_json, describe_error
from twelvefold.parsing.text import iter_lines, read_bytes, read_text
from twelvefold.schema import ImageKey, TwelvefoldError, did_you_mean
from twelvefold.splits import list_tables
from twelvefold.splits.list_tables import IMAGE_COLUMNS, Table, is_image_name, normalize_name, select_image_columns
from twelvefold.store.npy_content import load_npy

TEXT_SUFFIXES = {".txt": "", ".lst": "", ".list": "", ".csv": ",", ".tsv": "\t"}
"""Suffixes of lists of text, and the delimiter that a suffix states."""

LIST_SUFFIXES = (*TEXT_SUFFIXES, ".json", ".jsonl", ".ndjson", ".npy", ".parquet")

_INTEGER = re.compile(r"[0-9]+(?:[.,]0+)?")
_NUMBER = re.compile(r"[+-]?[0-9]+(?:[.,][0-9]+)*(?:[eE][+-]?[0-9]+)?")
_FORMULA = re.compile(r'="(.*)"')
"""How a spreadsheet is told to keep an id as text."""

URL_SOURCE = "url"
"""The source of images that are known by their URL (Conceptual Captions)."""

_URL_PREFIX = re.compile(r"^\w+://(www\.)?", re.IGNORECASE)
_FLICKR_URL = re.compile(r"(?:farm\d+\.)?(?:live\.)?static\.?flickr\.com/(?:\d+/)+(\d+)_", re.IGNORECASE)
"""A Flickr URL contains the photo id: Flickr30k's name of the image and Visual Genome's ``flickr_id``."""

MISSING = ("", "nan", "<na>", "null", "none")
"""What pandas and other programs write for a missing value, in lower case."""

MAX_LINE = 1 << 20
"""Longest line of a list in bytes."""

Column = str | int
"""The name of a column, or its number, starting at 1."""

Entry = tuple[str, str]
"""An id or a path, and its text, which may be empty."""


class Ids(NamedTuple):
    """The ids of a list, and the line or record of each."""

    numbers: Sequence[int]
    values: Sequence[Any]


def read_entries(path: Path, *, column: Column = "", text: Column = "") -> list[Entry]:
    """Return the entries of a list, in order. ``column`` contains the images, ``text`` the texts.

    Ids that a program stored as floats become integers again, and backslashes of Windows paths become slashes.

    Raises:
        TwelvefoldError: the file is missing, of an unknown format, or not valid; there is no such column; an entry is
            empty, or neither text nor an integer; or the entries have different types. Names the line or record.
    """
    if not path.is_file():
        raise TwelvefoldError(f"expected a list or a folder of images at {path}, but there is no such file or folder")
    check_file_kind(path)
    suffix = path.suffix.lower()
    if suffix not in LIST_SUFFIXES:
        is_spreadsheet = suffix in (".xlsx", ".xls", ".ods")
        advice = ". Save the spreadsheet as CSV UTF-8" if is_spreadsheet else ""
        raise TwelvefoldError(
            f"{path}: expected a folder, or a list that ends in one of {', '.join(LIST_SUFFIXES)}{advice}"
        )
    if suffix in (*TEXT_SUFFIXES, ".jsonl", ".ndjson"):
        _check_line_lengths(path)
    if suffix in TEXT_SUFFIXES:
        ids, texts = _read_text_list(path, column, text)
    else:
        ids, texts = _read_records(path, column, text)
    unit = "line" if suffix in TEXT_SUFFIXES else "record"
    return list(zip(_clean_ids(path, unit, ids), texts, strict=True))


def locate_entry(path: Path, id_: str) -> str:
    """Return the first line of a list of text with an id, as ``, line 3``; empty for other lists."""
    if path.suffix.lower() not in TEXT_SUFFIXES or not path.is_file():
        return ""
    lines = enumerate(read_text(path).splitlines(), 1)
    return next((f", line {number}" for number, line in lines if id_ in line.replace("\\", "/")), "")


def list_images(folder: Path) -> ImageFolder:
    """Return the image files in a folder, at any depth, and what is skipped.

    Raises:
        TwelvefoldError: there is no image.
    """
    content = scan_image_folder(folder)
    if not content.files:
        reasons = skipped_lines(content.skipped, problems=True) or ["it is empty"]
        raise TwelvefoldError(f"{folder} contains no image: {'; '.join(reasons)}")
    return content


def make_key(name: str, source: str, path: Path) -> ImageKey:
    """Return the key of an id or a file name, in the form of its source. ``path``: the list, for the error.

    Raises:
        TwelvefoldError: the publisher has no such image names.
    """
    if source == URL_SOURCE:
        flickr = _FLICKR_URL.search(name)
        return (
            ImageKey(FLICKR30K, flickr[1]) if flickr else ImageKey(URL_SOURCE, _URL_PREFIX.sub("", name).split("#")[0])
        )
    if source not in NAME_PATTERNS:
        return ImageKey(source, name)  # unchanged: whether 12 and 012 are equal is only known of known sources
    key = published_key(name, source)
    if key is None:
        location = f"{path}{locate_entry(path, name)}"
        raise TwelvefoldError(
            f"{location}: {name!r} is not an image of {source}, whose names are like {name_examples(source)}"
        )
    return key


_SAVE_AGAIN = "save the ids as integers: np.save(path, np.array(ids, dtype=np.int64))"


def load_flat_array(path: Path) -> NDArray[Any]:
    """Load a one-dimensional array without unpickling anything.

    Raises:
        TwelvefoldError: the file is missing, not a NumPy array, has pickled objects or more than one dimension.
    """
    try:
        values = load_npy(read_bytes(path, kind="the id list"), f"the id list {path}")
    except TwelvefoldError as error:
        raise TwelvefoldError(f"{error}; {_SAVE_AGAIN}") from None
    if not isinstance(values, np.ndarray):
        raise TwelvefoldError(f"{path} is not a plain NumPy array of ids, it holds pickled objects; {_SAVE_AGAIN}")
    if not isinstance(values, np.ndarray) or values.ndim != 1:
        shape = getattr(values, "shape", "several arrays")
        raise TwelvefoldError(f"{path}: expected a one-dimensional array of ids, got {shape}")
    return values


def _check_line_lengths(path: Path) -> None:
    """Raises: TwelvefoldError if a line is longer than any list has; no more of it than that is in memory."""
    try:
        with path.open("rb") as stream:
            for number, line in enumerate(iter_lines(stream, max_bytes=MAX_LINE), 1):
                if len(line) > MAX_LINE:
                    raise TwelvefoldError(f"{path}, line {number}: expected at most {MAX_LINE:,} bytes in a line")
    except (OSError, UnicodeError):
        return  # reading it says what is wrong


def count_comments(path: Path) -> int:
    """Return the number of lines that are left out of a list of text because they are comments."""
    is_text = path.suffix.lower() in TEXT_SUFFIXES and path.is_file()
    return _without_comments(path)[1] if is_text else 0


def _without_comments(path: Path) -> tuple[str, int]:
    """Return a list's text with blank lines for comments, and their number.

    A comment begins with #. In a table, whose cells may have line breaks, comments come before the first row. A name
    of an image file (``#1.jpg``) is no comment, and a row with names of columns (``# image_id,caption``, as
    ``np.savetxt`` writes it) is the header.
    """
    text, is_table = read_text(path), bool(TEXT_SUFFIXES[path.suffix.lower()])
    if "#" not in text:
        return text, 0
    lines, num_comments = text.splitlines(keepends=True), 0
    for index, line in enumerate(lines):
        content = line.strip()
        begins = content.startswith("#")
        if is_table and content and not begins:
            break
        cells = [cell.strip().strip('"') for cell in re.split("[,;\t|]", content.lstrip("# "))]
        has_names = is_table and any(normalize_name(cell) in IMAGE_COLUMNS for cell in cells)
        if begins and is_table and has_names:
            lines[index] = line if re.match(r"#\s*[,;\t|]", content) else line.lstrip("# \t")
            break
        if begins and not (is_image_name(content) and not re.search(r"\s", content)):
            lines[index], num_comments = line[len(line.rstrip("\r\n")) :], num_comments + 1
    return "".join(lines), num_comments


def _read_text_list(path: Path, column: Column, text: Column) -> tuple[Ids, list[str]]:
    content, delimiter = _without_comments(path)[0], TEXT_SUFFIXES[path.suffix.lower()]
    lines: Table | list[tuple[int, str]]
    if delimiter or column or text:
        lines = list_tables.read_table(path, content, delimiter or ",", column)
    else:
        lines = list_tables.read_lines(path, content)
    if not isinstance(lines, Table):
        return Ids([number for number, _ in lines], [line for _, line in lines]), [""] * len(lines)
    image = _find_column(path, lines.names, lines.num_columns, column, lines.image_columns)
    text_index = _find_column(path, lines.names, lines.num_columns, text, list) if text else None
    numbers, ids, texts = array("q"), list[str](), list[str]()
    for number, cells in lines.rows():
        numbers.append(number)
        ids.append(cells[image])
        texts.append("" if text_index is None else cells[text_index])
    return Ids(numbers, ids), texts


def _read_records(path: Path, column: Column, text: Column) -> tuple[Ids, list[str]]:
    """Return ids and texts of a list of plain values or of records."""
    records = _records_in(path)
    if not records:
        return Ids([], []), []
    if not isinstance(records[0], dict):
        if column or text:
            raise TwelvefoldError(
                f"{path} has no columns, so it has neither {column!r} nor {text!r}; it is a plain list"
            )
        return _check_types(path, records), [""] * len(records)
    names = list(records[0])
    sample = [record for record in records[: list_tables.SAMPLE_ROWS] if isinstance(record, dict)]

    def image_columns() -> list[int]:
        return select_image_columns(range(len(names)), names, lambda n: [record.get(names[n]) for record in sample])

    image = names[_find_column(path, names, len(names), column, image_columns)]
    ids = _check_types(path, [record.get(image) if isinstance(record, dict) else None for record in records])
    if not text:
        return ids, [""] * len(records)
    name = names[_find_column(path, names, len(names), text, list)]
    return ids, [_text_of(path, n, record, name) for n, record in enumerate(records)]


def _records_in(path: Path) -> Sequence[Any]:
    suffix = path.suffix.lower()
    if suffix == ".npy":
        values = load_flat_array(path)
        if values.dtype.kind not in "iufUS":
            raise TwelvefoldError(f"{path}: expected integers or text, got {values.dtype}")
        return [each.decode("latin1") if isinstance(each, bytes) else each for each in values.tolist()]
    if suffix == ".parquet":
        try:
            return list(parquet.read_table(path).to_pylist())
        except (pa.ArrowException, OSError) as error:
            raise TwelvefoldError(f"{path} can't be read as Parquet: {error}") from error
    return _records_of_json(path, _read_json(path))


def _read_json(path: Path) -> Any:
    """Return the value of a JSON file, or the list of its lines if each is JSON."""
    data, name = read_text(path).encode(), path.suffix[1:].upper()
    reason = ""
    if path.suffix.lower() == ".json":
        try:
            return decode_json(data, Any)
        except JsonError as error:
            reason = describe_error(error, data)
    records: list[Any] = []
    for number, line in enumerate(data.split(b"\n"), 1):
        try:
            records += [decode_json(line, Any)] if line.strip() else []
        except JsonError as error:
            if reason and not records:
                break
            description = describe_error(error, line)
            raise TwelvefoldError(f"{path}, line {number}, is truncated or not {name}: {description}") from error
    if reason and not records:
        raise TwelvefoldError(f"{path} is truncated or not {name}: {reason}")
    return records[0] if len(records) == 1 and isinstance(records[0], list) else records


def _records_of_json(path: Path, value: Any) -> Sequence[Any]:
    """Return the list in a JSON value: COCO's object with ``images``, or any of the forms of pandas' ``to_json``."""
    if isinstance(value, list):
        return value
    if isinstance(value, dict):
        if isinstance(images := value.get("images"), list):
            return images
        if isinstance(columns := value.get("columns"), list) and isinstance(rows := value.get("data"), list):
            return [dict(zip(map(str, columns), row, strict=False)) for row in rows if isinstance(row, list)]
        if "schema" in value and isinstance(rows := value.get("data"), list):
            return rows
        if value and all(isinstance(each, dict) for each in value.values()):
            return _records_by_name(value)
        lists = [each for each in value.values() if isinstance(each, list) and each and isinstance(each[0], dict)]
        named = [each for each in lists if any(normalize_name(name) in IMAGE_COLUMNS[:5] for name in each[0])]
        if len(named) == 1:
            return named[0]  # such as VQA's questions, or COCO's annotations
        if value and all(key == str(n) for n, key in enumerate(value)):
            return list(value.values())
    raise TwelvefoldError(
        f"{path}: expected a list, an object with a list under 'images', or a table as pandas writes it"
    )


def _records_by_name(value: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the records of ``{column: {row: value}}``, or of ``{row: {column: value}}`` with rows 0, 1, ..."""
    if all(key == str(n) for n, key in enumerate(value)):
        return [dict(record) for record in value.values()]
    rows = dict.fromkeys(row for cells in value.values() for row in cells)
    return [{name: cells.get(row) for name, cells in value.items()} for row in rows]


def _check_types(path: Path, ids: Sequence[Any]) -> Ids:
    """Return the ids with their numbers, after checking that they have one type; whole floats count as integers."""
    ids = [int(id_) if isinstance(id_, float) and id_.is_integer() else id_ for id_ in ids]
    id_type = type(ids[0])
    for index, id_ in enumerate(ids):
        if type(id_) not in (str, int) or id_ == "":
            raise TwelvefoldError(f"{path}, record {index}: expected an id or a path, got {id_!r:.80}")
        if type(id_) is not id_type:
            raise TwelvefoldError(
                f"{path}: ids of mixed type: record 0 is {ids[0]!r}, record {index} is {id_!r}. The same image may "
                f"occur as a number and as text; write all as numbers or all as text"
            )
    return Ids(range(len(ids)), ids)


def _clean_ids(path: Path, unit: str, ids: Ids) -> Iterator[str]:
    """Yield the ids as text, without what spreadsheets, pandas and Windows add to them. ``unit``: what is numbered.

    Raises:
        TwelvefoldError: an id is empty, or a spreadsheet changed the digits of one.
    """
    cleaned = [_clean_id(id_) for id_ in ids.values]
    is_numeric = all(_NUMBER.fullmatch(id_) or id_.lower() in MISSING for id_ in cleaned)
    for number, id_ in zip(ids.numbers, cleaned, strict=True):
        if not id_ or (is_numeric and id_.lower() in MISSING):
            raise TwelvefoldError(f"{path}, {unit} {number}: expected an id or a path, got nothing")
        if is_numeric and not _INTEGER.fullmatch(id_):
            raise TwelvefoldError(
                f"{path}, {unit} {number}: expected a whole number, got {id_!r}: a spreadsheet rounded it or set "
                "separators; write the ids as text"
            )
        yield re.split("[.,]", id_)[0] if is_numeric else id_


def _clean_id(id_: Any) -> str:
    text = str(id_).strip()
    if match := _FORMULA.fullmatch(text):
        text = match[1].strip()
    return text.replace("\\", "/").removeprefix("./")


def _text_of(path: Path, index: int, record: dict[str, Any], column: str) -> str:
    value = record.get(column)
    if not isinstance(value, str):
        raise TwelvefoldError(f"{path}, record {index}: expected a text under {column!r}, got {value!r:.80}")
    return value


def _find_column(
    path: Path, names: Sequence[str], num_columns: int, column: Column, candidates: Callable[[], Sequence[int]]
) -> int:
    """Return the index of the requested column, or the only one that may contain the images."""
    if isinstance(column, int):
        if not 1 <= column <= num_columns:
            raise TwelvefoldError(f"{path} has no column {column}; it has {num_columns} columns, the first is 1")
        return column - 1
    if column:
        if column not in names:
            raise TwelvefoldError(
                f"{path} has no column {column!r}; it has {', '.join(names)}{did_you_mean(column, names)}"
            )
        return list(names).index(column)
    possible = candidates()
    if len(possible) != 1:
        described = f"the columns {', '.join(names)}" if names else f"{num_columns} columns and no header"
        example = f'"{names[possible[0] if possible else 0]}"' if names else str(possible[0] + 1 if possible else 1)
        raise TwelvefoldError(
            f"{path} has {described}: state which of them contains the images, in a file for `audit "
            f"--collections`: column = {example}; or leave out the others"
        )
    return possible[0]


__all__ = ["Column", "Entry", "is_image_name", "list_images", "locate_entry", "read_entries"]
