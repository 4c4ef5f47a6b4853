"""The only place of the project that writes to disk: atomic, flushed, checksummed, with locks.

A reader sees the old file or the new one, never a part. A temporary name is hidden, lies beside its target and
ends in ``.tmp``; a process that is killed may leave one behind, which :func:`remove_leftovers` clears away.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import xxhash

from twelvefold.schema import TwelvefoldError

CHUNK = 1 << 20


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """A binary file open for writing, which takes the place of ``path`` when the block ends without an error.

    Raises:
        TwelvefoldError: the disk is full, the folder can't be written, ...; ``path`` is then as it was before.
    """
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        yield file


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """An empty file for a library to write, which takes the place of ``path`` when the block ends without an error.

    Who may read it is what the process says of new files, whatever the library thinks.

    Raises:
        TwelvefoldError: the disk is full, the folder can't be written, ...; ``path`` is then as it was before.
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _beside(path)
        temporary.touch(exist_ok=False)
        mode = temporary.stat().st_mode
        yield temporary
        temporary.chmod(mode)
        _flush(temporary)
        temporary.replace(path)
        _flush(path.parent)
    except OSError as error:
        if _is_ours(error, path):
            raise _unwritable(path, error) from error
        raise
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Put ``data`` at ``path``, atomically."""
    with atomic_file(path) as file:
        file.write(data)


def put_in_place(part: Path, path: Path) -> None:
    """Have a whole file on the same disk, written piece by piece under another name, take the place of ``path``.

    Raises:
        TwelvefoldError: the folder can't be written; ``part`` then stays where it is.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _flush(part)
        part.replace(path)
        _flush(path.parent)
    except OSError as error:
        raise _unwritable(path, error) from error


def write_text(path: Path, text: str) -> None:
    """Put ``text`` at ``path`` in UTF-8, atomically."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: object) -> None:
    """Put ``value`` at ``path`` as indented JSON, atomically. NaN and infinity are refused: JSON has neither."""
    write_text(path, json_text(value))


def json_text(value: object) -> str:
    """What :func:`write_json` writes."""
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def read_json(path: Path) -> Any:
    """The value of a JSON file.

    Raises:
        TwelvefoldError: there is no such file, or it isn't JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise TwelvefoldError(f"can't read {path}: {error.strerror}") from error
    except ValueError as error:
        raise TwelvefoldError(f"{path} is not JSON: {error}; it was cut short or is not ours: make it anew") from error


def read_manifest(path: Path, format: str, version: int, *, again: str, older: Collection[int] = ()) -> dict[str, Any]:
    """The JSON object of a manifest of ours, which states its ``format`` and ``version``.

    ``again``: how to make it anew, the end of an error. ``older``: earlier versions that the caller translates.

    Raises:
        TwelvefoldError: there is none, it is another kind of file, or of another version.
    """
    raw = read_json(path)
    if not isinstance(raw, dict) or raw.get("format") != format:
        raise TwelvefoldError(f"{path} is no manifest of the kind {format!r}: {again}")
    if raw.get("version") not in (version, *older):
        raise TwelvefoldError(f"{path} is of version {raw.get('version')}, this program reads {version}: {again}")
    return raw


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """An empty folder to fill, which takes the place of ``path`` when the block ends without an error.

    An older folder at ``path`` is moved aside first and removed last; :func:`recover_folder` brings it back if
    the process was killed in the moment between.

    Raises:
        TwelvefoldError: the disk is full, the folder can't be written, ...; ``path`` is then as it was before.
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        recover_folder(path)
        temporary = _beside(path)
        temporary.mkdir()
        yield temporary
        for file in sorted(temporary.rglob("*")):
            _flush(file)
        if path.exists():
            path.replace(_aside(path))
        temporary.replace(path)
        _flush(path.parent)
        shutil.rmtree(_aside(path), ignore_errors=True)
    except OSError as error:
        if _is_ours(error, path):
            raise _unwritable(path, error) from error
        raise
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def recover_folder(path: Path) -> None:
    """Bring back the folder that :func:`atomic_folder` had moved aside when its process was killed; else nothing."""
    path = Path(path)
    if _aside(path).exists():
        if path.exists():
            shutil.rmtree(_aside(path))
        else:
            _aside(path).replace(path)


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files and folders of killed processes; call it while holding :func:`lock_folder`."""
    for path in Path(folder).glob(".*.tmp"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


@contextmanager
def lock_folder(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold ``folder`` (made where missing) alone; the lock goes with the process, however that ends.

    Raises:
        TwelvefoldError: another process holds it, and ``wait`` is off.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise _unwritable(folder, error) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            raise TwelvefoldError(
                f"{folder} is being written by another process; wait for its end, or choose another folder"
            ) from error
        yield
    finally:
        os.close(handle)


def digest_file(path: Path) -> str:
    """The xxh3_128 digest of a file's bytes, 32 hexadecimal digits."""
    state = xxhash.xxh3_128()
    try:
        with Path(path).open("rb") as file:
            while chunk := file.read(CHUNK):
                state.update(chunk)
    except OSError as error:
        raise TwelvefoldError(f"can't read {path}: {error.strerror}") from error
    return state.hexdigest()


def digest_bytes(data: bytes | memoryview) -> str:
    """The xxh3_128 digest of ``data``, 32 hexadecimal digits."""
    return xxhash.xxh3_128_hexdigest(data)


def digest_number(data: bytes) -> int:
    """:func:`digest_bytes` as the number that it writes down, below 2 ** 128: for digests that are added up."""
    return xxhash.xxh3_128_intdigest(data)


def digest_value(value: object) -> str:
    """The xxh3_128 digest of a JSON value, the same whatever the order of its keys."""
    return digest_bytes(json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False).encode())


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.replaced")


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


def _flush(path: Path) -> None:
    """Have the disk hold a file or a folder before going on."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _is_ours(error: OSError, path: Path) -> bool:
    """Whether an error inside a ``with`` block comes from our writing, and not from what the caller reads."""
    name = error.filename
    return name is None or (isinstance(name, str) and Path(name).is_relative_to(path.parent))


def _unwritable(path: Path, error: OSError) -> TwelvefoldError:
    advice = {
        errno.ENOSPC: "the disk is full: free some space or choose another folder",
        errno.EDQUOT: "your share of the disk is used up: free some space or choose another folder",
        errno.EFBIG: "the file is larger than allowed here: raise the limit (ulimit -f) or choose another folder",
        errno.EACCES: "you may not write there: choose another folder",
        errno.EROFS: "that disk can't be written: choose another folder",
    }.get(error.errno or 0, "check the disk and the path")
    reason = f"{error.strerror or error}" + (f" ({error.filename})" if error.filename else "")
    return TwelvefoldError(f"could not write {path}: {reason}; {advice}. Nothing half-written was left behind")
