"""Whatever a photograph comes in, upright RGB comes out, or an error that says which file and why."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from twelvefold import images
from twelvefold.images import ImageError, open_image, to_rgb_array

RED = (200, 30, 40)


def saved(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "CMYK", "YCbCr"])
def test_colour_survives_every_mode(mode: str) -> None:
    form = {"CMYK": "JPEG", "YCbCr": "JPEG"}.get(mode, "PNG")
    picture = open_image(saved(Image.new("RGB", (12, 9), RED).convert(mode), form))
    assert picture.shape == (9, 12, 3)
    assert picture.dtype == np.uint8
    np.testing.assert_allclose(picture[4, 4], RED, atol=25)


@pytest.mark.parametrize("mode", ["L", "LA", "1"])
def test_grey_has_three_equal_channels(mode: str) -> None:
    picture = open_image(saved(Image.new("L", (6, 6), 255).convert(mode)))
    assert (picture == 255).all()


def test_sixteen_bits_are_scaled_not_cut() -> None:
    half = np.full((5, 7), 32768, np.uint16)
    picture = open_image(saved(Image.fromarray(half)))
    assert picture.shape == (5, 7, 3)
    assert (picture == 127).all()


def test_transparency_lies_on_white() -> None:
    image = Image.new("RGBA", (4, 4), (*RED, 0))
    assert (open_image(saved(image)) == 255).all()


def test_a_palette_with_a_transparent_colour() -> None:
    image = Image.new("P", (4, 4), 0)
    image.putpalette([*RED, 0, 0, 0])
    assert (open_image(saved(image, transparency=0)) == 255).all()


def test_exif_orientation_turns_the_picture_upright() -> None:
    image = Image.new("RGB", (20, 10), (0, 0, 0))
    image.paste((255, 255, 255), (0, 0, 5, 10))  # a white strip on the left
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: left is up
    picture = open_image(saved(image, exif=exif))
    assert picture.shape == (20, 10, 3)
    assert picture[2].mean() > 250
    assert picture[-2].mean() < 5


def test_damage_elsewhere_in_the_exif_costs_nothing() -> None:
    exif = Image.Exif()
    exif[0x0100], exif[0x0112] = 24, 6  # width, orientation
    data = bytearray(saved(Image.new("RGB", (8, 6)), "JPEG", exif=exif))
    entry = data.index(b"\x01\x00\x00\x04", data.index(b"Exif"))
    data[entry + 3] = 2  # the width is a text now
    assert open_image(bytes(data)).shape == (8, 6, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_as_pillow_turns_it(orientation: int) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (5, 8, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(Image.fromarray(noise), exif=exif)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(open_image(data), np.asarray(expected))


def test_of_an_animation_the_first_picture_is_seen() -> None:
    frames = [Image.new("RGB", (6, 4), colour) for colour in (RED, (0, 0, 0))]
    for form in ("GIF", "WEBP", "PNG"):
        picture = open_image(saved(frames[0], form, save_all=True, append_images=frames[1:]))
        assert picture.shape == (4, 6, 3)
        np.testing.assert_allclose(picture[2, 3], RED, atol=12)


@pytest.mark.parametrize("keep", [0, 10, 400])
def test_a_cut_file_is_named_with_the_reason(tmp_path: Path, keep: int) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    path = tmp_path / "cut.jpg"
    path.write_bytes(saved(Image.fromarray(noise), "JPEG")[:keep])
    with pytest.raises(ImageError, match=r"cut\.jpg.*(truncated|not a picture)"):
        open_image(path)


def test_no_picture_at_all(tmp_path: Path) -> None:
    path = tmp_path / "page.jpg"
    path.write_text("<html>not found</html>")
    with pytest.raises(ImageError, match=r"page\.jpg: not a picture"):
        open_image(path)
    with pytest.raises(ImageError, match="no such file"):
        open_image(tmp_path / "gone.jpg")
    with pytest.raises(ImageError, match="can't be decoded"):
        open_image(tmp_path)


def test_a_bomb_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved(Image.new("L", (300, 300)))
    monkeypatch.setattr(images, "MAX_PIXELS", 80_000)
    with pytest.raises(ImageError, match="300 x 300"):
        open_image(data)
    huge = saved(Image.new("1", (20_000, 20_000)))  # 50 kB on disk, beyond Pillow's own limit
    monkeypatch.undo()
    with pytest.raises(ImageError, match=r"larger than any|20000 x 20000"):
        open_image(huge)


def test_arrays_of_another_kind_are_refused() -> None:
    for shape in ((4, 4), (0, 4, 3), (4, 4, 4)):
        with pytest.raises(ImageError, match="uint8"):
            to_rgb_array(np.zeros(shape, np.uint8))
    assert to_rgb_array(Image.new("L", (3, 2))).shape == (2, 3, 3)
