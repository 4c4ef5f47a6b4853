"""Read tables of images as spreadsheets and pandas write them: delimiters, headers, quotes, numbers of rows.

What a table means is decided by its content: by the names of its columns, and by which cells look like images. A table
that could mean two things is refused, with the way to say which.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

from twelvefold.datasets.reading.image_sources import published_key
from twelvefold.image_formats import IMAGE_SUFFIXES
from twelvefold.schema import TwelvefoldError

IMAGE_COLUMNS = (
    *("image_id", "imageid", "img_id", "image", "img", "image_name", "image_path", "img_path", "path", "filepath"),
    *("file_path", "file_name", "filename", "image_file", "url", "image_url", "key", "id"),
)
"""Names of columns that may contain the images, in lower case, with ``_`` for spaces and hyphens."""

DELIMITERS = (",", ";", "\t", "|")
"""In the order in which they are preferred where a table reads the same with several."""

SAMPLE_ROWS = 200
"""Rows that decide about delimiter, header and columns. All rows are checked against the decision."""

SAMPLE_CHARACTERS = 1 << 24
"""No more of a file is looked at for the sample."""

Kind = Literal["image", "code", "words"]

_NUMBER = re.compile(r"[+-]?[0-9]+(?:[.,][0-9]+)*(?:[eE][+-]?[0-9]+)?")
_URL = re.compile(r"\w+://\S+")
_EXCEL_HINT = re.compile(r"sep=(.)\r?\n", re.IGNORECASE)
_LABELED_NAME = re.compile(r"(.*\S)(?:[ \t]+[+-]?[0-9]+(?:\.[0-9]+)?)+")
"""A line of a training list: the name of an image, and numbers of classes."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table of text. ``names``: of the columns; empty if it has no header. ``num_columns``: of every row."""

    path: Path
    text: str
    delimiter: str
    names: tuple[str, ...]
    num_columns: int

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield each row after the header with the number of its line.

        Raises:
            TwelvefoldError: a row has another number of cells, or quotes that do not match.
        """
        rows = parse_rows(self.path, self.text, self.delimiter)
        for number, cells in islice(rows, 1 if self.names else 0, None):
            if len(cells) != self.num_columns:
                raise TwelvefoldError(
                    f"{self.path}, line {number}: expected {self.num_columns} cells separated by "
                    f"{describe_delimiter(self.delimiter)}, got {len(cells)}: {self.delimiter.join(cells)[:80]!r}. Put "
                    "cells that contain the separator in quotes"
                )
            yield number, cells

    def image_columns(self) -> list[int]:
        """Return the indices of the columns that can contain images: by their name, or without a header by content."""
        sample = [cells for _, cells in islice(self.rows(), SAMPLE_ROWS)]
        if self.names:
            indices = [n for n, name in enumerate(self.names) if name.strip() and not name.startswith("Unnamed:")]
            return select_image_columns(indices, self.names, lambda n: [cells[n] for cells in sample])
        indices = [n for n in range(self.num_columns) if all(kind_of_cell(cells[n]) != "words" for cells in sample)]
        if self.num_columns == 1:
            return [0]
        certain = [n for n in indices if all(kind_of_cell(cells[n]) == "image" for cells in sample)]
        indices = certain or indices
        return [n for n in indices if len(indices) == 1 or not _counts_rows([cells[n] for cells in sample])]


def select_image_columns(
    indices: Sequence[int], names: Sequence[str], cells_of: Callable[[int], Sequence[object]]
) -> list[int]:
    """Return the columns that may contain the images by their names; a single column does, whatever its name.

    ``image_id`` goes before ``id``, which may be that of a caption, and names of image files before ids of the images;
    before a mere ``id`` whatever their column is called.
    ``cells_of``: returns the first cells of a column.
    """
    if len(indices) == 1:
        return list(indices)
    named = [n for n in indices if normalize_name(names[n]) in IMAGE_COLUMNS]
    specific = [n for n in named if normalize_name(names[n]) not in ("id", "key")]
    candidates, specific = specific or indices, specific or named
    files = [n for n in candidates if all(is_image_name(str(cell)) for cell in cells_of(n))]
    return files if len(files) == 1 else specific


def normalize_name(name: str) -> str:
    """Return a column's name in the form of ``IMAGE_COLUMNS``."""
    return re.sub(r"[\s-]+", "_", name.strip().lower())


def is_image_name(name: str) -> bool:
    """Return whether a name has the suffix of an image file."""
    return name.lower().endswith(tuple(IMAGE_SUFFIXES))


def kind_of_cell(cell: str) -> Kind:
    """Return what a cell can be: certainly an image, perhaps one (it has a digit or a folder), or words."""
    cell = cell.strip()
    if is_image_name(cell) or _NUMBER.fullmatch(cell) or _URL.fullmatch(cell) or published_key(cell):
        return "image"
    return "code" if re.search(r"[0-9/\\]", cell) and not re.search(r"\s", cell) else "words"


def describe_delimiter(delimiter: str) -> str:
    """Return how an error message calls a delimiter."""
    return {",": "commas", ";": "semicolons", "\t": "tabs"}.get(delimiter, repr(delimiter))


def read_table(path: Path, text: str, default: str, column: str | int = "") -> Table:
    """Return the table in a text.

    Args:
        path: The file, for errors.
        text: Its content.
        default: The delimiter that its suffix states.
        column: The column that the caller wants: by a name, so that there is a header, or by number.

    Raises:
        TwelvefoldError: the first row may be a header or an image.
    """
    if hint := _EXCEL_HINT.match(text):
        text, delimiter = text[hint.end() :], hint[1]
    else:
        delimiter = _find_delimiter(path, text, default)
    sample = [cells for _, cells in islice(parse_rows(path, text[:SAMPLE_CHARACTERS], delimiter), SAMPLE_ROWS)]
    if not sample:
        return Table(path, text, delimiter, (), 1)
    first, rest = sample[0], sample[1:]
    if (isinstance(column, str) and column) or _is_header(path, first, rest, may_be_image=isinstance(column, int)):
        is_unnamed = bool(rest) and all(len(row) == len(first) + 1 for row in rest)
        if is_unnamed and _counts_rows([row[0] for row in rest], (0, 1)):
            first = ["", *first]  # R writes no name above the numbers of the rows
        return Table(path, text, delimiter, tuple(first), len(first))
    return Table(path, text, delimiter, (), len(first))


def read_lines(path: Path, text: str) -> Table | list[tuple[int, str]]:
    """Return the lines of a plain list with their numbers, or a table if the lines have the same separators.

    Numbers of classes after the names, and quotes around all lines, are left out.
    """
    lines = [(number, line.strip()) for number, line in enumerate(io.StringIO(text, newline=None), 1) if line.strip()]
    for delimiter in ("\t", ",", ";"):
        rows = [line.split(delimiter) for _, line in lines[:SAMPLE_ROWS]]
        is_uniform = bool(rows) and len(rows[0]) > 1 and len({len(row) for row in rows}) == 1
        first = rows[0][0] if rows else ""
        if is_uniform and (
            delimiter == "\t" or kind_of_cell(first) == "image" or normalize_name(first) in IMAGE_COLUMNS
        ):
            return read_table(path, text, delimiter)
    if lines and all(len(line) > 1 and line[0] == line[-1] == '"' for _, line in lines):
        lines = [(number, line[1:-1].replace('""', '"')) for number, line in lines]
    if lines and normalize_name(lines[0][1]) in IMAGE_COLUMNS:
        lines = lines[1:]
    labeled = [_LABELED_NAME.fullmatch(line) for _, line in lines]
    if labeled and all(match and is_image_name(match[1]) for match in labeled):
        lines = [(number, match[1]) for (number, _), match in zip(lines, labeled, strict=True) if match]
    return lines


def parse_rows(path: Path, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a table with the numbers of their lines; blank lines are left out.

    Raises:
        TwelvefoldError: quotes do not match.
    """
    if delimiter == "\t":  # texts of such tables have quotes of their own
        for number, line in enumerate(io.StringIO(text, newline=None), 1):
            if line.strip():
                yield number, [_unquote(cell) for cell in line.removesuffix("\n").split("\t")]
        return
    reader, number = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True), 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield number, cells
            number = reader.line_num + 1
    except csv.Error as error:
        raise TwelvefoldError(
            f"{path}, line {number}: can't be read as a table with {describe_delimiter(delimiter)}: {error}. Do its "
            "quotes match? A quote inside a quoted cell is written twice"
        ) from error


def _unquote(cell: str) -> str:
    is_quoted = len(cell) > 1 and cell[0] == cell[-1] == '"' and '"' not in cell[1:-1].replace('""', "")
    return cell[1:-1].replace('""', '"') if is_quoted else cell


def _find_delimiter(path: Path, text: str, default: str) -> str:
    """Return the delimiter that explains the first rows, else the default."""
    samples: dict[str, list[list[str]]] = {}
    for delimiter in sorted(DELIMITERS, key=lambda each: each != default):
        try:
            rows = [cells for _, cells in islice(parse_rows(path, text[:SAMPLE_CHARACTERS], delimiter), SAMPLE_ROWS)]
        except TwelvefoldError:
            continue  # its quotes only match with another delimiter, or with none
        if rows and max(map(len, rows[:2])) > 1:
            samples[delimiter] = rows
    if not samples:
        return default

    def rank(delimiter: str) -> tuple[bool, bool, bool]:
        rows = samples[delimiter]
        has_name = any(normalize_name(cell) in IMAGE_COLUMNS for cell in rows[0])
        is_uniform = len({len(row) for row in rows[1:] or rows}) == 1
        has_images = is_uniform and any(
            all(kind_of_cell(cell) == "image" for cell in cells) for cells in zip(*(rows[1:] or rows), strict=True)
        )
        return has_name, is_uniform and has_images, is_uniform

    return max(samples, key=rank)  # the first of several equals: the default


def _is_header(path: Path, first: Sequence[str], rest: Sequence[Sequence[str]], *, may_be_image: bool) -> bool:
    """Return whether the first row has names. ``may_be_image``: a row that may be either has images.

    Raises:
        TwelvefoldError: it may be either.
    """
    if any(normalize_name(cell) in IMAGE_COLUMNS for cell in first):
        return True
    if not first[0].strip() and _counts_rows([row[0] for row in rest]):
        return True  # pandas writes no name above the numbers of the rows
    kinds = [kind_of_cell(cell) for cell in first]
    if "image" in kinds:
        return False
    below = [
        n for n in range(len(first)) if rest and all(kind_of_cell(row[n]) == "image" for row in rest if n < len(row))
    ]
    if any(kinds[n] == "words" for n in below):
        return True
    if may_be_image or ("code" in kinds and not below):
        return False
    raise TwelvefoldError(
        f"{path}, line 1: {first[0]!r} may be the name of a column or an image. Write a first line with the names of "
        f"the columns, such as {IMAGE_COLUMNS[0]}, or use a .txt file with one image on each line and no header"
    )


def _counts_rows(cells: Sequence[str], starts: Sequence[int] = (0,)) -> bool:
    """Return whether cells are the numbers of their rows, as pandas (from 0) and R (from 1) write them."""
    return any(cells == [str(start + n) for n in range(len(cells))] for start in starts)
