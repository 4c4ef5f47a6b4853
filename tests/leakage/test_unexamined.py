"""An audit never ends with code 0 if it could not examine something; 3 is no leak, 1 a leak."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from twelvefold import cli
from twelvefold.world.draw import draw_scene
from twelvefold.world.scene import make_scene

OWN = ("audit", "--own", "a:train=train", "--own", "b:test=test")


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a train folder and a test folder without a common image."""
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("train/a.jpg", "train/b.png", "test/c.jpg", "spare.png")):
        Path(name).parent.mkdir(exist_ok=True)
        draw_scene(make_scene(3, number)).save(name)


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as exit_:
        cli.main(arguments)
    return int(exit_.value.code or 0)


def test_content_decides_what_is_an_image(capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy("train/a.jpg", "test/saved.jfif")
    shutil.copy("train/b.png", "test/no_suffix")
    assert run(*OWN, "--json") == 1
    [finding] = json.loads(capsys.readouterr().out)["findings"]
    assert (finding["count"], finding["total"]) == (2, 3)


def test_files_beside_the_images_are_named_and_no_problem(capsys: pytest.CaptureFixture[str]) -> None:
    Path("test/c.txt").write_text("a caption")
    Path("test/.DS_Store").write_bytes(b"\0\0\0\1Bud1")
    assert run(*OWN) == 0
    output = capsys.readouterr().out
    assert "No leak found." in output
    assert "test/c.txt" in output
    assert "test/.DS_Store" in output
    assert run(*OWN, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["complete"]
    assert [each["file"] for each in report["skipped"]] == ["test/.DS_Store", "test/c.txt"]


def write_problem(kind: str) -> None:
    path = Path("test/x.jpg")
    if kind == "truncated":
        path.write_bytes(Path("train/a.jpg").read_bytes()[:2000])
    elif kind == "dangling":
        path.symlink_to("/gone/x.jpg")
    elif kind == "dangling folder":
        Path("test/more").symlink_to("/gone")
    elif kind == "jxl":
        Path("test/x.jxl").write_bytes(b"\0\0\0\x0cJXL \r\n\x87\n")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "empty":
        path.touch()
    elif kind == "archive":
        with zipfile.ZipFile("test/more.zip", "w") as archive:
            archive.write("train/a.jpg")


@pytest.mark.parametrize("kind", ["truncated", "dangling", "dangling folder", "jxl", "pipe", "empty", "archive"])
def test_what_could_not_be_examined_gives_code_3_and_with_a_leak_1(
    kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_problem(kind)
    assert run(*OWN, "--html", "page.html") == 3
    output = capsys.readouterr().out
    assert "No leak found in what could be examined" in output
    assert "Could not be read:" in output
    assert "not everything could be examined" in Path("page.html").read_text()
    shutil.copy("train/a.jpg", "test/leak.jpg")
    assert run(*OWN) == 1
    assert "not everything could" in capsys.readouterr().out


def test_images_without_detail_are_named_and_give_code_3_unless_that_is_accepted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A flat drawing may be a copy of another one in other bytes; only equal bytes and pixels would show it."""
    Image.new("RGB", (200, 150), "white").save("test/page.png")
    assert run(*OWN) == 3
    output = capsys.readouterr().out
    assert "No leak found in what could be examined" in output
    assert "Not compared by looks (1)" in output
    assert "page.png: has too little detail" in output
    assert "--allow-uncompared accepts this" in output
    assert run(*OWN, "--json", "--html", "page.html") == 3
    report = json.loads(capsys.readouterr().out)
    assert (report["complete"], list(report["uncompared"])) == (False, ["file/test/page.png"])
    assert "page.png: has too little detail" in Path("page.html").read_text()
    assert run(*OWN, "--allow-uncompared") == 0
    output = capsys.readouterr().out
    assert "No leak found." in output
    assert "page.png: has too little detail" in output
    assert run(*OWN, "--evidence", "ids", "bytes", "pixels") == 0  # nothing was to be compared by looks
    shutil.copy("test/page.png", "train/page.png")
    assert run(*OWN, "--allow-uncompared") == 1


def test_a_list_with_missing_files_gives_code_3(capsys: pytest.CaptureFixture[str]) -> None:
    Path("list.txt").write_text("test/c.jpg\ntest/gone.jpg\n")
    assert run("audit", "--own", "a:train=train", "--own", "b:test=list.txt") == 3
    assert "gone.jpg: no such file" in capsys.readouterr().out


def test_a_list_names_files_by_any_name(capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy("train/a.jpg", "plain")
    Path("list.txt").write_text("plain\ntest/c.jpg\n")
    assert run("audit", "--own", "a:train=train", "--own", "b:test=list.txt") == 1
    assert "1 of 2 test images of b" in capsys.readouterr().out


def test_some_missing_images_of_a_source_give_code_3(capsys: pytest.CaptureFixture[str]) -> None:
    captions = [
        {"split": split, "filename": f"{n}.jpg", "cocoid": n, "sentences": [{"raw": "A boat.", "sentid": n}]}
        for n, split in enumerate(("train", "val", "test"))
    ]
    Path("data/coco").mkdir(parents=True)
    Path("data/coco/dataset_coco.json").write_text(json.dumps({"images": captions}))
    images = Path("data/images/coco")
    images.mkdir(parents=True)
    for number, source in enumerate(("train/a.jpg", "train/b.png", "spare.png")):
        shutil.copy(source, images / f"COCO_val2014_{number:012}.jpg")
    assert run("audit", "data") == 0
    (images / "COCO_val2014_000000000002.jpg").unlink()
    assert run("audit", "data") == 3
    assert "1 images of coco are not in data/images" in capsys.readouterr().out
    assert run("audit", "data", "--evidence", "ids") == 0  # no image was to be examined
