"""A walk through a folder decides by content what is an image, follows links once, never blocks, and names the rest."""

from __future__ import annotations

import io
import os
import shutil
import socket
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pillow_heif
import pytest
from PIL import Image, features

from twelvefold.image_folder import scan_image_folder, skipped_lines
from twelvefold.image_formats import identify, unsupported
from twelvefold.images import load_image

FORMATS = {
    "JPEG": "JPEG",
    "PNG": "PNG",
    "GIF": "GIF",
    "WEBP": "WEBP",
    "BMP": "BMP",
    "TIFF": "TIFF",
    "AVIF": "AVIF",
    "JPEG2000": "JPEG 2000",
    "PPM": "PNM",
    "ICO": "ICO",
}


def encode(file_format: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (32, 24), (200, 30, 40)).save(out, file_format)
    return out.getvalue()


@pytest.mark.parametrize("file_format", FORMATS)
def test_the_first_bytes_tell_the_format_whatever_the_name(tmp_path: Path, file_format: str) -> None:
    data = encode(file_format)
    image_format = identify(data[:512])
    assert image_format is not None
    assert image_format.name == FORMATS[file_format]
    for name in ("no_suffix", "wrong.txt", "wrong.jpg"):
        (tmp_path / name).write_bytes(data)
    content = scan_image_folder(tmp_path)
    assert [path.name for path in content.images] == ["no_suffix", "wrong.jpg", "wrong.txt"]
    assert (content.unreadable, content.skipped) == ({}, [])


@pytest.mark.parametrize(
    "text",
    ["BMW is a car", "P1 of the plan", "P5", "RIFF is a chunk format", "II*", "<?xml version='1.0'?><a/>", "8BPS"],
)
def test_a_text_that_begins_like_an_image_is_none(text: str) -> None:
    assert identify(text.encode()) is None


def test_a_format_without_a_signature_is_tried_if_its_name_is_that_of_an_image(tmp_path: Path) -> None:
    (tmp_path / "a.tga").write_bytes(encode("TGA"))
    assert [path.name for path in scan_image_folder(tmp_path).images] == ["a.tga"]


def test_what_is_not_read_is_named_with_the_reason_and_what_to_do(tmp_path: Path) -> None:
    for name, data in {
        "new.jxl": b"\x00\x00\x00\x0cJXL \r\n\x87\n",
        "drawing.svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "page.jpg": b"<!doctype html><html>",
        "lfs.png": b"version https://git-lfs.github.com/spec/v1\n",
        "empty.jpg": b"",
        "text.jpg": b"/gone/x.jpg",
    }.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "gone.jpg").symlink_to("/gone/x.jpg")
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    content = scan_image_folder(tmp_path)
    reasons = {path.name: reason for path, reason in content.unreadable.items()}
    assert content.images == []
    expected = {
        "new.jxl": "JPEG XL",
        "drawing.svg": "SVG",
        "page.jpg": "web page",
        "lfs.png": "Git LFS",
        "empty.jpg": "empty",
        "text.jpg": "text",
        "gone.jpg": "/gone/x.jpg",
        "loop.jpg": "symbolic links",
    }
    assert set(reasons) == set(expected)
    for name, word in expected.items():
        assert word in reasons[name]
    assert content.skipped == []


def test_heic_is_read_with_its_package_and_refused_by_name_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pillow_heif.register_heif_opener()
    Image.new("RGB", (64, 48), (200, 30, 40)).save(tmp_path / "phone.heic", "HEIF")
    shutil.copy(tmp_path / "phone.heic", tmp_path / "renamed.jpg")
    unsupported.cache_clear()
    assert [path.name for path in scan_image_folder(tmp_path).images] == ["phone.heic", "renamed.jpg"]
    assert (load_image(tmp_path / "renamed.jpg").width, load_image(tmp_path / "phone.heic").height) == (64, 48)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    unsupported.cache_clear()
    reasons = scan_image_folder(tmp_path).unreadable
    assert [path.name for path in reasons] == ["phone.heic", "renamed.jpg"]
    assert all("twelvefold[heic]" in reason for reason in reasons.values())
    unsupported.cache_clear()


@pytest.mark.skipif(not features.check("avif"), reason="this build of Pillow reads no AVIF")
def test_an_avif_file_whose_major_brand_is_mif1_is_avif() -> None:
    data = encode("AVIF")
    renamed = data[:8] + b"mif1" + data[12:16] + b"avif" + data[20:]
    assert identify(renamed) == identify(data)


def test_other_files_are_counted_and_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encode("JPEG"))
    (tmp_path / "a.txt").write_text("a caption")
    (tmp_path / "labels.json").write_text("{}")
    (tmp_path / ".DS_Store").write_bytes(b"\x00\x00\x00\x01Bud1")
    (tmp_path / "._a.jpg").write_bytes(b"\x00\x05\x16\x07")
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "b.jpg").write_bytes(encode("JPEG"))
    (tmp_path / "x.jpg").mkdir()
    (tmp_path / "x.jpg" / "inside").write_bytes(encode("PNG"))
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as archive:
        archive.writestr("c.jpg", encode("JPEG"))
    content = scan_image_folder(tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in content.images] == ["a.jpg", "x.jpg/inside"]
    assert content.unreadable == {}
    kinds = {each.file: each.kind for each in content.skipped}
    assert kinds == {
        ".DS_Store": "hidden",
        "._a.jpg": "hidden",
        ".cache": "hidden",
        "a.txt": "other",
        "labels.json": "other",
        "more.zip": "archive",
    }
    assert "skipped 2 (not an image, but text): a.txt, labels.json" in skipped_lines(content.skipped)
    assert "skipped 2 (hidden): .DS_Store and 1 more" in skipped_lines(content.skipped[:2], limit=1)


def test_links_to_folders_are_followed_once_and_loops_end(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "folder"
    (folder / "real").mkdir(parents=True)
    outside.mkdir()
    (outside / "a.png").write_bytes(encode("PNG"))
    (folder / "real" / "b.png").write_bytes(encode("PNG"))
    (folder / "linked").symlink_to(outside)
    (folder / "again").symlink_to(folder / "real")
    (folder / "real" / "up").symlink_to(folder)
    (outside / "back").symlink_to(folder)
    (folder / "gone").symlink_to(tmp_path / "nowhere")
    content = scan_image_folder(folder)
    assert [path.relative_to(folder).as_posix() for path in content.images] == ["linked/a.png", "real/b.png"]
    assert {each.file for each in content.skipped if each.kind == "other"} == {"again", "real/up", "linked/back"}
    assert list(content.problems) == ["gone"]


def test_pipes_and_sockets_are_named_and_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.chdir(tmp_path)  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.png")
        content = scan_image_folder(tmp_path)
    assert {path.name for path in content.unreadable} == {"pipe.jpg", "socket.png"}
    assert list(content.problems) == ["pipe"]


@contextmanager
def without_privileges() -> Iterator[None]:
    """Run as an unprivileged user: permissions do not stop root."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_what_may_not_be_read_is_named(tmp_path: Path) -> None:
    folder = Path(os.path.realpath(tmp_path)) / "f"
    (folder / "closed").mkdir(parents=True)
    (folder / "closed" / "a.jpg").write_bytes(encode("JPEG"))
    (folder / "secret.jpg").write_bytes(encode("JPEG"))
    opened = [parent for parent in folder.parents if parent.is_relative_to("/tmp") and not parent.stat().st_mode & 1]
    modes = {parent: parent.stat().st_mode for parent in opened}
    try:
        for parent in opened:
            parent.chmod(0o755)
        (folder / "secret.jpg").chmod(0)
        (folder / "closed").chmod(0)
        with without_privileges():
            content = scan_image_folder(folder)
    finally:
        (folder / "closed").chmod(0o755)
        for parent, mode in modes.items():
            parent.chmod(mode)
    assert {path.name: "Permission denied" in reason for path, reason in content.unreadable.items()} == {
        "secret.jpg": True
    }
    assert "Permission denied" in content.problems["closed"]


def test_names_of_any_bytes_are_printable(tmp_path: Path) -> None:
    for name in (b"caf\xe9.txt", b"new\nline.txt", "café.txt".encode()):
        (tmp_path / os.fsdecode(name)).write_text("x")
    files = [each.file for each in scan_image_folder(tmp_path).skipped]
    assert files == ["caf\\xe9.txt", "café.txt", "new\\nline.txt"]
