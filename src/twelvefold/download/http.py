"""Download one file over HTTP, or copy it from a local mirror: resumed after a break, and checked before use.

The bytes received so far are kept in a part file, next to a JSON file that records what they belong to. A server that
supports ranges continues from there; otherwise, or if its file has changed, the download restarts. No download library
is used: pooch does not resume, and ``huggingface_hub`` stops at 50 GB and only knows its own hub.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx2
import msgspec

from twelvefold.progress import progress_bar
from twelvefold.schema import TwelvefoldError
from twelvefold.store import atomic_files

MB = 1_000_000
MAX_FAILURES = 5
"""Failures in a row without a new byte before the download gives up. Our choice."""
FIRST_PAUSE = 1.0
"""Seconds before the first retry; doubled for each further one. Our choice."""
TIMEOUT = httpx2.Timeout(30.0)
"""Seconds without data after which a connection counts as broken. Our choice."""
RETRYABLE_STATUS = frozenset((408, 425, 429, 500, 502, 503, 504))


class ExpectedFile(NamedTuple):
    """What is known about a file; None or empty where the publisher states nothing."""

    name: str
    url: str
    size: int | None = None
    md5: str = ""
    sha256: str = ""


class FileRecord(msgspec.Struct, frozen=True):
    """Size in bytes and sha256 of a file."""

    size: int
    sha256: str


class PartialDownload(msgspec.Struct, rename={"validator": "mark"}):
    """What a part file belongs to: URL, total size in bytes, and the server's validator (ETag or date)."""

    url: str
    total: int | None = None
    validator: str = ""


class RetryableError(Exception):
    """A failure of the connection or the server that may not occur again."""


def download(expected: ExpectedFile, part: Path) -> FileRecord:
    """Download ``expected.url`` to ``part``, continuing an earlier attempt, and check the result.

    Raises:
        TwelvefoldError: the server does not have the file or sends a different one, or the connection fails
            repeatedly. A correct beginning stays in ``part``, so that the next call can continue.
    """
    part.parent.mkdir(parents=True, exist_ok=True)
    failures, size_before = 0, _size(part)
    with httpx2.Client(timeout=TIMEOUT, follow_redirects=True, headers={"Accept-Encoding": "identity"}) as client:
        while True:
            try:
                _attempt(client, expected, part)
                return check(expected, part)
            except (httpx2.InvalidURL, httpx2.UnsupportedProtocol) as error:
                raise TwelvefoldError(f"{expected.name}: {expected.url} is not a valid URL: {error}") from error
            except (httpx2.TransportError, RetryableError) as error:
                gained, size_before = _size(part) > size_before, _size(part)
                failures = 1 if gained else failures + 1
                if failures >= MAX_FAILURES:
                    raise TwelvefoldError(
                        f"{expected.name}: {expected.url} failed {MAX_FAILURES} times in a row at byte "
                        f"{size_before:,}: {error or type(error).__name__}; the part received so far is kept, and the "
                        "same command continues from there"
                    ) from error
                time.sleep(FIRST_PAUSE * 2 ** (failures - 1))
            except httpx2.HTTPError as error:
                raise TwelvefoldError(f"{expected.name}: {expected.url}: {error}") from error


def copy_from_mirror(expected: ExpectedFile, source: Path, part: Path) -> FileRecord:
    """Copy ``source``, a file of a local mirror, to ``part`` and check it.

    Raises:
        TwelvefoldError: the disk is full, or the file has a different size or checksum.
    """
    part.parent.mkdir(parents=True, exist_ok=True)
    _require_disk_space(part, source.stat().st_size)
    shutil.copyfile(source, part)
    return check(expected, part)


def check(expected: ExpectedFile, part: Path) -> FileRecord:
    """Compare a complete part file with what is known about it; remove it if it differs.

    Raises:
        TwelvefoldError: size or checksum differ.
    """
    record = read_file_record(part)
    md5 = _digest(part, "md5") if expected.md5 else ""
    comparisons = (
        ("bytes", expected.size, record.size),
        ("md5", expected.md5, md5),
        ("sha256", expected.sha256, record.sha256),
    )
    for quantity, wanted, actual in comparisons:
        if wanted and wanted != actual:
            remove_part(part)
            raise TwelvefoldError(
                f"{expected.name}: {expected.url}: expected {quantity} {wanted}, got {actual}: the file was changed, "
                "or the server sent an error page instead. The download was removed"
            )
    return record


def read_file_record(path: Path) -> FileRecord:
    """Return size and sha256 of a file."""
    return FileRecord(path.stat().st_size, _digest(path, "sha256"))


def _digest(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def remove_part(part: Path) -> None:
    """Remove a part file and its JSON file."""
    part.unlink(missing_ok=True)
    _state_path(part).unlink(missing_ok=True)


def mirror_paths(expected: ExpectedFile) -> Iterator[str]:
    """Yield where a mirror may hold the file: host and path (the layout of ``wget -x``), then the bare file name."""
    path = expected.url.partition("://")[2]
    yield path
    yield path.rpartition("/")[2]


def _attempt(client: httpx2.Client, expected: ExpectedFile, part: Path) -> None:
    """Send one request. If it returns, the part file is complete."""
    state = _read_state(part, expected.url)
    num_received = _size(part) if state else 0
    headers = {}
    if num_received and state:
        headers["Range"] = f"bytes={num_received}-"
        if state.validator:
            headers["If-Range"] = state.validator
    with client.stream("GET", expected.url, headers=headers) as response:
        if response.status_code == 416 and state:
            if state.total == num_received:
                return
            remove_part(part)
            raise RetryableError("the server has no bytes after those received; restarting")
        _check_response(expected, response)
        start, total = _content_range(response)
        if start != num_received or (start and state and state.total not in (None, total)):
            if response.status_code == 206:
                remove_part(part)
                raise RetryableError("the server sent a different range than requested; restarting")
            start = 0
        if total is not None and expected.size is not None and total != expected.size:
            raise TwelvefoldError(
                f"{expected.name}: {expected.url} offers {total:,} bytes, expected {expected.size:,}: the publisher's "
                "file was changed, or the mirror has a different file. Nothing was downloaded"
            )
        state = PartialDownload(expected.url, total, _validator(response))
        atomic_files.write_bytes(_state_path(part), msgspec.json.encode(state))
        _write_body(expected, response, part, start, total)
    if total is not None and _size(part) < total:
        raise RetryableError(f"received {_size(part):,} of {total:,} bytes")


def _write_body(expected: ExpectedFile, response: httpx2.Response, part: Path, start: int, total: int | None) -> None:
    limit = total if total is not None else expected.size
    if total is not None:
        _require_disk_space(part, total - start)
    position = start
    megabytes = None if limit is None else limit // MB
    try:
        with (
            part.open("r+b" if start else "wb") as file,
            progress_bar(description=f"{expected.name}, MB", total=megabytes) as bar,
        ):
            file.seek(start)
            file.truncate()
            bar.advance(start // MB)
            for chunk in response.iter_raw():  # unbuffered: a larger chunk would be lost when the connection breaks
                file.write(chunk)
                bar.advance((position + len(chunk)) // MB - position // MB)
                position += len(chunk)
                if limit is not None and position > limit:
                    break
    except OSError as error:
        raise TwelvefoldError(f"{expected.name}: could not write {part}: {error.strerror or error}") from error
    if limit is not None and position > limit:
        remove_part(part)
        raise TwelvefoldError(
            f"{expected.name}: {expected.url}: expected {limit:,} bytes, but the server sent more: it is a different "
            "file. The download was removed"
        )


def _check_response(expected: ExpectedFile, response: httpx2.Response) -> None:
    """Raise if the response is not (a part of) the file."""
    status = response.status_code
    if status in RETRYABLE_STATUS:
        raise RetryableError(f"the server answered {status} {response.reason_phrase}")
    if status not in (200, 206):
        raise TwelvefoldError(
            f"{expected.name}: {expected.url} answered {status} {response.reason_phrase}: the file has moved or needs "
            "a login; download it by hand to the path that `twelvefold fetch --list` shows, or use --mirror"
        )
    if response.headers.get("content-type", "").startswith("text/html"):
        raise TwelvefoldError(
            f"{expected.name}: {expected.url} sent a web page instead of the file (a login, or a notice): open it in "
            "a browser, and put the file at the path that `twelvefold fetch --list` shows, or use --mirror"
        )


def _content_range(response: httpx2.Response) -> tuple[int, int | None]:
    """Return the offset of the response's first byte, and the size of the whole file if the server states it."""
    if response.status_code == 206:
        unit, _, rest = response.headers.get("content-range", "").partition(" ")
        span, _, total = rest.partition("/")
        start = span.partition("-")[0]
        if unit != "bytes" or not start.isdecimal():
            raise RetryableError(f"the server's Content-Range is {response.headers.get('content-range')!r}")
        return int(start), int(total) if total.isdecimal() else None
    length = response.headers.get("content-length", "")
    return 0, int(length) if length.isdecimal() else None


def _validator(response: httpx2.Response) -> str:
    """Return the value for If-Range: a strong ETag, otherwise the date of the last change."""
    etag: str = response.headers.get("etag", "")
    return etag if etag and not etag.startswith("W/") else str(response.headers.get("last-modified", ""))


def _read_state(part: Path, url: str) -> PartialDownload | None:
    """Return the state of a part file of ``url``; remove a part file of anything else."""
    try:
        state = msgspec.json.decode(_state_path(part).read_bytes(), type=PartialDownload)
    except (OSError, ValueError, RecursionError):
        state = None
    if state is None or state.url != url or not part.exists():
        remove_part(part)
        return None
    return state


def _state_path(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _require_disk_space(part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if needed > free:
        raise TwelvefoldError(f"{part.parent}: {needed:,} bytes are needed and {free:,} are free: use another folder")
