"""A fingerprint depends on the pixels and not on the file format; a kill or a second call costs little."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from twelvefold.duplicates import hashes
from twelvefold.duplicates.hashes import ImageFingerprint, fingerprint_files, fingerprint_image
from twelvefold.images import RGB, open_image
from twelvefold.schema import ImageKey, TwelvefoldError

Images = dict[ImageKey, Path]


def key(name: str) -> ImageKey:
    return ImageKey("pets", name)


def photo(seed: int = 0, width: int = 40, height: int = 30) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 255, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def fingerprint_of(image: Image.Image, image_format: str = "PNG", **options: object) -> ImageFingerprint:
    out = io.BytesIO()
    image.save(out, image_format, **options)
    return fingerprint_image(open_image(out.getvalue()))


def write_images(folder: Path, count: int) -> Images:
    folder.mkdir(exist_ok=True)
    for number in range(count):
        photo(number).save(folder / f"{number}.png")
    return {key(str(number)): folder / f"{number}.png" for number in range(count)}


def test_the_same_pixels_in_another_format_have_the_same_digest() -> None:
    image = photo()
    rotated = Image.Exif()
    rotated[0x0112] = 6  # displayed rotated by 90 degrees
    copies = [
        fingerprint_of(image, compress_level=0),
        fingerprint_of(image, "BMP"),
        fingerprint_of(image.convert("RGBA")),
        fingerprint_of(image.transpose(Image.Transpose.ROTATE_90), exif=rotated),
    ]
    assert {each.pixels_digest for each in copies} == {fingerprint_of(image).pixels_digest}
    gray = image.convert("L")
    assert fingerprint_of(gray).pixels_digest == fingerprint_of(gray.convert("RGB")).pixels_digest
    assert fingerprint_of(gray).pixels_digest != fingerprint_of(image).pixels_digest


def test_the_same_pixels_in_another_shape_have_another_digest() -> None:
    row = Image.new("RGB", (4, 1), (9, 9, 9))
    assert fingerprint_of(row).pixels_digest != fingerprint_of(row.resize((2, 2))).pixels_digest


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK", "I;16", "F"])
def test_images_of_every_mode_and_size_have_a_fingerprint(mode: str) -> None:
    image_format = "TIFF" if mode in ("CMYK", "F") else "PNG"
    for size in ((1, 1), (1, 50), (33, 2)):
        image = Image.new("L", size, 255).convert(mode) if mode != "I;16" else Image.new(mode, size, 7777)
        fingerprint = fingerprint_of(image, image_format)
        assert (fingerprint.width, fingerprint.height) == size
        assert fingerprint.detail == 0


def test_a_degraded_copy_has_close_hashes_and_another_image_does_not() -> None:
    original = photo(1, 200, 150)
    copy = fingerprint_of(original.resize((150, 112)).point(lambda level: level * 1.05), "JPEG", quality=50)
    other = fingerprint_of(photo(2, 200, 150))
    for name in ("phash", "dhash"):
        bits = [getattr(each.hashes[0], name) for each in (fingerprint_of(original), copy, other)]
        assert (bits[0] ^ bits[1]).bit_count() <= 4
        assert (bits[0] ^ bits[2]).bit_count() > 12


def test_unreadable_files_are_reported_with_the_reason(tmp_path: Path) -> None:
    images = write_images(tmp_path, 2)
    (tmp_path / "0.png").write_bytes(b"<html>not found</html>")
    data = (tmp_path / "1.png").read_bytes()
    (tmp_path / "1.png").write_bytes(data[: len(data) // 2])
    (tmp_path / "empty.png").touch()
    images |= {key("empty"): tmp_path / "empty.png", key("gone"): tmp_path / "gone.png"}
    fingerprints = fingerprint_files(images, tmp_path / "cache")
    problems = {str(name): fingerprint.problem for name, fingerprint in fingerprints.items()}
    assert problems["pets/0"].startswith("is a web page")
    assert "truncated" in problems["pets/1"]
    assert "not an image" in problems["pets/empty"]
    assert "No such file" in problems["pets/gone"]
    (tmp_path / "1.png").write_bytes(data)  # the repaired file is read again
    assert fingerprint_files(images, tmp_path / "cache")[key("1")].problem == ""


def test_a_second_call_opens_only_what_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, cache_dir = write_images(tmp_path / "images", 6), tmp_path / "cache"
    before = fingerprint_files(images, cache_dir)
    opened: list[str] = []

    def recording(path: Path) -> RGB:
        opened.append(path.stem)
        return open_image(path)

    monkeypatch.setattr(hashes, "open_image", recording)
    assert fingerprint_files(dict(reversed(images.items())), cache_dir) == before
    assert opened == []
    assert len(fingerprint_files({key("new"): images[key("0")]}, cache_dir)) == 1  # images of other calls stay cached
    assert fingerprint_files(images, cache_dir) == before
    assert opened == ["0"]
    opened.clear()
    photo(99).save(images[key("3")])
    os.utime(images[key("4")], (1, 1))
    after = fingerprint_files(images, cache_dir)
    assert sorted(opened) == ["3", "4"]
    assert after[key("3")].pixels_digest != before[key("3")].pixels_digest
    assert after[key("4")].pixels_digest == before[key("4")].pixels_digest


def test_a_kill_loses_at_most_a_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, cache_dir = write_images(tmp_path / "images", 10), tmp_path / "cache"
    monkeypatch.setattr(hashes, "BLOCK_SIZE", 3)
    fingerprint_block, calls = hashes._fingerprint_block, list[int]()

    def kill_in_third_block(block: Sequence[tuple[ImageFingerprint, Path]]) -> list[ImageFingerprint]:
        calls.append(len(block))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return fingerprint_block(block)

    monkeypatch.setattr(hashes, "_fingerprint_block", kill_in_third_block)
    with pytest.raises(KeyboardInterrupt):
        fingerprint_files(images, cache_dir)
    resumed = fingerprint_files(images, cache_dir)
    assert calls == [3, 3, 3, 3, 1]  # the second call repeats the third block only
    assert resumed == fingerprint_files(images, tmp_path / "elsewhere")
    assert sorted(path.name for path in cache_dir.glob("*.msgpack")) == ["all.msgpack"]


def test_the_number_of_processes_does_not_change_the_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = write_images(tmp_path / "images", 5)
    monkeypatch.setattr(hashes, "BLOCK_SIZE", 2)
    assert fingerprint_files(images, tmp_path / "second", processes=2) == fingerprint_files(images, tmp_path / "first")


def test_a_damaged_cache_file_is_named(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", 1)
    fingerprint_files(images, tmp_path / "cache")
    (tmp_path / "cache" / "all.msgpack").write_bytes(b"\x93\x00")
    with pytest.raises(TwelvefoldError, match=r"all\.msgpack is damaged.*remove it"):
        fingerprint_files(images, tmp_path / "cache")


def test_another_image_of_the_same_size_and_date_is_noticed(tmp_path: Path) -> None:
    images, cache_dir = write_images(tmp_path / "images", 2), tmp_path / "cache"
    contents = [path.read_bytes() for path in images.values()]
    size = max(map(len, contents))
    path, status = images[key("0")], images[key("0")].stat()
    digests = []
    for content in contents:
        path.write_bytes(content.ljust(size, b"\0"))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        digests.append(fingerprint_files(images, cache_dir)[key("0")].pixels_digest)
    assert digests[0] != digests[1]
