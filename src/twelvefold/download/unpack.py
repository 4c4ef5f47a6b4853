"""Unpack downloaded archives safely: no member outside the folder, no links or devices, no partial files.

All member names are checked before the first member is written, so an archive with a bad member leaves nothing.
"""

from __future__ import annotations

import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from twelvefold.progress import track
from twelvefold.schema import TwelvefoldError
from twelvefold.store import atomic_files

MAX_LISTED = 8
"""Members listed in the error message when an expected one is missing."""


class Member(NamedTuple):
    """A file in an archive. ``entry`` is the archive library's own record of it."""

    name: str
    size: int
    entry: zipfile.ZipInfo | tarfile.TarInfo


class Archive(NamedTuple):
    """An open archive whose members have been checked."""

    path: Path
    members: list[Member]
    file: zipfile.ZipFile | tarfile.TarFile

    def open(self, member: Member) -> IO[bytes]:
        """Open a member for reading."""
        stream = (
            self.file.open(member.entry)
            if isinstance(self.file, zipfile.ZipFile) and isinstance(member.entry, zipfile.ZipInfo)
            else self.file.extractfile(member.entry)
            if isinstance(self.file, tarfile.TarFile) and isinstance(member.entry, tarfile.TarInfo)
            else None
        )
        if stream is None:
            raise TwelvefoldError(f"{self.path}: {member.name} is not a file")
        return stream


def unpack_members(archive: Path, wanted: Mapping[Path, str]) -> None:
    """Extract some members, each written atomically. ``wanted``: file to write -> path of the member, or the end of it.

    Raises:
        TwelvefoldError: the archive is damaged or has an unsafe member, or a wanted member is not in it exactly once.
    """
    with _open_archive(archive) as opened:
        chosen = {path: _find(opened, name) for path, name in wanted.items()}
        for path, member in chosen.items():
            with opened.open(member) as source, atomic_files.atomic_file(path) as out:
                shutil.copyfileobj(source, out, atomic_files.CHUNK)


def unpack_all(archive: Path, folder: Path) -> int:
    """Extract all members below ``folder``, which appears once it is complete; return their number.

    Raises:
        TwelvefoldError: the archive is damaged or has an unsafe member.
    """
    with _open_archive(archive) as opened, atomic_files.atomic_folder(folder) as temporary:
        for member in track(opened.members, description=f"files of {archive.name}"):
            out = temporary / member.name
            out.parent.mkdir(parents=True, exist_ok=True)
            with opened.open(member) as source, out.open("xb") as file:
                shutil.copyfileobj(source, file, atomic_files.CHUNK)
        return len(opened.members)


@contextmanager
def _open_archive(path: Path) -> Iterator[Archive]:
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                yield Archive(path, _zip_members(path, archive), archive)
        else:
            with tarfile.open(path) as tar:
                yield Archive(path, _tar_members(path, tar), tar)
    # zipfile raises NotImplementedError for an unknown compression method.
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, NotImplementedError) as error:
        raise TwelvefoldError(f"{path} is damaged or not an archive: {error}") from error


def _zip_members(path: Path, archive: zipfile.ZipFile) -> list[Member]:
    members = []
    for info in archive.infolist():
        mode = info.external_attr >> 16
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR) or info.flag_bits & 1:
            raise TwelvefoldError(f"{path}: member {info.orig_filename!r} is a link, a device or encrypted; refused")
        _check_name(path, info.orig_filename)
        if not info.is_dir():
            members.append(Member(info.filename, info.file_size, info))
    return members


def _tar_members(path: Path, archive: tarfile.TarFile) -> list[Member]:
    members = []
    for info in archive:
        _check_name(path, info.name)
        if not (info.isreg() or info.isdir()):
            raise TwelvefoldError(f"{path}: member {info.name!r} is a link or a device; refused")
        if info.isreg():
            members.append(Member(info.name, info.size, info))
    return members


def _check_name(path: Path, name: str) -> None:
    """Raise if a member's name could lead out of the folder, on any operating system."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\\" in name or "\0" in name or ":" in parts[0]:
        raise TwelvefoldError(f"{path}: member {name!r} leads out of its folder; the archive was not unpacked")


def _find(archive: Archive, wanted: str) -> Member:
    suffix = f"/{wanted}"
    matches = [m for m in archive.members if m.name == wanted or m.name.endswith(suffix)]
    matches = [m for m in matches if not m.name.startswith("__MACOSX/")]
    if len(matches) != 1:
        names = [member.name for member in archive.members]
        listed = ", ".join(names[:MAX_LISTED]) + (f" and {len(names) - MAX_LISTED} more" if names[MAX_LISTED:] else "")
        raise TwelvefoldError(f"{archive.path}: expected {wanted} in it once, got {len(matches)}; it holds {listed}")
    return matches[0]
