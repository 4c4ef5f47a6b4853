"""An index follows its folder: new and changed images are read, unreadable ones listed, and missing ones removed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import twelvefold
from twelvefold.cli import main
from twelvefold.serving import search_index
from twelvefold.serving.load import PretrainedPredictor
from twelvefold.serving.samples import find_sample
from twelvefold.serving.search_index import SearchIndex

ROOM, BEACH, SNOW = (find_sample(name).path for name in ("room", "beach", "snow"))


@pytest.fixture(scope="module")
def model() -> PretrainedPredictor:
    return twelvefold.load()


@pytest.fixture
def pics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = Path("pics")
    folder.mkdir()
    shutil.copy(ROOM, folder / "a.jpg")
    shutil.copy(BEACH, folder / "b.jpg")
    return folder


def files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def test_a_changed_image_is_read_again_even_with_the_same_size_and_time(model: PretrainedPredictor, pics: Path) -> None:
    index = SearchIndex(model)
    assert index.update(files(pics), folders=[pics]).added == 2
    status = (pics / "a.jpg").stat()
    size = max(status.st_size, SNOW.stat().st_size)
    for source in (ROOM, SNOW):
        (pics / "a.jpg").write_bytes(source.read_bytes().ljust(size, b"\0"))
        os.utime(pics / "a.jpg", ns=(status.st_atime_ns, status.st_mtime_ns))
        changes = index.update(files(pics), folders=[pics])
        assert (changes.added, changes.removed, changes.unreadable) == (0, [], {})
    assert changes.changed == 1
    expected = model.index([pics / "a.jpg", pics / "b.jpg"]).search("a boot", 2)
    assert index.search("a boot", 2) == expected
    assert index.update(files(pics), folders=[pics]).changed == 0


def test_streams_of_a_changed_image_are_computed_again(
    model: PretrainedPredictor, pics: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_index, "BLOCK_IMAGES", 1)
    index = SearchIndex(model, files(pics))
    index.search("a boot", 2)
    shutil.copy(SNOW, pics / "a.jpg")
    assert index.update(files(pics)).changed == 1
    assert index.search("a boot", 2) == model.index(files(pics)).search("a boot", 2)


def test_missing_and_unreadable_images_leave_the_index(model: PretrainedPredictor, pics: Path) -> None:
    index = SearchIndex(model, files(pics))
    shutil.copy(SNOW, pics / "c.jpg")
    (pics / "a.jpg").write_bytes(ROOM.read_bytes()[:3000])
    (pics / "b.jpg").unlink()
    changes = index.update(files(pics), folders=[pics])
    assert (changes.added, changes.num_images, changes.removed) == (1, 1, ["pics/b.jpg"])
    assert "truncated" in changes.unreadable["pics/a.jpg"]
    assert index.names == ["pics/c.jpg"]
    other = SearchIndex(model, [pics / "c.jpg"])
    assert other.update([ROOM]).removed == []  # only folders that were named can miss an image


def test_an_index_of_version_0_1_learns_digests_without_detecting_again(model: PretrainedPredictor, pics: Path) -> None:
    SearchIndex(model, files(pics)).save("x")
    manifest = json.loads(Path("x/index.json").read_text())
    del manifest["digests"]
    Path("x/index.json").write_text(json.dumps(manifest))
    index = SearchIndex.load("x", model)
    changes = index.update(files(pics), folders=[pics])
    assert (changes.added, changes.changed, changes.num_images) == (0, 0, 2)
    index.save("x")
    assert set(json.loads(Path("x/index.json").read_text())["digests"]) == {"pics/a.jpg", "pics/b.jpg"}


def test_a_long_update_saves_what_it_has(
    model: PretrainedPredictor, pics: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_index, "OPEN_IMAGES", 1)
    monkeypatch.setattr(search_index, "SAVE_SECONDS", -1.0)
    index, sizes = SearchIndex(model), list[int]()

    def save() -> None:
        sizes.append(len(index))

    index.update(files(pics), save=save)
    assert sizes == [1, 2]


def test_an_interrupted_update_saves_what_it_has(
    model: PretrainedPredictor, pics: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_index, "OPEN_IMAGES", 1)
    index, calls = SearchIndex(model), list[int]()
    detect = index._detect_files

    def interrupted(*arguments: Any) -> Any:
        calls.append(len(index))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return detect(*arguments)

    monkeypatch.setattr(index, "_detect_files", interrupted)
    with pytest.raises(KeyboardInterrupt):
        index.update(files(pics), save=lambda: index.save("x"))
    assert SearchIndex.load("x", model).names == ["pics/a.jpg"]


def test_an_index_that_was_being_replaced_is_recovered(model: PretrainedPredictor, pics: Path) -> None:
    SearchIndex(model, files(pics)).save("x")
    Path("x").rename(".x.replaced")  # as after a kill, on systems that cannot swap folders
    assert SearchIndex.load("x", model).names == ["pics/a.jpg", "pics/b.jpg"]


KILLED = """
import os, sys, threading, time
from pathlib import Path
import twelvefold
from twelvefold.serving.search_index import SearchIndex
index = SearchIndex(twelvefold.load(), sorted(Path("pics").iterdir()))
index.save("x")
print("saved", flush=True)
while True:
    index.save("x")
"""


@pytest.mark.slow
def test_an_index_is_complete_whenever_the_program_is_killed(model: PretrainedPredictor, pics: Path) -> None:
    for delay in (0.0, 0.003, 0.007, 0.011):
        program = subprocess.Popen([sys.executable, "-c", KILLED], stdout=subprocess.PIPE, text=True)
        assert program.stdout is not None
        assert program.stdout.readline() == "saved\n"
        time.sleep(delay)
        program.kill()
        program.wait()
        assert SearchIndex.load("x", model).names == ["pics/a.jpg", "pics/b.jpg"]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    return int(exit_.value.code or 0), capsys.readouterr().out


def test_the_command_keeps_good_images_and_lists_bad_ones(
    model: PretrainedPredictor, pics: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(twelvefold, "load", lambda *_, **__: model)
    (pics / "torn.jpg").write_bytes(ROOM.read_bytes()[:3000])
    (pics / "gone.jpg").symlink_to("/gone/x.jpg")
    (pics / "note.txt").write_text("a note")
    code, out = run(capsys, "index", "add", "x", "pics", "--json")
    result = json.loads(out)
    assert (code, result["added"], result["pictures"]) == (1, 2, 2)
    assert set(result["unreadable"]) == {"pics/torn.jpg", "pics/gone.jpg"}
    assert [each["file"] for each in result["skipped"]] == ["pics/note.txt"]
    code, out = run(capsys, "find", "a boot", "pics", "--json")
    assert (code, len(json.loads(out)["ranked"])) == (1, 2)
    assert set(json.loads(out)["unreadable"]) == {"pics/torn.jpg", "pics/gone.jpg"}
    for name in ("torn.jpg", "gone.jpg"):
        (pics / name).unlink()
    assert run(capsys, "index", "add", "x", "pics") == (0, f"x: 2 images, 0 new\n{SKIPPED_NOTE}\n")
    code, out = run(capsys, "ask", "pics", "What?")
    assert [next(iter(json.loads(line))) for line in out.splitlines()] == ["file", "file", "skipped"]
    assert code == 0


SKIPPED_NOTE = "skipped 1 (not an image, but text): pics/note.txt"
