"""VinVL's features: a tab-separated table of an image's key and its regions.

Two layouts. Three columns: key, number of boxes, base64 of (N, 2054) float32, of which 2,048 are the feature and the
rest the box relative to the image size (x1, y1, x2, y2, width, height); also key and a JSON object with ``num_boxes``
and ``features``. Two columns: key and a JSON object with ``objects``, each with ``rect`` (corners in pixels) and
``feature``. Only the last may state the size of the image. Otherwise sizes are read from the tables next to the file
(``*.hw.tsv`` and ``*label*.tsv``, of which the latter often have none), or from one that the caller names.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from twelvefold.config.extract import ImportConfig
from twelvefold.features.formats.fields import decode_base64, parse_regions, validate_regions
from twelvefold.features.formats.record import RecordError, RegionsWithWarnings
from twelvefold.features.formats.tsv import ParsedLine, TsvFile, read_lines
from twelvefold.parsing.file_kind import check_file_kind
from twelvefold.parsing.json_text import JsonError, decode_json, describe_error, parse_json
from twelvefold.schema import Regions, TwelvefoldError

NUM_BOX_VALUES = 6
"""Numbers after each feature: the relative box, then its relative width and height."""
FEATURE_SIZE = 2048


class VinvlFile(TsvFile):
    """A table of VinVL's features."""

    def __init__(self, path: Path, config: ImportConfig) -> None:
        super().__init__(path, config)
        self._size_tables = [config.sizes] if config.sizes else _adjacent_tables(path)
        is_requested = config.sizes is not None
        # A table that comes first goes before the others.
        tables = [read_image_sizes(table, skip_others=not is_requested) for table in reversed(self._size_tables)]
        self._sizes = {name: size for table in tables for name, size in table.items()}
        self.identity["sizes"] = len(self._sizes)

    def _parse(self, cells: list[bytes]) -> ParsedLine:
        name = cells[0].decode("latin1")
        try:
            if len(cells) == 3:
                return name, self._parse_flat(name, cells[1].decode("latin1"), cells[2])
            if len(cells) != 2:
                raise RecordError(f"expected 2 or 3 columns, got {len(cells)}: truncated, or a different format")
            row = _decode_json(cells[1])
            if "objects" in row:
                return name, self._parse_objects(name, row)
            if "features" not in row:
                raise RecordError(f"expected objects or features, got {', '.join(row) or 'nothing'}")
            return name, self._parse_flat(name, row.get("num_boxes"), row["features"])
        except RecordError as error:
            return name, error

    def _parse_flat(self, name: str, num_boxes: Any, text: Any) -> RegionsWithWarnings:
        if not isinstance(text, str | bytes):
            raise RecordError(f"features: expected base64, got {type(text).__name__}")
        flat, num_columns = decode_base64(text, "features"), FEATURE_SIZE + NUM_BOX_VALUES
        num_rows = len(flat) // num_columns
        if len(flat) % num_columns or str(num_boxes) != str(num_rows):
            raise RecordError(
                f"features: expected {num_boxes} rows of {num_columns} numbers, got {len(flat):,} numbers"
            )
        if not num_rows:
            raise RecordError("expected regions, got none")
        matrix, (width, height) = flat.reshape(num_rows, num_columns), self._image_size(name, {})
        boxes = matrix[:, FEATURE_SIZE : FEATURE_SIZE + 4]
        return validate_regions(Regions(boxes, matrix[:, :FEATURE_SIZE], width, height), self._config.boxes or "unit")

    def _parse_objects(self, name: str, row: Mapping[str, Any]) -> RegionsWithWarnings:
        objects = row["objects"]
        if not isinstance(objects, list) or not all(isinstance(obj, dict) for obj in objects):
            raise RecordError("objects: expected a list of objects")
        try:
            features = [decode_base64(obj["feature"], "feature") for obj in objects]
            boxes = np.array([obj["rect"] for obj in objects], dtype=np.float32)
        except RecordError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            raise RecordError(
                f"expected a rect and a feature of each object: {type(error).__name__}: {error}"
            ) from None
        if len({len(feature) for feature in features}) > 1:
            raise RecordError("expected features of equal length")
        width, height = self._image_size(name, row)
        matrix = np.stack(features) if features else np.zeros((0, FEATURE_SIZE), np.float32)
        return parse_regions({"image_w": width, "image_h": height, "boxes": boxes, "features": matrix}, self._config)

    def _image_size(self, name: str, row: Mapping[str, Any]) -> tuple[int, int]:
        size = _find_size(row) or self._sizes.get(name)
        if size is None:
            tables = ", ".join(table.name for table in self._size_tables)
            reason = f"not stated in {tables}" if tables else "there is no *.hw.tsv next to the file"
            raise RecordError(f"the image's size is not known: {reason}; name a table that states it with --sizes")
        return size


def read_image_sizes(path: Path, *, skip_others: bool = False) -> dict[str, tuple[int, int]]:
    """Return image -> (width, height) from a table of keys and JSON (``height``, ``width``; ``image_h``, ``image_w``).

    ``skip_others``: leave out lines without a size, in a table that may be of something else.

    Raises:
        TwelvefoldError: the file is missing, or a line has no size.
    """
    if not path.is_file():
        raise TwelvefoldError(f"there is no table of image sizes {path}")
    check_file_kind(path)
    sizes = {}
    for line in read_lines(path):
        key, _, text = line.data.partition(b"\t")
        try:
            value = parse_json(text)
        except JsonError as error:
            if skip_others:
                continue
            reason = describe_error(error, text)
            raise TwelvefoldError(f"{path}, line {line.number}: expected JSON after a tab: {reason}") from None
        size = _find_size(value[0] if isinstance(value, list) and value else value)
        if size is None and skip_others:
            continue
        if size is None:
            raise TwelvefoldError(f"{path}, line {line.number}: expected height and width, got {text[:80]!r}")
        sizes[key.decode("latin1")] = size
    return sizes


def _adjacent_tables(path: Path) -> list[Path]:
    return [p for pattern in ("*.hw.tsv", "*label*.tsv") for p in sorted(path.parent.glob(pattern)) if p != path]


def _find_size(value: Any) -> tuple[int, int] | None:
    for names in (("image_w", "image_h"), ("width", "height")):
        width, height = (_to_side(value.get(name)) if isinstance(value, dict) else 0 for name in names)
        if width and height:
            return width, height
    return None


def _to_side(value: Any) -> int:
    """Return a side in pixels, which some tools write as a float or as text; 0 if it is none."""
    try:
        return int(float(value))
    except (TypeError, ValueError, OverflowError):
        return 0


def _decode_json(text: bytes) -> dict[str, Any]:
    try:
        return decode_json(text, dict[str, Any])
    except JsonError as error:
        raise RecordError(f"expected a JSON object: {describe_error(error, text)}") from None
