"""Archives from elsewhere, unpacked with care: no member outside the folder, no links, no devices, nothing half.

Every member's name is looked at before the first is written, so an archive with one bad member leaves nothing.
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

SHOWN = 8
"""Members named where one is looked for in vain."""


class Member(NamedTuple):
    """A file in an archive. entry: how the archive itself finds it."""

    name: str
    size: int
    entry: zipfile.ZipInfo | tarfile.TarInfo


class Archive(NamedTuple):
    """An open archive, its members checked."""

    path: Path
    members: list[Member]
    file: zipfile.ZipFile | tarfile.TarFile

    def open(self, member: Member) -> IO[bytes]:
        """The bytes of a member."""
        stream = (
            self.file.open(member.entry)
            if isinstance(self.file, zipfile.ZipFile) and isinstance(member.entry, zipfile.ZipInfo)
            else self.file.extractfile(member.entry)
            if isinstance(self.file, tarfile.TarFile) and isinstance(member.entry, tarfile.TarInfo)
            else None
        )
        if stream is None:
            raise TwelvefoldError(f"{self.path}: {member.name} is no file")
        return stream


def unpack_some(archive: Path, wanted: Mapping[Path, str]) -> None:
    """Write the members ``wanted`` (by path, or by the end of one) to their files, each atomically.

    Raises:
        TwelvefoldError: the archive is damaged or has a member that may not be, or one wanted is not in it once.
    """
    with _opened(archive) as opened:
        chosen = {path: _find(opened, name) for path, name in wanted.items()}
        for path, member in chosen.items():
            with opened.open(member) as source, atomic_files.atomic_file(path) as out:
                shutil.copyfileobj(source, out, atomic_files.CHUNK)


def unpack_all(archive: Path, folder: Path) -> int:
    """Write every member below ``folder``, which appears when all of them are there; gives how many.

    Raises:
        TwelvefoldError: as :func:`unpack_some`.
    """
    with _opened(archive) as opened, atomic_files.atomic_folder(folder) as fresh:
        for member in track(opened.members, description=f"files of {archive.name}"):
            out = fresh / member.name
            out.parent.mkdir(parents=True, exist_ok=True)
            with opened.open(member) as source, out.open("xb") as file:
                shutil.copyfileobj(source, file, atomic_files.CHUNK)
        return len(opened.members)


@contextmanager
def _opened(path: Path) -> Iterator[Archive]:
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                yield Archive(path, _zip_members(path, archive), archive)
        else:
            with tarfile.open(path) as tar:
                yield Archive(path, _tar_members(path, tar), tar)
    # zipfile has NotImplementedError for a way of compressing that it doesn't know.
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, NotImplementedError) as error:
        raise TwelvefoldError(f"{path} is damaged or no archive: {error}") from error


def _zip_members(path: Path, archive: zipfile.ZipFile) -> list[Member]:
    members = []
    for info in archive.infolist():
        mode = info.external_attr >> 16
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR) or info.flag_bits & 1:
            raise TwelvefoldError(f"{path}: member {info.orig_filename!r} is a link, a device or locked; refused")
        _check(path, info.orig_filename)
        if not info.is_dir():
            members.append(Member(info.filename, info.file_size, info))
    return members


def _tar_members(path: Path, archive: tarfile.TarFile) -> list[Member]:
    members = []
    for info in archive:
        _check(path, info.name)
        if not (info.isreg() or info.isdir()):
            raise TwelvefoldError(f"{path}: member {info.name!r} is a link or a device; refused")
        if info.isreg():
            members.append(Member(info.name, info.size, info))
    return members


def _check(path: Path, name: str) -> None:
    """Refuse a name that could lead out of the folder on any system."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\\" in name or "\0" in name or ":" in parts[0]:
        raise TwelvefoldError(f"{path}: member {name!r} leads out of its folder; the archive was not unpacked")


def _find(archive: Archive, wanted: str) -> Member:
    end = f"/{wanted}"
    found = [m for m in archive.members if m.name == wanted or m.name.endswith(end)]
    found = [m for m in found if not m.name.startswith("__MACOSX/")]
    if len(found) != 1:
        names = [member.name for member in archive.members]
        shown = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
        raise TwelvefoldError(f"{archive.path}: expected {wanted} in it once, found {len(found)}; it holds {shown}")
    return found[0]
