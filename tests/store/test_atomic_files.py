"""Writing is atomic: after any failure a reader sees the old or the new content."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

from twelvefold.schema import TwelvefoldError
from twelvefold.store import atomic_files


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def fail_after_writing(file: IO[bytes]) -> None:
    file.write(b"new")
    raise ZeroDivisionError


def fill(path: Path, text: str, *, then_fail: bool = False) -> None:
    with atomic_files.atomic_folder(path) as folder:
        assert not any(folder.iterdir())
        atomic_files.write_text(folder / "n", text)
        if then_fail:
            raise ZeroDivisionError


def test_a_write_replaces_the_file_and_creates_folders(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.json"
    atomic_files.write_json(path, {"one": 1})
    atomic_files.write_json(path, {"two": [1.5, "é"]})
    assert atomic_files.read_json(path) == {"two": [1.5, "é"]}
    assert names(path.parent) == {"b.json"}


def test_an_error_in_the_block_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    atomic_files.write_bytes(path, b"old")
    with pytest.raises(ZeroDivisionError), atomic_files.atomic_file(path) as file:
        fail_after_writing(file)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == {"x.bin"}


def test_a_full_disk_is_reported_and_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.bin"
    atomic_files.write_bytes(path, b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TwelvefoldError, match="disk is full"):
        atomic_files.write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == {"x.bin"}


def test_a_file_size_limit_is_reported(tmp_path: Path) -> None:
    # A child with a small file limit: the kernel rejects the write, as a full disk does.
    program = f"""
import resource, signal
from pathlib import Path
from twelvefold.store import atomic_files
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
with atomic_files.atomic_folder(Path({str(tmp_path / "f")!r})) as folder:
    atomic_files.write_bytes(folder / "big", b"x" * 100_000)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "could not write" in done.stderr
    assert "exceeds the size limit" in done.stderr
    assert names(tmp_path) == set()


def test_a_read_error_of_the_caller_is_raised_unchanged(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_files.atomic_file(tmp_path / "out" / "x"):
        (tmp_path / "missing").read_bytes()


def test_a_folder_is_replaced_completely_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "run"
    fill(path, "1")
    fill(path, "2")
    with pytest.raises(ZeroDivisionError):
        fill(path, "3", then_fail=True)
    assert (path / "n").read_text() == "2"
    assert names(tmp_path) == {"run"}


@pytest.mark.parametrize("step", [1, 2])
def test_a_kill_while_a_folder_is_replaced_keeps_the_old_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    path = tmp_path / "run"
    fill(path, "old")
    replace, calls = Path.replace, 0

    def killed(self: Path, target: Path) -> Path:
        nonlocal calls
        if self.is_dir():
            calls += 1
            if calls == step:
                raise KeyboardInterrupt
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        patch.setattr(atomic_files, "_exchange", lambda first, second: False)  # as on other systems than Linux
        with pytest.raises(KeyboardInterrupt):
            fill(path, "new")
    atomic_files.recover_folder(path)
    assert (path / "n").read_text() == "old"
    assert names(tmp_path) == {"run"}


@pytest.mark.skipif(sys.platform != "linux", reason="other systems rename twice")
def test_a_folder_is_there_at_every_step_of_being_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run"
    fill(path, "old")
    replace = Path.replace

    def replace_file(self: Path, target: Path) -> Path:
        assert not self.is_dir()  # it would leave a moment without the folder
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", replace_file)
    fill(path, "new")
    assert (path / "n").read_text() == "new"
    assert names(tmp_path) == {"run"}


def test_leftovers_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    atomic_files.write_text(tmp_path / "kept", "")
    (tmp_path / ".kept.0011.tmp").write_text("half")
    (tmp_path / ".run.0022.tmp").mkdir()
    atomic_files.remove_leftovers(tmp_path)
    assert names(tmp_path) == {"kept"}


def test_a_folder_lock_is_exclusive_and_released(tmp_path: Path) -> None:
    with (
        atomic_files.lock_folder(tmp_path),
        pytest.raises(TwelvefoldError, match="another process"),
        atomic_files.lock_folder(tmp_path),
    ):
        pass
    with atomic_files.lock_folder(tmp_path):
        pass


def test_digests_differ_by_content_and_ignore_key_order(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"a" * 3_000_000)
    digest = atomic_files.digest_file(path)
    assert digest == atomic_files.digest_bytes(b"a" * 3_000_000)
    path.write_bytes(b"a" * 2_999_999 + b"b")
    assert atomic_files.digest_file(path) != digest
    assert atomic_files.digest_value({"a": 1, "b": 2}) == atomic_files.digest_value({"b": 2, "a": 1})
    assert atomic_files.digest_value({"a": 1}) != atomic_files.digest_value({"a": 2})


def test_missing_or_truncated_json_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TwelvefoldError, match=r"gone\.json"):
        atomic_files.read_json(tmp_path / "gone.json")
    (tmp_path / "half.json").write_text('{"a": ')
    with pytest.raises(TwelvefoldError, match=r"half\.json is not JSON"):
        atomic_files.read_json(tmp_path / "half.json")
    with pytest.raises(ValueError):
        atomic_files.write_json(tmp_path / "nan.json", float("nan"))


def test_the_current_folder_is_read_but_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in (Path(), Path(".."), Path("/")):
        if folder.resolve().name:
            atomic_files.recover_folder(folder)
        with pytest.raises(TwelvefoldError, match="in the folder that contains it"), atomic_files.atomic_folder(folder):
            pass
