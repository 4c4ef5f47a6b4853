"""Unpack downloaded archives safely: no member outside the folder, no links or devices, no partial files.

All member names are checked before the first member is written, so an archive with a bad member leaves nothing.
"""

from __future__ import annotations

import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from twelvefold.parsing.file_kind import check_file_kind
from twelvefold.progress import track
from twelvefold.schema import TwelvefoldError
from twelvefold.store import atomic_files

MAX_LISTED = 8
"""Members listed in the error message when an expected one is missing."""


MAX_RATIO = 200
"""Times by which the members may be larger than their archive. Text compresses to a tenth or twentieth; a zip bomb
states a thousand times its size."""
FREE_BYTES = 16 << 20
"""Bytes that may be unpacked from any archive."""


class Member(NamedTuple):
    """A file in an archive, whose name has been checked; ``open`` opens it for reading."""

    name: str
    open: Callable[[], IO[bytes]]


def unpack_members(archive: Path, wanted: Mapping[Path, str]) -> None:
    """Extract some members, each written atomically. ``wanted``: file to write -> path of the member, or the end of it.

    Raises:
        TwelvefoldError: the archive is damaged or has an unsafe member, or a wanted member is not in it exactly once.
    """
    with _open_archive(archive) as members:
        chosen = {path: _find(archive, members, name) for path, name in wanted.items()}
        for path, member in chosen.items():
            with member.open() as source, atomic_files.atomic_file(path) as out:
                shutil.copyfileobj(source, out, atomic_files.CHUNK)


def unpack_all(archive: Path, folder: Path) -> int:
    """Extract all members below ``folder``, which appears once it is complete; return their number.

    Raises:
        TwelvefoldError: the archive is damaged or has an unsafe member.
    """
    with _open_archive(archive) as members, atomic_files.atomic_folder(folder) as temporary:
        for member in track(members, description=f"files of {archive.name}"):
            path = temporary / member.name
            path.parent.mkdir(parents=True, exist_ok=True)
            with member.open() as source, path.open("xb") as out:
                shutil.copyfileobj(source, out, atomic_files.CHUNK)
        return len(members)


@contextmanager
def _open_archive(path: Path) -> Iterator[list[Member]]:
    """Open an archive and check the names and sizes of all its members."""
    check_file_kind(path)
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                yield _zip_members(path, archive)
        else:
            with tarfile.open(path) as tar:
                yield _tar_members(path, tar)
    # zipfile raises NotImplementedError for an unknown compression method.
    except (
        zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, ValueError,
    ) as error:  # fmt: skip
        raise TwelvefoldError(f"{path} is damaged or not an archive: {error}") from error


def _zip_members(path: Path, archive: zipfile.ZipFile) -> list[Member]:
    total = 0
    for info in archive.infolist():
        total += info.file_size
        _check_size(path, total)
        file_type = stat.S_IFMT(info.external_attr >> 16)
        if file_type not in (0, stat.S_IFREG, stat.S_IFDIR) or info.flag_bits & 1:
            raise TwelvefoldError(f"{path}: member {info.orig_filename!r} is a link, a device or encrypted; refused")
        _check_name(path, info.orig_filename)
    return [Member(info.filename, partial(archive.open, info)) for info in archive.infolist() if not info.is_dir()]


def _tar_members(path: Path, archive: tarfile.TarFile) -> list[Member]:
    total = 0
    for info in archive:  # reads on to the next member only after this one's size was checked
        total += info.size
        _check_size(path, total)
        _check_name(path, info.name)
        if not (info.isreg() or info.isdir()):
            raise TwelvefoldError(f"{path}: member {info.name!r} is a link or a device; refused")
    files = [info for info in archive.getmembers() if info.isreg()]
    return [Member(info.name, partial(archive.extractfile, info)) for info in files]  # type: ignore[arg-type]


def _check_size(path: Path, total: int) -> None:
    """Raise if the members read so far state far more bytes than the archive can reasonably hold."""
    size = path.stat().st_size
    if total > FREE_BYTES + MAX_RATIO * size:
        raise TwelvefoldError(
            f"{path} of {size:,} bytes states members of {total:,} bytes or more, over {MAX_RATIO} times as many: "
            "it is damaged or a zip bomb; it was not unpacked"
        )


def _check_name(path: Path, name: str) -> None:
    """Raise if a member's name could lead out of the folder, on any operating system."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\\" in name or "\0" in name or ":" in parts[0]:
        raise TwelvefoldError(f"{path}: member {name!r} leads out of its folder; the archive was not unpacked")


def _find(archive: Path, members: Sequence[Member], wanted: str) -> Member:
    matches = [m for m in members if f"/{m.name}".endswith(f"/{wanted}") and not m.name.startswith("__MACOSX/")]
    if len(matches) != 1:
        names = [member.name for member in members]
        listed = ", ".join(names[:MAX_LISTED]) + (f" and {len(names) - MAX_LISTED} more" if names[MAX_LISTED:] else "")
        raise TwelvefoldError(f"{archive}: expected {wanted} in it once, got {len(matches)}; it holds {listed}")
    return matches[0]
