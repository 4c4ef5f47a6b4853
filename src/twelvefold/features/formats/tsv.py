"""Features in a tab-separated table without a header: a line for each picture, arrays as base64 of float32.

Bottom-up attention's columns (six, or seven with class probabilities) and LXMERT's ten. A line is about a megabyte;
one after the other is read, and a reading that was interrupted goes on at its byte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from twelvefold.features.formats.fields import name_of, regions_of
from twelvefold.features.formats.record import Problem, Reading, Record, RecordError
from twelvefold.schema import Regions
from twelvefold.store.atomic_files import digest_bytes

SIX = ("image_id", "image_w", "image_h", "num_boxes", "boxes", "features")
TEN = ("img_id", "img_h", "img_w", "objects_id", "objects_conf", "attrs_id", "attrs_conf", "num_boxes", "boxes")
COLUMNS = {6: SIX, 7: (*SIX, "cls_prob"), 10: (*TEN, "features")}
LONGEST_LINE = 1 << 26
"""Bytes of a line; 100 regions of 2,048 numbers and 1,601 probabilities take 2 MB."""

Parsed = tuple[Regions, tuple[str, ...]]


class Line(NamedTuple):
    """A line without its end, its number (1 is the first), the byte it begins at and the one behind it."""

    data: bytes
    number: int
    start: int
    end: int


class TsvFile:
    """A table of features of one line for each picture."""

    unit = "bytes"

    def __init__(self, path: Path, reading: Reading) -> None:
        self._path = path
        self._reading = reading
        self.total = path.stat().st_size
        self.identity: dict[str, str | int] = {"bytes": self.total}

    def records(self, after: str = "") -> Iterator[Record]:
        """Every line behind ``after``, which is a line number and a byte."""
        return table_records(self._path, after, self._parse)

    def amiss(self) -> list[Problem]:
        """Nothing: what is wrong with a table is wrong with one of its lines."""
        return []

    def _parse(self, cells: list[bytes]) -> tuple[str, Parsed | RecordError]:
        columns = COLUMNS.get(len(cells))
        if columns is None:
            wanted = ", ".join(map(str, COLUMNS))
            return "", RecordError(f"expected {wanted} columns, got {len(cells)}: cut short, or another kind of file")
        fields = dict(zip(columns, (cell.decode("latin1") for cell in cells[:-1]), strict=False))
        try:
            return name_of(fields), regions_of({**fields, columns[-1]: cells[-1]}, self._reading)
        except RecordError as error:
            return name_of(fields), error


def table_records(
    path: Path, after: str, parse: Callable[[list[bytes]], tuple[str, Parsed | RecordError]]
) -> Iterator[Record]:
    """The records of a tab-separated table; ``parse`` gives the name and the regions, or why there are none."""
    for line in lines(path, after):
        where = f"line {line.number} (byte {line.start:,})"
        name, found = parse(line.data.split(b"\t"))
        if line.number == 1 and name in COLUMNS[7] + TEN:
            continue  # a header, which some tools add
        place, steps, digest = f"{line.number}:{line.end}", line.end - line.start, digest_bytes(line.data)
        if isinstance(found, RecordError):
            yield Record(name, where, place, steps, digest, None, str(found))
        else:
            yield Record(name, where, place, steps, digest, found[0], notes=found[1])


def lines(path: Path, after: str = "") -> Iterator[Line]:
    """The lines behind ``after``; blank ones are none, and one without an end is cut at ``LONGEST_LINE`` bytes."""
    number, start = map(int, after.split(":")) if after else (0, 0)
    with path.open("rb", buffering=1 << 20) as stream:
        stream.seek(start)
        while data := stream.readline(LONGEST_LINE):
            number, end = number + 1, start + len(data)
            if not data.isspace():
                yield Line(data.rstrip(b"\r\n"), number, start, end)
            start = end
