"""One file over HTTP or from a folder of copies: resumed after a break, checked, never half under its final name.

What has come so far lies in a part file with a note of what it is a part of. A server that knows ranges goes on from
there; one that doesn't, or whose file has changed since, sends it from the start. Why not a download library: pooch
doesn't resume, and ``huggingface_hub`` ends at 50 GB and speaks of its own hub, so this is its HTTP client (httpx2)
with a ``Range``.
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

CHUNK = 1 << 20
MB = 1_000_000
TRIES = 5
"""Breaks in a row without a byte gained before giving up. Ours."""
FIRST_PAUSE = 1.0
"""Seconds before the second try; twice as long before each further one. Ours."""
TIMEOUT = httpx2.Timeout(30.0)
"""Seconds of silence that count as a break. Ours: a slow server sends something in that time."""
AGAIN = frozenset((408, 425, 429, 500, 502, 503, 504))
"""Answers that another try may better."""


class Wanted(NamedTuple):
    """What is expected of a file; None and empty where the publisher states nothing."""

    name: str
    url: str
    size: int | None = None
    md5: str = ""
    sha256: str = ""


class Got(NamedTuple):
    """What came: bytes, and the checksum that is pinned."""

    size: int
    sha256: str


class Note(msgspec.Struct):
    """Beside a part file: of which file, of how many bytes, by the server's own mark (ETag or date)."""

    url: str
    total: int | None = None
    mark: str = ""


class BreakError(Exception):
    """The connection or the server failed in a way that another try may better."""


def download(wanted: Wanted, part: Path) -> Got:
    """Bring ``wanted.url`` to ``part``, going on where an earlier call was stopped, and check it.

    Raises:
        TwelvefoldError: the server has no such file or sends another one, or it breaks off again and again; what
            came stays in ``part`` to go on from, unless it is wrong.
    """
    part.parent.mkdir(parents=True, exist_ok=True)
    pause, failures, had = FIRST_PAUSE, 0, _size(part)
    with httpx2.Client(timeout=TIMEOUT, follow_redirects=True, headers={"Accept-Encoding": "identity"}) as client:
        while True:
            try:
                _attempt(client, wanted, part)
                return check(wanted, part)
            except (httpx2.InvalidURL, httpx2.UnsupportedProtocol) as error:
                raise TwelvefoldError(f"{wanted.name}: {wanted.url} is no address to fetch from: {error}") from error
            except (httpx2.TransportError, BreakError) as error:
                gained, had = _size(part) > had, _size(part)
                failures = 1 if gained else failures + 1
                if failures >= TRIES:
                    raise TwelvefoldError(
                        f"{wanted.name}: {wanted.url} broke off {TRIES} times in a row at byte {had:,}: "
                        f"{error or type(error).__name__}; what came is kept, the same command goes on from there"
                    ) from error
                time.sleep(pause if not gained else FIRST_PAUSE)
                pause = 2 * pause if not gained else FIRST_PAUSE
            except httpx2.HTTPError as error:
                raise TwelvefoldError(f"{wanted.name}: {wanted.url}: {error}") from error


def copy(wanted: Wanted, source: Path, part: Path) -> Got:
    """The same from a folder of copies."""
    part.parent.mkdir(parents=True, exist_ok=True)
    _room(part, source.stat().st_size)
    shutil.copyfile(source, part)
    return check(wanted, part)


def check(wanted: Wanted, part: Path) -> Got:
    """Compare a whole part file with what is known of it; a wrong one is removed.

    Raises:
        TwelvefoldError: it has another size or checksum.
    """
    size = _size(part)
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    with part.open("rb") as file:
        while chunk := file.read(CHUNK):
            md5.update(chunk)
            sha256.update(chunk)
    pairs = (
        ("bytes", wanted.size, size),
        ("md5", wanted.md5, md5.hexdigest()),
        ("sha256", wanted.sha256, sha256.hexdigest()),
    )
    for what, expected, got in pairs:
        if expected and expected != got:
            forget(part)
            raise TwelvefoldError(
                f"{wanted.name}: {wanted.url}: expected {what} {expected}, got {got}: the file was changed, or a page "
                "came in its place. It was not kept"
            )
    return Got(size, sha256.hexdigest())


def forget(part: Path) -> None:
    """Remove a part file and its note."""
    part.unlink(missing_ok=True)
    _note_path(part).unlink(missing_ok=True)


def _attempt(client: httpx2.Client, wanted: Wanted, part: Path) -> None:
    """One request: after it, the part is whole, or an error says why not."""
    note = _read_note(part, wanted.url)
    have = _size(part) if note else 0
    headers = {}
    if have and note:
        headers["Range"] = f"bytes={have}-"
        if note.mark:
            headers["If-Range"] = note.mark
    with client.stream("GET", wanted.url, headers=headers) as response:
        if response.status_code == 416 and note:
            if note.total == have:
                return
            forget(part)
            raise BreakError("the server has no bytes after those that came; starting again")
        _refuse(wanted, response)
        start, total = _extent(response)
        if start != have or (start and note and note.total not in (None, total)):
            if response.status_code == 206:
                forget(part)
                raise BreakError("the server sent another part than asked for; starting again")
            start = 0
        _expected(wanted, total)
        note = Note(wanted.url, total, _mark(response))
        atomic_files.write_bytes(_note_path(part), msgspec.json.encode(note))
        _receive(wanted, response, part, start, total)
    if total is not None and _size(part) < total:
        raise BreakError(f"{_size(part):,} of {total:,} bytes came")


def _receive(wanted: Wanted, response: httpx2.Response, part: Path, start: int, total: int | None) -> None:
    limit = total if total is not None else wanted.size
    if total is not None:
        _room(part, total - start)
    at = start
    megabytes = None if limit is None else limit // MB
    try:
        with (
            part.open("r+b" if start else "wb") as file,
            progress_bar(description=f"{wanted.name}, MB", total=megabytes) as bar,
        ):
            file.seek(start)
            file.truncate()
            bar.advance(start // MB)
            for chunk in response.iter_raw():  # as it comes: what is gathered first is lost in a break
                file.write(chunk)
                bar.advance((at + len(chunk)) // MB - at // MB)
                at += len(chunk)
                if limit is not None and at > limit:
                    break
    except OSError as error:
        raise TwelvefoldError(f"{wanted.name}: could not write {part}: {error.strerror or error}") from error
    if limit is not None and at > limit:
        forget(part)
        raise TwelvefoldError(
            f"{wanted.name}: {wanted.url}: expected {limit:,} bytes, but more came: not the same file. It was not kept"
        )


def _refuse(wanted: Wanted, response: httpx2.Response) -> None:
    """Raise where the answer is no part of the file."""
    status = response.status_code
    if status in AGAIN:
        raise BreakError(f"the server answered {status} {response.reason_phrase}")
    if status not in (200, 206):
        raise TwelvefoldError(
            f"{wanted.name}: {wanted.url} answered {status} {response.reason_phrase}: it has moved or must be asked "
            "for; get it by hand and put it where `twelvefold fetch --list` says, or name a --mirror"
        )
    if response.headers.get("content-type", "").startswith("text/html"):
        raise TwelvefoldError(
            f"{wanted.name}: {wanted.url} sent a web page instead of the file (a login, or a notice): open it in a "
            "browser, and put the file where `twelvefold fetch --list` says, or name a --mirror"
        )


def _expected(wanted: Wanted, total: int | None) -> None:
    if total is not None and wanted.size is not None and total != wanted.size:
        raise TwelvefoldError(
            f"{wanted.name}: {wanted.url} offers {total:,} bytes, expected {wanted.size:,}: the publisher's file "
            "was changed, or the mirror's is another one. Nothing was fetched"
        )


def _extent(response: httpx2.Response) -> tuple[int, int | None]:
    """Where the answer's bytes begin, and how many the whole file has, if the server says."""
    if response.status_code == 206:
        unit, _, rest = response.headers.get("content-range", "").partition(" ")
        span, _, total = rest.partition("/")
        start = span.partition("-")[0]
        if unit != "bytes" or not start.isdecimal():
            raise BreakError(f"the server's Content-Range is {response.headers.get('content-range')!r}")
        return int(start), int(total) if total.isdecimal() else None
    length = response.headers.get("content-length", "")
    return 0, int(length) if length.isdecimal() else None


def _mark(response: httpx2.Response) -> str:
    """What If-Range may be asked with: a strong ETag, else the date of the last change."""
    etag: str = response.headers.get("etag", "")
    return etag if etag and not etag.startswith("W/") else str(response.headers.get("last-modified", ""))


def _read_note(part: Path, url: str) -> Note | None:
    """The note of a part file that is a part of ``url``; anything else is forgotten."""
    try:
        note = msgspec.json.decode(_note_path(part).read_bytes(), type=Note)
    except (OSError, msgspec.MsgspecError):
        note = None
    if note is None or note.url != url or not part.exists():
        forget(part)
        return None
    return note


def _note_path(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _room(part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if needed > free:
        raise TwelvefoldError(
            f"{part.parent}: {needed:,} bytes are to come and {free:,} are free: choose another folder"
        )


def addresses(wanted: Wanted) -> Iterator[str]:
    """How a mirror may name the file: by host and path, as ``wget -x`` lays copies out, then by its name alone."""
    path = wanted.url.partition("://")[2]
    yield path
    yield path.rpartition("/")[2]
