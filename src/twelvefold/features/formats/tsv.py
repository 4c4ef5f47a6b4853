"""Features in a tab-separated table without a header: one line per image, arrays as base64 of float32.

Bottom-up attention's columns (six, or seven with class probabilities) and LXMERT's ten. A line is about a megabyte;
lines are read one at a time, and an interrupted import continues at a byte offset.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from twelvefold.config.extract import ImportConfig
from twelvefold.features.formats.fields import parse_regions, read_image_name
from twelvefold.features.formats.record import FeatureFile, FeatureRecord, RecordError, RegionsWithWarnings
from twelvefold.store.atomic_files import digest_bytes

SIX = ("image_id", "image_w", "image_h", "num_boxes", "boxes", "features")
TEN = ("img_id", "img_h", "img_w", "objects_id", "objects_conf", "attrs_id", "attrs_conf", "num_boxes", "boxes")
COLUMNS = {6: SIX, 7: (*SIX, "cls_prob"), 10: (*TEN, "features")}
MAX_LINE_BYTES = 1 << 26
"""100 regions of 2,048 numbers and 1,601 probabilities take 2 MB."""

ParsedLine = tuple[str, RegionsWithWarnings | RecordError]
"""The image's name, and its regions or the reason why there are none."""


class TsvLine(NamedTuple):
    """A line without its line break, its number (from 1), and its first and end byte in the file."""

    data: bytes
    number: int
    start: int
    end: int


class TsvFile(FeatureFile):
    """A table with a line per image; subclasses parse other columns."""

    unit = "bytes"

    def __init__(self, path: Path, config: ImportConfig) -> None:
        super().__init__(path, config)
        self.total = self.identity["bytes"] = path.stat().st_size

    def records(self, after: str = "") -> Iterator[FeatureRecord]:
        """Yield the lines after the position ``after`` (line number and byte)."""
        for line in read_lines(self._path, after):
            name, result = self._parse(line.data.split(b"\t"))
            if line.number == 1 and name in COLUMNS[7] + TEN:
                continue  # a header, which some tools add
            yield FeatureRecord(
                name,
                location=f"line {line.number} (byte {line.start:,})",
                position=f"{line.number}:{line.end}",
                digest=digest_bytes(line.data),
                result=result,
                num_steps=line.end - line.start,
            )

    def _parse(self, cells: list[bytes]) -> ParsedLine:
        columns = COLUMNS.get(len(cells))
        if columns is None:
            counts = ", ".join(map(str, COLUMNS))
            return "", RecordError(f"expected {counts} columns, got {len(cells)}: truncated, or a different format")
        fields = dict(zip(columns, (cell.decode("latin1") for cell in cells[:-1]), strict=False))
        try:
            return read_image_name(fields), parse_regions({**fields, columns[-1]: cells[-1]}, self._config)
        except RecordError as error:
            return read_image_name(fields), error


def read_lines(path: Path, after: str = "") -> Iterator[TsvLine]:
    """Yield the lines after a position; blank lines are skipped, and the rest of a line after ``MAX_LINE_BYTES``
    is skipped."""
    number, start = map(int, after.split(":")) if after else (0, 0)
    with path.open("rb", buffering=1 << 20) as stream:
        stream.seek(start)
        while data := stream.readline(MAX_LINE_BYTES):
            number, end = number + 1, start + len(data)
            while len(data) == MAX_LINE_BYTES and not data.endswith(b"\n") and (rest := stream.readline(1 << 20)):
                end += len(rest)
                if rest.endswith(b"\n"):
                    break
            if not data.isspace():
                yield TsvLine(data.rstrip(b"\r\n").removeprefix(b"" if start else BOM_UTF8), number, start, end)
            start = end
