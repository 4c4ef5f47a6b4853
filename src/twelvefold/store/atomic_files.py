"""Write files atomically, with checksums and locks. No other module of the package writes to disk.

A reader sees the old file or the new one, never a part. A temporary file is hidden, is in the same folder as its target
and ends in ``.tmp``; a killed process may leave one behind, which :func:`remove_leftovers` removes.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar

import msgspec
import xxhash

from twelvefold.parsing import json_text as json_reader
from twelvefold.parsing.json_text import JsonError, decode_json, describe_error
from twelvefold.parsing.text import read_bytes
from twelvefold.printable import escape_in_json
from twelvefold.schema import TwelvefoldError

T = TypeVar("T")

CHUNK = 1 << 20

AT_FDCWD, RENAME_EXCHANGE = -100, 2
"""Constants of Linux (fcntl.h, linux/fs.h) for ``renameat2``: paths of the current folder, and to swap two paths."""

MAX_NAME_BYTES = 200
"""Longest file name whose temporary file has the whole name in its own."""


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a binary file for writing that replaces ``path`` if the ``with`` block ends without an error.

    Raises:
        TwelvefoldError: the disk is full, the folder is not writable, ...; ``path`` is then unchanged.
    """
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        yield file


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Create an empty file for a library to write, which replaces ``path`` if the block ends without an error.

    Its permissions are the process's default for new files, even if the library changes them.

    Raises:
        TwelvefoldError: the disk is full, the folder is not writable, ...; ``path`` is then unchanged.
    """
    path = Path(path)
    temporary = _temporary_path(path)
    with _report_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.touch(exist_ok=False)
            mode = temporary.stat().st_mode
            yield temporary
            temporary.chmod(mode)
            _flush(temporary)
            temporary.replace(path)
            _flush(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` atomically."""
    with atomic_file(path) as file:
        file.write(data)


def replace_file(part: Path, path: Path) -> None:
    """Replace ``path`` by a complete file on the same disk that was written under another name.

    Raises:
        TwelvefoldError: the folder is not writable; ``part`` then stays as it is.
    """
    with _report_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _flush(part)
        part.replace(path)
        _flush(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` in UTF-8, atomically; lone surrogates become backslash escapes."""
    write_bytes(path, text.encode(errors="backslashreplace"))


def write_json(path: Path, value: object) -> None:
    """Write ``value`` to ``path`` as indented JSON, atomically. NaN and infinity raise: JSON has neither."""
    write_text(path, json_text(value))


def json_text(value: object) -> str:
    """Return the text that :func:`write_json` writes. In names that are not UTF-8, bytes become backslash escapes."""
    return escape_in_json(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)) + "\n"


def read_json(path: Path) -> Any:
    """Read a JSON file that this package wrote.

    Raises:
        TwelvefoldError: the file does not exist or is not JSON.
    """
    return json_reader.read_json(path, remedy="it was truncated or written by another program: create it again")


def read_optional(path: Path, type_: type[T], *, problem: str) -> T | None:
    """Read a JSON file as ``type_``; return None if it does not exist. ``problem``: what an error says about it.

    Raises:
        TwelvefoldError: the file is broken.
    """
    if not path.exists():
        return None
    data = read_bytes(path)
    try:
        return decode_json(data, type_)
    except JsonError as error:
        raise TwelvefoldError(f"{path} {problem}: {describe_error(error, data)}") from error


def convert_json(path: Path, value: Any, type_: type[T], *, remedy: str) -> T:
    """Return the JSON value of a file as ``type_``. ``remedy``: what to do, the end of an error message.

    Raises:
        TwelvefoldError: the value does not have that type.
    """
    try:
        return msgspec.convert(value, type_)
    except (msgspec.ValidationError, RecursionError) as error:
        raise TwelvefoldError(f"{path} was changed after it was written: {error}; {remedy}") from error


def read_manifest(
    path: Path, format: str, version: int, *, remedy: str, older_versions: Collection[int] = ()
) -> dict[str, Any]:
    """Read a JSON manifest and check its ``format`` and ``version``.

    ``remedy``: how to create the file again, the end of an error message. ``older_versions``: accepted too; the caller
    translates them.

    Raises:
        TwelvefoldError: there is no such file, or it has another format or version.
    """
    manifest = read_json(path)
    if not isinstance(manifest, dict) or manifest.get("format") != format:
        raise TwelvefoldError(f"{path} is not a manifest of format {format!r}: {remedy}")
    if manifest.get("version") not in (version, *older_versions):
        raise TwelvefoldError(f"{path} has version {manifest.get('version')}, this program reads {version}: {remedy}")
    return manifest


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Create an empty folder to fill, which replaces ``path`` if the ``with`` block ends without an error.

    On Linux the new and an older folder change places in one step. Elsewhere the older one is first renamed and finally
    removed; :func:`recover_folder` restores it if the process was killed in between.

    Raises:
        TwelvefoldError: the disk is full, the folder is not writable, ``path`` is the current folder or one above it,
            ...; ``path`` is then unchanged.
    """
    path = Path(path)
    if path.name in ("", ".."):
        raise TwelvefoldError(
            f"{path.resolve()} is written as a whole, so it cannot be the current folder or one above it: call the "
            "command in the folder that contains it, and give its name"
        )
    temporary = _temporary_path(path)
    with _report_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        recover_folder(path)
        try:
            temporary.mkdir()
            yield temporary
            for file in sorted(temporary.rglob("*")):
                _flush(file)
            if not (path.exists() and _exchange(temporary, path)):
                if path.exists():
                    path.replace(_backup_path(path))
                temporary.replace(path)
            _flush(path.parent)
            shutil.rmtree(_backup_path(path), ignore_errors=True)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _exchange(first: Path, second: Path) -> bool:
    """Make two paths on one disk change places in one step; return False where the system cannot do that."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None) if sys.platform == "linux" else None
    if rename is None:
        return False
    succeeded: bool = rename(AT_FDCWD, os.fsencode(first), AT_FDCWD, os.fsencode(second), RENAME_EXCHANGE) == 0
    return succeeded


def recover_folder(path: Path) -> None:
    """Restore the folder that :func:`atomic_folder` had renamed when its process was killed, if there is one."""
    path = Path(path)
    if _backup_path(path).exists():
        if path.exists():
            shutil.rmtree(_backup_path(path))
        else:
            _backup_path(path).replace(path)


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files and folders of killed processes. Call it while holding :func:`lock_folder`."""
    for path in Path(folder).glob(".*.tmp"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


@contextmanager
def lock_folder(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold an exclusive lock on ``folder``, which is created if missing; it ends with the process in any case.

    Raises:
        TwelvefoldError: another process holds the lock, and ``wait`` is False.
    """
    folder = Path(folder)
    with _report_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            raise TwelvefoldError(
                f"{folder} is being written by another process; wait until it ends, or choose another folder"
            ) from error
        yield
    finally:
        os.close(handle)


def digest_file(path: Path, start: int = 0) -> str:
    """Return the xxh3_128 digest of a file's bytes from ``start`` on, 32 hexadecimal digits."""
    try:
        with Path(path).open("rb") as file:
            file.seek(start)
            return hashlib.file_digest(file, xxhash.xxh3_128).hexdigest()
    except OSError as error:
        raise TwelvefoldError(f"cannot read {path}: {error.strerror}") from error


def digest_bytes(data: bytes | memoryview) -> str:
    """Return the xxh3_128 digest of ``data``, 32 hexadecimal digits."""
    return xxhash.xxh3_128_hexdigest(data)


def digest_int(data: bytes) -> int:
    """Return the digest of :func:`digest_bytes` as an integer below 2 ** 128, for digests that are summed."""
    return xxhash.xxh3_128_intdigest(data)


def digest_value(value: object) -> str:
    """Return the xxh3_128 digest of a JSON value, which does not depend on the order of its keys."""
    return digest_bytes(
        json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False).encode(errors="surrogatepass")
    )


def _backup_path(path: Path) -> Path:
    return _hidden_path(path, "replaced")


def _temporary_path(path: Path) -> Path:
    return _hidden_path(path, f"{secrets.token_hex(4)}.tmp")


def _hidden_path(path: Path, ending: str) -> Path:
    """Return ``.NAME.ENDING`` next to ``path``; a long name is cut, as a name has at most 255 bytes.

    Raises:
        TwelvefoldError: ``path`` is the root of the file system, which has no name.
    """
    if path.name in ("", ".."):  # the current folder, or one above it: its name is in the whole path
        path = path.resolve()
    if not path.name:
        raise TwelvefoldError(f"{path} cannot be a result: it is the root of the file system; choose a folder in it")
    name = os.fsencode(path.name)
    if len(name) > MAX_NAME_BYTES:
        name = name[: MAX_NAME_BYTES - 16] + digest_bytes(name)[:16].encode()
    return path.with_name(f".{os.fsdecode(name)}.{ending}")


def _flush(path: Path) -> None:
    """Wait until a file or folder is on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _report_write_errors(path: Path) -> Iterator[None]:
    """Raise an error in the block as a ``TwelvefoldError`` if it comes from writing ``path``, not from files that the
    caller reads."""
    try:
        yield
    except OSError as error:
        name = error.filename
        if name is None or (isinstance(name, str) and Path(name).is_relative_to(path.parent)):
            raise _write_error(path, error) from error
        raise


def _write_error(path: Path, error: OSError) -> TwelvefoldError:
    advice = {
        errno.ENOSPC: "the disk is full: free some space or choose another folder",
        errno.EDQUOT: "your disk quota is used up: free some space or choose another folder",
        errno.EFBIG: "the file exceeds the size limit: raise it (ulimit -f) or choose another folder",
        errno.EACCES: "you have no permission to write there: choose another folder",
        errno.EROFS: "the disk is read-only: choose another folder",
    }.get(error.errno or 0, "check the disk and the path")
    reason = f"{error.strerror or error}" + (f" ({error.filename})" if error.filename else "")
    return TwelvefoldError(f"could not write {path}: {reason}; {advice}. No partial file was left behind")
