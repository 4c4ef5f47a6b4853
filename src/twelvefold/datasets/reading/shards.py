"""Read the shards of images and captions that img2dataset writes: ``.tar`` (webdataset), ``.parquet``, or both.

A sample of a tar is a few files with one name: ``000000012.jpg``, ``.txt`` (the caption), ``.json``. The parquet file
of the same name has a row for each sample, with ``key``, ``caption`` and ``status``, also for images that could not be
downloaded; in img2dataset's format ``parquet`` it has the image itself, as ``jpg``, ``png`` or ``webp``.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa
from pyarrow import parquet

from twelvefold.datasets.reading.records import RecordReader
from twelvefold.parsing.file_kind import check_file_kind
from twelvefold.parsing.json_text import JsonError
from twelvefold.parsing.text import MAX_LINE_BYTES
from twelvefold.schema import TwelvefoldError

SUFFIXES = (".tar", ".parquet")
CAPTION_NAMES = ("caption", "captions", "text", "title", "alt_text", "top_caption")
"""Names of the column or field of the caption, in lower case."""
IMAGE_NAMES = ("jpg", "jpeg", "png", "webp")
"""Suffixes of images in a tar, and names of the column of the image in a parquet file."""
MAX_IMAGE_BYTES = 1 << 28

_KEY = re.compile(r"[\w.-]*\w[\w.-]*")


class Sample(NamedTuple):
    """One sample. ``key``: its name in the shard."""

    record: str
    key: str
    caption: str


def list_shards(folder: Path) -> list[Path]:
    """Return the file with the captions of each shard of a folder, sorted: the small parquet file if it has them."""
    if not folder.is_dir():
        return []
    shards: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix in SUFFIXES and not path.name.startswith("."):
            if path.suffix == ".tar" and path.stem in shards:
                continue
            check_file_kind(path)
            if path.suffix == ".tar" or _column(_open_parquet(path), CAPTION_NAMES):
                shards[path.stem] = path
    return [shards[stem] for stem in sorted(shards)]


def read_samples(reader: RecordReader) -> Iterator[Sample]:
    """Yield the samples of a shard that have an image. Images that were not downloaded are counted.

    Raises:
        TwelvefoldError: the shard is damaged.
    """
    samples = _tar_samples(reader) if reader.path.suffix == ".tar" else _parquet_samples(reader)
    for sample in samples:
        if _KEY.fullmatch(sample.key):
            yield sample
        else:
            reader.reject(
                sample.record, f"expected a sample named by letters, digits, . _ or -, got {sample.key!r:.80}"
            )


def read_images(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the name (key and suffix) and the content of each image in a shard; nothing if it has captions only.

    Raises:
        TwelvefoldError: the shard is damaged, or an image is too large.
    """
    if path.suffix == ".tar":
        for key, suffix, data in _members(path, IMAGE_NAMES, MAX_IMAGE_BYTES):
            if _KEY.fullmatch(key):
                yield f"{key}.{suffix}", data
        return
    file = _open_parquet(path)
    key, image = _column(file, ("key",)), _column(file, IMAGE_NAMES)
    if key and image:
        for row in _rows(path, file, [key, image]):
            if isinstance(row[image], bytes) and _KEY.fullmatch(str(row[key])):
                yield f"{row[key]}.{image}", row[image]


def _tar_samples(reader: RecordReader) -> Iterator[Sample]:
    captions: dict[str, str] = {}
    keys_of_images: list[str] = []
    for key, suffix, data in _members(reader.path, (*IMAGE_NAMES, "txt", "json"), MAX_LINE_BYTES, skip=IMAGE_NAMES):
        if suffix in IMAGE_NAMES:
            keys_of_images.append(key)
        elif suffix == "txt":
            captions[key] = data.decode(errors="replace")
        elif key not in captions:
            captions[key] = _caption_of_json(data)
    for key in keys_of_images:
        if captions.get(key):
            yield Sample(key, key, captions[key])
        else:
            reader.reject(key, "expected a caption in .txt or .json next to the image, got none")


def _caption_of_json(data: bytes) -> str:
    try:
        fields = msgspec.json.decode(data, type=dict[str, Any])
    except JsonError:
        return ""
    return next((value for name, value in fields.items() if name in CAPTION_NAMES and isinstance(value, str)), "")


def _parquet_samples(reader: RecordReader) -> Iterator[Sample]:
    file = _open_parquet(reader.path)
    key, caption, status = (_column(file, names) for names in (("key",), CAPTION_NAMES, ("status",)))
    if not key or not caption:
        raise TwelvefoldError(f"{reader.task}: {reader.path}: expected the columns key and caption")
    for number, row in enumerate(_rows(reader.path, file, [key, caption, *([status] if status else [])])):
        record = f"row {number}"
        if status and row[status] != "success":
            reader.note(record, "images that img2dataset could not download, and whose captions are left out")
        elif isinstance(row[key], str) and isinstance(row[caption], str):
            yield Sample(record, row[key], row[caption])
        else:
            reader.reject(record, f"expected a key and a caption, got {row[key]!r:.80} and {row[caption]!r:.80}")


def _members(
    path: Path, suffixes: tuple[str, ...], max_bytes: int, skip: tuple[str, ...] = ()
) -> Iterator[tuple[str, str, bytes]]:
    """Yield key, suffix and content of the files of a tar with these suffixes; without the content of ``skip``."""
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                key, _, suffix = Path(member.name).name.partition(".")
                suffix = suffix.lower()
                if not member.isfile() or suffix not in suffixes:
                    continue
                if suffix in skip:
                    yield key, suffix, b""
                    continue
                if member.size > max_bytes:
                    raise TwelvefoldError(f"{path}, {member.name!r:.80}: expected at most {max_bytes:,} bytes")
                stream = archive.extractfile(member)
                yield key, suffix, stream.read() if stream else b""
    except (tarfile.TarError, EOFError, OSError, ValueError, OverflowError) as error:
        raise TwelvefoldError(f"{path} is no tar, or is truncated: {error}") from error


def _open_parquet(path: Path) -> Any:
    try:
        return parquet.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise TwelvefoldError(f"{path} can't be read as Parquet: {error}") from error


def _column(file: Any, names: tuple[str, ...]) -> str:
    """Return the first of these columns that a parquet file has, or an empty string."""
    return next((name for name in names if name in file.schema_arrow.names), "")


def _rows(path: Path, file: Any, columns: list[str]) -> Iterator[dict[str, Any]]:
    try:
        for batch in file.iter_batches(batch_size=256, columns=columns):
            yield from batch.to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise TwelvefoldError(f"{path} can't be read as Parquet: {error}") from error
