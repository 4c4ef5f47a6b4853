"""``twelvefold fetch``: download published weights, features and annotations from their publishers or a mirror.

``DATA/fetched.json`` records the size and sha256 of every download and of every file extracted from it. If the
publisher states no checksum, later downloads must match the first one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from twelvefold.download import http
from twelvefold.download.catalog import Catalog, Item, load_catalog
from twelvefold.download.http import ExpectedFile, FileRecord, read_file_record
from twelvefold.download.unpack import unpack_all, unpack_members
from twelvefold.schema import TwelvefoldError
from twelvefold.store import atomic_files

RECORDS = "fetched.json"
PARTS = ".fetching"
"""Folder of incomplete downloads, below the data folder."""
MIRROR_VARIABLE = "TWELVEFOLD_MIRROR"
"""Environment variable with the default mirror."""


class DownloadRecord(msgspec.Struct):
    """A download, and the files extracted from it by their paths below the data folder."""

    url: str
    size: int
    sha256: str
    files: dict[str, FileRecord] = {}


class FetchSummary(msgspec.Struct, rename={"present": "there"}):
    """The items that were fetched now, were present, or were present but not fetched by us (and so not checked)."""

    data: Path
    fetched: list[str] = []
    present: list[str] = []
    unchecked: list[str] = []


def fetch(names: Iterable[str], data: Path, *, mirror: str = "", catalog: Catalog | None = None) -> FetchSummary:
    """Download items into a data folder. Items that are present are skipped; an interrupted download continues.

    Args:
        names: Names of items or groups of the catalog (``twelvefold fetch --list``).
        data: The data folder; each file is stored where the dataset readers expect it.
        mirror: A folder or URL to use instead of the publishers' servers. Default: ``$TWELVEFOLD_MIRROR``.
        catalog: What can be fetched. Default: the catalog of the package.

    Raises:
        TwelvefoldError: an unknown name, a file that cannot be downloaded, or one with a wrong size or checksum.
    """
    items = (catalog or load_catalog()).select(list(names))
    mirror = mirror or os.environ.get(MIRROR_VARIABLE, "")
    summary = FetchSummary(data)
    with atomic_files.lock_folder(data / PARTS):
        for item in items:
            records = read_records(data)
            record = records.get(item.name)
            if all((data / path).exists() for path in item.paths):
                if record:
                    _check_sizes(item, record, data)
                (summary.present if record else summary.unchecked).append(item.name)
                continue
            records[item.name] = _fetch_item(item, data, mirror, record)
            atomic_files.write_json(data / RECORDS, msgspec.to_builtins(records))
            summary.fetched.append(item.name)
    return summary


def verify(data: Path) -> list[str]:
    """Return a message for each fetched file of a data folder that is missing or has changed. Reads every byte.

    Raises:
        TwelvefoldError: nothing was fetched into this folder.
    """
    records = read_records(data)
    if not records:
        raise TwelvefoldError(f"{data / RECORDS} lists no fetched files; `twelvefold fetch NAME --data {data}`")
    problems = []
    for record in records.values():
        for path, known in record.files.items():
            if not (data / path).exists():
                problems.append(f"{path} is missing; fetch it again")
            elif (now := read_file_record(data / path)) != known:
                problems.append(f"{path} was changed: {now.size:,} bytes, sha256 {now.sha256}; was {known.sha256}")
    return problems


def read_records(data: Path) -> dict[str, DownloadRecord]:
    """Return the downloads of a data folder by item name.

    Raises:
        TwelvefoldError: the file of records is not valid.
    """
    path = data / RECORDS
    if not path.exists():
        return {}
    records = atomic_files.read_json(path)
    return atomic_files.convert_json(path, records, dict[str, DownloadRecord], remedy="fix or remove it")


def _fetch_item(item: Item, data: Path, mirror: str, record: DownloadRecord | None) -> DownloadRecord:
    """Download, check and store one item."""
    part = data / PARTS / item.name
    expected = ExpectedFile(item.name, item.url, item.size, item.md5, item.sha256 or (record.sha256 if record else ""))
    try:
        result = _download_to(part, expected, mirror)
    except TwelvefoldError as error:
        if record and "sha256" in str(error):
            raise TwelvefoldError(
                f"{error}. That checksum was recorded at the first download, in {data / RECORDS}: if the publisher's "
                f"file is known to have changed, remove {item.name!r} there and fetch again"
            ) from error
        raise
    files: dict[str, FileRecord] = {}
    if item.unpack:
        unpack_all(part, data / item.path)
    elif item.members:
        unpack_members(part, {data / path: member for path, member in item.members.items()})
        files = {path: read_file_record(data / path) for path in item.members}
    else:
        atomic_files.replace_file(part, data / item.path)
        files = {item.path: result}
    http.remove_part(part)
    return DownloadRecord(item.url, result.size, result.sha256, files)


def _download_to(part: Path, expected: ExpectedFile, mirror: str) -> FileRecord:
    if not mirror:
        return http.download(expected, part)
    if "://" in mirror:
        path = next(http.mirror_paths(expected))
        return http.download(expected._replace(url=f"{mirror.rstrip('/')}/{path}"), part)
    folder = Path(mirror).expanduser()
    if not folder.is_dir():
        raise TwelvefoldError(f"the mirror {mirror!r} is not a folder, and not a URL (https://...)")
    candidates = [folder / path for path in http.mirror_paths(expected)]
    for source in candidates:
        if source.is_file():
            return http.copy_from_mirror(expected, source, part)
    raise TwelvefoldError(f"{expected.name}: the mirror has neither {' nor '.join(map(str, candidates))}")


def _check_sizes(item: Item, record: DownloadRecord, data: Path) -> None:
    """Check that the files have the sizes they had when fetched. ``verify`` compares every byte.

    Raises:
        TwelvefoldError: a file has a different size.
    """
    for path, known in record.files.items():
        if (size := (data / path).stat().st_size) != known.size:
            raise TwelvefoldError(
                f"{data / path} has {size:,} bytes, but {known.size:,} were fetched: it was changed; remove it, and "
                f"`twelvefold fetch {item.name}` downloads it again"
            )
