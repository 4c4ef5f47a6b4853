"""``twelvefold fetch``: published weights, features and annotations, from their publishers or from a mirror.

What has come is written down in ``DATA/fetched.json``: bytes and sha256 of every download and of every file that was
made of it. Where the publisher states no checksum, the first download is the one that later ones are held to.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from twelvefold.download.catalog import Catalogue, Item, shipped
from twelvefold.download.http import CHUNK, Got, Wanted, addresses, copy, download, forget
from twelvefold.download.unpack import unpack_all, unpack_some
from twelvefold.schema import TwelvefoldError
from twelvefold.store import atomic_files as files

PINS = "fetched.json"
PARTS = ".fetching"
"""Where parts of files lie until they are whole."""
MIRROR = "TWELVEFOLD_MIRROR"
"""The environment variable that names a mirror for every call."""


class Pinned(msgspec.Struct):
    """One file: its bytes and checksum."""

    size: int
    sha256: str


class Pin(msgspec.Struct):
    """One download, and the files made of it by their places below the data folder."""

    url: str
    size: int
    sha256: str
    files: dict[str, Pinned] = {}


class FetchSummary(msgspec.Struct):
    """What became of each item: fetched now, there already, or there but not of ours and so not checked."""

    data: Path
    fetched: list[str] = []
    there: list[str] = []
    unchecked: list[str] = []


def fetch(names: Iterable[str], data: Path, *, mirror: str = "", catalogue: Catalogue | None = None) -> FetchSummary:
    """Get items by name or group into ``data``. What is there already is not got again; a stopped call goes on.

    ``mirror``: a folder of copies or an address, instead of the publishers'; else ``$TWELVEFOLD_MIRROR``.

    Raises:
        TwelvefoldError: no such name, the file can't be got, or it isn't the one that is known.
    """
    items = (catalogue or shipped()).named(list(names))
    mirror = mirror or os.environ.get(MIRROR, "")
    summary = FetchSummary(data)
    with files.lock_folder(data / PARTS):
        for item in items:
            pins = read_pins(data)
            pin = pins.get(item.name)
            if all((data / place).exists() for place in item.places):
                (summary.there if pin and _as_pinned(item, pin, data) else summary.unchecked).append(item.name)
                continue
            pins[item.name] = _get(item, data, mirror, pin)
            files.write_json(data / PINS, msgspec.to_builtins(pins))
            summary.fetched.append(item.name)
    return summary


def verify(data: Path) -> list[str]:
    """Files that are not as they were when they were fetched, each with what differs; reads every byte.

    Raises:
        TwelvefoldError: nothing was ever fetched there.
    """
    pins = read_pins(data)
    if not pins:
        raise TwelvefoldError(f"{data / PINS} lists nothing that was fetched; `twelvefold fetch NAME --data {data}`")
    problems = []
    for pin in pins.values():
        for place, known in pin.files.items():
            path = data / place
            if not path.exists():
                problems.append(f"{place} is missing; fetch it again")
            elif (now := pinned(path)) != known:
                problems.append(f"{place} was changed: {now.size:,} bytes, sha256 {now.sha256}; was {known.sha256}")
    return problems


def read_pins(data: Path) -> dict[str, Pin]:
    """What was fetched into a data folder, by name."""
    path = data / PINS
    if not path.exists():
        return {}
    try:
        return msgspec.convert(files.read_json(path), dict[str, Pin])
    except msgspec.ValidationError as error:
        raise TwelvefoldError(f"{path} was changed by hand and can't be read: {error}; mend or remove it") from error


def pinned(path: Path) -> Pinned:
    """A file's bytes and sha256."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return Pinned(path.stat().st_size, digest.hexdigest())


def _get(item: Item, data: Path, mirror: str, pin: Pin | None) -> Pin:
    """One item, whole and checked, at its places."""
    part = data / PARTS / item.name
    wanted = Wanted(item.name, item.url, item.size, item.md5, item.sha256 or (pin.sha256 if pin else ""))
    try:
        got = _bring(wanted, mirror, part)
    except TwelvefoldError as error:
        if pin and "sha256" in str(error):
            raise TwelvefoldError(
                f"{error}. That sum was pinned at the first download, in {data / PINS}: if the publisher's file is "
                f"known to have changed, remove {item.name!r} there and fetch again"
            ) from error
        raise
    if item.unpack:
        unpack_all(part, data / item.to)
        forget(part)
        return Pin(item.url, *got)
    if item.members:
        unpack_some(part, {data / place: member for place, member in item.members.items()})
        made = {place: pinned(data / place) for place in item.members}
        forget(part)
        return Pin(item.url, *got, made)
    files.put_in_place(part, data / item.to)
    forget(part)
    return Pin(item.url, *got, {item.to: Pinned(*got)})


def _bring(wanted: Wanted, mirror: str, part: Path) -> Got:
    if not mirror:
        return download(wanted, part)
    if "://" in mirror:
        path = next(addresses(wanted))
        return download(wanted._replace(url=f"{mirror.rstrip('/')}/{path}"), part)
    folder = Path(mirror).expanduser()
    if not folder.is_dir():
        raise TwelvefoldError(f"the mirror {mirror!r} is no folder, and no address (https://...)")
    tried = [folder / path for path in addresses(wanted)]
    for source in tried:
        if source.is_file():
            return copy(wanted, source, part)
    raise TwelvefoldError(f"{wanted.name}: the mirror has no {' and no '.join(map(str, tried))}")


def _as_pinned(item: Item, pin: Pin, data: Path) -> bool:
    """Whether the files are as long as when they were fetched; ``verify`` compares every byte."""
    for place, known in pin.files.items():
        if (size := (data / place).stat().st_size) != known.size:
            raise TwelvefoldError(
                f"{data / place} has {size:,} bytes, {known.size:,} were fetched: it was changed; remove it, and "
                f"`twelvefold fetch {item.name}` gets it again"
            )
    return True
