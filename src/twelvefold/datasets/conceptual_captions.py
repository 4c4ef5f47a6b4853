"""Conceptual Captions, for pretraining: captions with the URLs of their images. Paper: sections 3.1, 3.3.

Publisher: Google, page "Conceptual Captions". License: captions free for any use; images belong to their publishers.
Many URLs no longer work: examples without regions are left out and counted (``without_regions``).

Files, in ``conceptual_captions/``: Google's ``Train_GCC-training.tsv`` (3,318,333 rows, caption TAB URL, no header) and
``Validation_GCC-1.1.0-Validation.tsv`` (15,840), or the original project's ``caption_train.json`` and
``caption_val.json``, which map image names to captions. A first line with the names of the columns, which img2dataset
asks for, and URLs in the first column are recognized; more columns need such a line. Instead, ``train/`` and ``val/``
may hold the shards that img2dataset wrote (``.tar``, ``.parquet`` or both): ``twelvefold features unpack`` writes their
images to ``images/conceptual_captions/``, and an image's key is ``conceptual_captions/<split>/<shard>/<name>``.

Splits: train and val as published; there is no test split.

The image key is ``conceptual_captions/<n>``, where n is the name under which the image's features are stored: the
image's name in the JSON files, or a hash of the URL. ``key="crc32"`` is the unsigned CRC-32, as in the older ViLBERT
project. Among 3.3 M URLs about 2,500 collide (birthday bound), so about one caption in 2,500 may be paired with another
image. ``key="xxh3"``, 16 hexadecimal digits without collisions, is for features that you extract yourself from image
files with such names.

One example per row, in the order of the file, with the row number as its id and the image as its positive pair.
Captions are stripped of white space at both ends.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import xxhash

from twelvefold.datasets.reading import shards
from twelvefold.datasets.reading.records import BadRecords, RecordReader, Row, require_files, validated
from twelvefold.parsing.file_kind import check_file_kind
from twelvefold.parsing.text import MAX_LINE_BYTES, iter_lines
from twelvefold.schema import Example, ImageKey, Pair, PositivePair, Split, TaskSpec, TwelvefoldError

CAPTION_SET = True
TASK = TaskSpec(
    name="conceptual_captions",
    title="Conceptual Captions",
    family="retrieval",
    head="retrieval",
    metric="recall_at_1",
    max_tokens=36,
    batch_size=512,
    lr=1e-4,
    max_regions=37,
    epochs=10,
)
"""Values of the original pretraining program (36 regions and the IMG row)."""
FILES: dict[Split, tuple[str, str]] = {
    "train": ("Train_GCC-training.tsv", "caption_train.json"),
    "val": ("Validation_GCC-1.1.0-Validation.tsv", "caption_val.json"),
}

_URL = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*:)?//\S+|www\.\S+")
_URL_NAMES = ("url", "urls", "image_url", "img_url", "image", "link", "image_link")
"""Names of columns, in lower case."""

KeyHash = Literal["crc32", "xxh3"]


def crc32(url: str) -> str:
    """Return the unsigned CRC-32 of a URL, as decimal digits."""
    return str(zlib.crc32(url.encode()))


def xxh3(url: str) -> str:
    """Return the 64-bit XXH3 hash of a URL, as 16 hexadecimal digits."""
    return xxhash.xxh3_64_hexdigest(url.encode())


HASHES: dict[KeyHash, Callable[[str], str]] = {"crc32": crc32, "xxh3": xxh3}


def files(root: Path, split: Split, *, key: KeyHash = "crc32") -> list[Path]:
    """Return the file of a split; none for test.

    Raises:
        TwelvefoldError: the file is missing, or ``key`` has an invalid value.
    """
    if key not in get_args(KeyHash):
        raise TwelvefoldError(f"{TASK.name}: expected key one of {', '.join(get_args(KeyHash))}, got {key!r}")
    if split not in FILES:
        return []
    tables = [root / TASK.name / name for name in FILES[split]]
    paths = [] if any(path.exists() for path in tables) else shards.list_shards(shard_folder(root, split))
    return paths or require_files(TASK.name, [tables])


def shard_folder(root: Path, split: Split) -> Path:
    """Return the folder of img2dataset's shards of a split."""
    return root / TASK.name / split


def read(root: Path, split: Split, *, bad: BadRecords, key: KeyHash = "crc32") -> Iterator[Example]:
    """Yield one example per caption of a split, with label ``PositivePair(0)``. ``key``: the hash of the URLs."""
    for path in files(root, split, key=key):
        reader = RecordReader(TASK.name, path, bad)
        if path.suffix == ".json":
            rows = _json_rows(reader)
        else:
            rows = _shard_rows(reader, split) if path.suffix in shards.SUFFIXES else _tsv_rows(reader, HASHES[key])
        yield from validated(rows)


class _Columns(NamedTuple):
    """Indices of the columns of a table, their number, and whether the first line has their names."""

    caption: int = 0
    url: int = 1
    num_cells: int = 2
    has_header: bool = False


def _tsv_rows(reader: RecordReader, url_hash: Callable[[str], str]) -> Iterator[Row]:
    columns: _Columns | None = None
    number = 0
    check_file_kind(reader.path)
    with reader.path.open("rb") as stream:
        for number, line in enumerate(iter_lines(stream), 1):
            record = f"line {number}"
            if len(line) > MAX_LINE_BYTES:
                reader.reject(record, f"expected at most {MAX_LINE_BYTES:,} bytes in a line")
                continue
            try:
                cells = [cell.strip() for cell in line.decode().rstrip("\r\n").split("\t")]
            except UnicodeDecodeError as error:
                reader.reject(record, f"expected UTF-8: {error}")
                continue
            if columns is None:
                columns = _find_columns(cells)
                if columns.has_header:
                    continue
            if len(cells) != columns.num_cells or not _URL.match(cells[columns.url]):
                names = "a caption, a TAB and a URL" if columns.caption == 0 else "a URL, a TAB and a caption"
                if columns.num_cells > 2:
                    names = f"{columns.num_cells} columns with a URL in column {columns.url + 1}"
                reader.reject(record, f"expected {names}, got {line[:160]!r}")
                continue
            row_number = number - columns.has_header
            yield reader, record, _example(str(row_number), cells[columns.caption], url_hash(cells[columns.url]))
    if columns is None or number == columns.has_header:
        raise TwelvefoldError(f"{TASK.name}: {reader.path} is empty; expected a caption and a URL on each line")


def _find_columns(first: list[str]) -> _Columns:
    """Return the columns of a table by its first line."""
    names = [cell.lower().replace(" ", "_") for cell in first]
    captions, urls = (
        [n for n, name in enumerate(names) if name in known] for known in (shards.CAPTION_NAMES, _URL_NAMES)
    )
    if len(captions) == len(urls) == 1:
        return _Columns(captions[0], urls[0], len(first), has_header=True)
    are_urls = [bool(_URL.match(cell)) for cell in first]
    return _Columns(1, 0) if are_urls == [True, False] else _Columns()


def _shard_rows(reader: RecordReader, split: Split) -> Iterator[Row]:
    for record, key, caption in shards.read_samples(reader):
        name = f"{split}/{reader.path.stem}/{key}"
        yield reader, record, _example(name, caption, name)


def _json_rows(reader: RecordReader) -> Iterator[Row]:
    for name, raw in reader.mapping().items():
        caption = reader.decode(f"[{name!r}]", raw, str)
        if caption is None:
            continue
        if not name.strip():
            reader.reject(f"[{name!r}]", "expected the name of an image, got an empty one")
        else:
            yield reader, f"[{name!r}]", _example(name, caption, name)


def _example(id_: str, caption: str, image: str) -> Example:
    pair = Pair(ImageKey(TASK.name, image), caption.strip())
    return Example(id_, (pair,), PositivePair(0))
