"""VinVL's features: a tab-separated table of a picture's key and what the detector saw in it.

Two layouts. Three columns: key, number of boxes, base64 of (N, 2054) float32, of which 2,048 are the feature and the
rest the box as shares of the picture (x1, y1, x2, y2, width, height); also key and a JSON object with ``num_boxes`` and
``features``. Two columns: key and a JSON object with ``objects``, each with ``rect`` (corners in pixels) and
``feature``. None but the last may tell how large the picture is: sizes are then read from the table beside it that does
(``*.hw.tsv`` or ``*label*.tsv``), or from one that the caller names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from twelvefold.features.formats.fields import checked, decoded, regions_of
from twelvefold.features.formats.record import Problem, Reading, Record, RecordError
from twelvefold.features.formats.tsv import Parsed, lines, table_records
from twelvefold.schema import Regions, TwelvefoldError

BOX_NUMBERS = 6
"""Numbers behind each feature: the box as shares, then its width and height as shares."""
FEATURE = 2048
Sizes = Mapping[str, tuple[int, int]]


class VinvlFile:
    """A table of VinVL's features."""

    unit = "bytes"

    def __init__(self, path: Path, reading: Reading, sizes: Path | None = None) -> None:
        """``sizes``: a table of picture sizes; where left out, one beside ``path`` is looked for."""
        self._path = path
        self._reading = reading
        self._sizes = read_sizes(sizes) if sizes else _beside(path)
        self.total = path.stat().st_size
        self.identity: dict[str, str | int] = {"bytes": self.total, "sizes": len(self._sizes)}

    def records(self, after: str = "") -> Iterator[Record]:
        """Every line behind ``after``, which is a line number and a byte."""
        return table_records(self._path, after, self._parse)

    def amiss(self) -> list[Problem]:
        """Nothing: what is wrong with a table is wrong with one of its lines."""
        return []

    def _parse(self, cells: list[bytes]) -> tuple[str, Parsed | RecordError]:
        name = cells[0].decode("latin1")
        try:
            if len(cells) == 3:
                return name, self._flat(name, cells[1].decode("latin1"), cells[2])
            if len(cells) != 2:
                raise RecordError(f"expected 2 or 3 columns, got {len(cells)}: cut short, or another kind of file")
            said = _json(cells[1])
            if "objects" in said:
                return name, self._objects(name, said)
            if "features" not in said:
                raise RecordError(f"expected objects or features, got {', '.join(said) or 'nothing'}")
            return name, self._flat(name, said.get("num_boxes"), said["features"])
        except RecordError as error:
            return name, error

    def _flat(self, name: str, count: Any, text: Any) -> Parsed:
        if not isinstance(text, str | bytes):
            raise RecordError(f"features: expected base64, got {type(text).__name__}")
        flat, width = decoded(text, "features"), FEATURE + BOX_NUMBERS
        rows = len(flat) // width
        if len(flat) % width or str(count) != str(rows):
            raise RecordError(f"features: expected {count} rows of {width} numbers, got {len(flat):,} numbers")
        if not rows:
            raise RecordError("expected regions, got none")
        matrix, (wide, high) = flat.reshape(rows, width), self._size(name, {})
        boxes = matrix[:, FEATURE : FEATURE + 4]
        return checked(Regions(boxes, matrix[:, :FEATURE], wide, high), self._reading.boxes or "unit")

    def _objects(self, name: str, said: Mapping[str, Any]) -> Parsed:
        found = said["objects"]
        if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
            raise RecordError("objects: expected a list of objects")
        try:
            features = [decoded(one["feature"], "feature") for one in found]
            rects = np.array([one["rect"] for one in found], dtype=np.float32)
        except (KeyError, TypeError, ValueError) as error:
            raise (
                error
                if isinstance(error, RecordError)
                else RecordError(f"expected a rect and a feature of each object: {type(error).__name__}: {error}")
            ) from None
        if len({len(one) for one in features}) > 1:
            raise RecordError("expected features of one width")
        wide, high = self._size(name, said)
        matrix = np.stack(features) if features else np.zeros((0, FEATURE), np.float32)
        return regions_of({"image_w": wide, "image_h": high, "boxes": rects, "features": matrix}, self._reading)

    def _size(self, name: str, said: Mapping[str, Any]) -> tuple[int, int]:
        size = _stated(said) or self._sizes.get(name)
        if size is None:
            raise RecordError("how large is the picture? no table beside the file says; name one with --sizes")
        return size


def read_sizes(path: Path) -> dict[str, tuple[int, int]]:
    """Picture -> (width, height) of a table of keys and JSON with ``height``, ``width`` or ``image_h``, ``image_w``.

    Raises:
        TwelvefoldError: a line that says no size.
    """
    if not path.is_file():
        raise TwelvefoldError(f"there is no table of picture sizes {path}")
    found = {}
    for line in lines(path):
        key, _, text = line.data.partition(b"\t")
        try:
            said = msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise TwelvefoldError(f"{path}, line {line.number}: expected JSON behind a tab: {error}") from None
        size = _stated(said[0] if isinstance(said, list) and said else said)
        if size is None:
            raise TwelvefoldError(f"{path}, line {line.number}: expected height and width, got {text[:80]!r}")
        found[key.decode("latin1")] = size
    return found


def _beside(path: Path) -> dict[str, tuple[int, int]]:
    tables = [p for pattern in ("*.hw.tsv", "*label*.tsv") for p in sorted(path.parent.glob(pattern)) if p != path]
    return {name: size for table in reversed(tables) for name, size in read_sizes(table).items()}


def _stated(said: Any) -> tuple[int, int] | None:
    for wide, high in (("image_w", "image_h"), ("width", "height")):
        if isinstance(said, dict) and isinstance(said.get(wide), int) and isinstance(said.get(high), int):
            return said[wide], said[high]
    return None


def _json(text: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RecordError(f"expected a JSON object: {error}") from None
