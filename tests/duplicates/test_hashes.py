"""What a picture shows is known by its pixels, whatever file they come in; a kill or a second call costs little."""

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

Pictures = dict[ImageKey, Path]


def key(name: str) -> ImageKey:
    return ImageKey("pets", name)


def photo(seed: int = 0, width: int = 40, height: int = 30) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 255, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def of(image: Image.Image, form: str = "PNG", **options: object) -> ImageFingerprint:
    out = io.BytesIO()
    image.save(out, form, **options)
    return fingerprint_image(open_image(out.getvalue()))


def some(folder: Path, count: int) -> Pictures:
    folder.mkdir(exist_ok=True)
    for number in range(count):
        photo(number).save(folder / f"{number}.png")
    return {key(str(number)): folder / f"{number}.png" for number in range(count)}


def test_the_same_pixels_in_another_wrapping_are_the_same() -> None:
    image = photo()
    turned = Image.Exif()
    turned[0x0112] = 6  # to be shown turned by a quarter
    wrapped = [
        of(image, compress_level=0),
        of(image, "BMP"),
        of(image.convert("RGBA")),
        of(image.transpose(Image.Transpose.ROTATE_90), exif=turned),
    ]
    assert {each.pixels_digest for each in wrapped} == {of(image).pixels_digest}
    assert of(image.convert("L")).pixels_digest == of(image.convert("L").convert("RGB")).pixels_digest
    assert of(image.convert("L")).pixels_digest != of(image).pixels_digest


def test_pixels_in_another_shape_are_others() -> None:
    row = Image.new("RGB", (4, 1), (9, 9, 9))
    assert of(row).pixels_digest != of(row.resize((2, 2))).pixels_digest


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK", "I;16", "F"])
def test_every_mode_and_a_single_pixel_have_a_fingerprint(mode: str) -> None:
    form = "TIFF" if mode in ("CMYK", "F") else "PNG"
    for size in ((1, 1), (1, 50), (33, 2)):
        image = Image.new("L", size, 255).convert(mode) if mode != "I;16" else Image.new(mode, size, 7777)
        seen = of(image, form)
        assert (seen.width, seen.height) == size
        assert seen.contrast == pytest.approx(0, abs=1e-6)


def test_a_smaller_poorer_brighter_copy_has_close_hashes_and_another_picture_has_not() -> None:
    one = photo(1, 200, 150)
    copy = of(one.resize((150, 112)).point(lambda level: level * 1.05), "JPEG", quality=50)
    other = of(photo(2, 200, 150))
    for name in ("phash", "dhash"):
        bits = [getattr(each, name) for each in (of(one), copy, other)]
        assert (bits[0] ^ bits[1]).bit_count() <= 4
        assert (bits[0] ^ bits[2]).bit_count() > 12


def test_what_cannot_be_read_is_named_with_the_reason(tmp_path: Path) -> None:
    pictures = some(tmp_path, 2)
    (tmp_path / "0.png").write_bytes(b"<html>not found</html>")
    data = (tmp_path / "1.png").read_bytes()
    (tmp_path / "1.png").write_bytes(data[: len(data) // 2])
    (tmp_path / "empty.png").touch()
    pictures |= {key("empty"): tmp_path / "empty.png", key("gone"): tmp_path / "gone.png"}
    problems = {str(name): seen.problem for name, seen in fingerprint_files(pictures, tmp_path / "notes").items()}
    assert "not a picture" in problems["pets/0"]
    assert "truncated" in problems["pets/1"]
    assert "not a picture" in problems["pets/empty"]
    assert "No such file" in problems["pets/gone"]
    (tmp_path / "1.png").write_bytes(data)  # mended: no note stands in the way
    assert fingerprint_files(pictures, tmp_path / "notes")[key("1")].problem == ""


def test_a_second_call_opens_only_what_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures, notes = some(tmp_path / "images", 6), tmp_path / "notes"
    before = fingerprint_files(pictures, notes)
    opened: list[str] = []

    def noticed(path: Path) -> RGB:
        opened.append(path.stem)
        return open_image(path)

    monkeypatch.setattr(hashes, "open_image", noticed)
    assert fingerprint_files(dict(reversed(pictures.items())), notes) == before
    assert opened == []
    assert len(fingerprint_files({key("new"): pictures[key("0")]}, notes)) == 1  # another call's pictures cost no notes
    assert fingerprint_files(pictures, notes) == before
    assert opened == ["0"]
    opened.clear()
    photo(99).save(pictures[key("3")])
    os.utime(pictures[key("4")], (1, 1))
    after = fingerprint_files(pictures, notes)
    assert sorted(opened) == ["3", "4"]
    assert after[key("3")].pixels_digest != before[key("3")].pixels_digest
    assert after[key("4")].pixels_digest == before[key("4")].pixels_digest


def test_a_kill_loses_one_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures, notes = some(tmp_path / "images", 10), tmp_path / "notes"
    monkeypatch.setattr(hashes, "BLOCK_SIZE", 3)
    do, calls = hashes._fingerprint_block, list[int]()

    def killed_in_the_third(work: Sequence[tuple[ImageFingerprint, Path]]) -> list[ImageFingerprint]:
        calls.append(len(work))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return do(work)

    monkeypatch.setattr(hashes, "_fingerprint_block", killed_in_the_third)
    with pytest.raises(KeyboardInterrupt):
        fingerprint_files(pictures, notes)
    resumed = fingerprint_files(pictures, notes)
    assert calls == [3, 3, 3, 3, 1]  # three and one of the second call: six were kept
    assert resumed == fingerprint_files(pictures, tmp_path / "elsewhere")
    assert sorted(path.name for path in notes.glob("*.msgpack")) == ["all.msgpack"]


def test_processes_find_what_one_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = some(tmp_path / "images", 5)
    monkeypatch.setattr(hashes, "BLOCK_SIZE", 2)
    assert fingerprint_files(pictures, tmp_path / "two", processes=2) == fingerprint_files(pictures, tmp_path / "one")


def test_damaged_notes_are_named(tmp_path: Path) -> None:
    pictures = some(tmp_path / "images", 1)
    fingerprint_files(pictures, tmp_path / "notes")
    (tmp_path / "notes" / "all.msgpack").write_bytes(b"\x93\x00")
    with pytest.raises(TwelvefoldError, match=r"all\.msgpack is damaged.*remove it"):
        fingerprint_files(pictures, tmp_path / "notes")
