"""Image files of every format and mode are read as upright RGB; unreadable ones are errors with file and reason."""

import io
import subprocess
import sys
import warnings
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from twelvefold import images
from twelvefold.images import ImageError, open_image, to_rgb_array

RED = (200, 30, 40)


def encode(image: Image.Image, file_format: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, file_format, **options)
    return out.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "CMYK", "YCbCr"])
def test_every_color_mode_is_read(mode: str) -> None:
    file_format = {"CMYK": "JPEG", "YCbCr": "JPEG"}.get(mode, "PNG")
    rgb = open_image(encode(Image.new("RGB", (12, 9), RED).convert(mode), file_format))
    assert rgb.shape == (9, 12, 3)
    assert rgb.dtype == np.uint8
    np.testing.assert_allclose(rgb[4, 4], RED, atol=25)


@pytest.mark.parametrize("mode", ["L", "LA", "1"])
def test_gray_has_three_equal_channels(mode: str) -> None:
    rgb = open_image(encode(Image.new("L", (6, 6), 255).convert(mode)))
    assert (rgb == 255).all()


def test_16_bit_values_are_scaled_not_clipped() -> None:
    half = np.full((5, 7), 32768, np.uint16)
    rgb = open_image(encode(Image.fromarray(half)))
    assert rgb.shape == (5, 7, 3)
    assert (rgb == 127).all()


def test_transparent_pixels_become_white() -> None:
    image = Image.new("RGBA", (4, 4), (*RED, 0))
    assert (open_image(encode(image)) == 255).all()


def test_a_transparent_palette_color_becomes_white() -> None:
    image = Image.new("P", (4, 4), 0)
    image.putpalette([*RED, 0, 0, 0])
    assert (open_image(encode(image, transparency=0)) == 255).all()


def test_exif_orientation_is_applied() -> None:
    image = Image.new("RGB", (20, 10), (0, 0, 0))
    image.paste((255, 255, 255), (0, 0, 5, 10))  # a white strip on the left
    exif = Image.Exif()
    exif[0x0112] = 6  # left is up
    rgb = open_image(encode(image, exif=exif))
    assert rgb.shape == (20, 10, 3)
    assert rgb[2].mean() > 250
    assert rgb[-2].mean() < 5


def test_other_damaged_exif_entries_are_ignored() -> None:
    exif = Image.Exif()
    exif[0x0100], exif[0x0112] = 24, 6  # width, orientation
    data = bytearray(encode(Image.new("RGB", (8, 6)), "JPEG", exif=exif))
    entry = data.index(b"\x01\x00\x00\x04", data.index(b"Exif"))
    data[entry + 3] = 2  # the width is now a text
    assert open_image(bytes(data)).shape == (8, 6, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_applied_as_pillow_applies_it(orientation: int) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (5, 8, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(Image.fromarray(noise), exif=exif)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(open_image(data), np.asarray(expected))


def test_the_first_frame_of_an_animation_is_read() -> None:
    frames = [Image.new("RGB", (6, 4), color) for color in (RED, (0, 0, 0))]
    for file_format in ("GIF", "WEBP", "PNG"):
        rgb = open_image(encode(frames[0], file_format, save_all=True, append_images=frames[1:]))
        assert rgb.shape == (4, 6, 3)
        np.testing.assert_allclose(rgb[2, 3], RED, atol=12)


@pytest.mark.parametrize("keep", [0, 10, 400])
def test_a_truncated_file_is_an_error_with_its_name_and_the_reason(tmp_path: Path, keep: int) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    path = tmp_path / "cut.jpg"
    path.write_bytes(encode(Image.fromarray(noise), "JPEG")[:keep])
    with pytest.raises(ImageError, match=r"cut\.jpg.*(truncated|not an image)"):
        open_image(path)


def test_a_file_that_is_not_an_image_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "page.jpg"
    path.write_text("<html>not found</html>")
    with pytest.raises(ImageError, match=r"page\.jpg is a web page"):
        open_image(path)
    path.write_text("no image")
    with pytest.raises(ImageError, match=r"page\.jpg: not an image"):
        open_image(path)
    with pytest.raises(ImageError, match="no such file"):
        open_image(tmp_path / "gone.jpg")
    with pytest.raises(ImageError, match="can't be decoded"):
        open_image(tmp_path)


@pytest.mark.slow
def test_an_image_with_too_many_pixels_is_refused_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(Image.new("L", (300, 300)))
    monkeypatch.setattr(images, "MAX_PIXELS", 80_000)
    with pytest.raises(ImageError, match="300 x 300"):
        open_image(data)
    huge = encode(Image.new("1", (20_000, 20_000)))  # 50 kB on disk, beyond Pillow's own limit
    monkeypatch.undo()
    with pytest.raises(ImageError, match=r"more pixels than any|20000 x 20000"):
        open_image(huge)


def test_arrays_of_another_shape_are_refused() -> None:
    for shape in ((4, 4), (0, 4, 3), (4, 4, 4)):
        with pytest.raises(ImageError, match="uint8"):
            to_rgb_array(np.zeros(shape, np.uint8))
    assert to_rgb_array(Image.new("L", (3, 2))).shape == (2, 3, 3)


def test_warnings_of_pillow_never_reach_standard_error(tmp_path: Path) -> None:
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([*RED, 0, 0, 0])
    (tmp_path / "palette.png").write_bytes(encode(palette, transparency=b"\x00\x80"))
    exif = (
        b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x05\x01\x12\x00\x03\x00\x00\x00\x01"  # four of five entries are cut
    )
    (tmp_path / "exif.jpg").write_bytes(encode(Image.new("RGB", (8, 8)), "JPEG", exif=exif))
    tiff = encode(Image.new("RGB", (64, 64)), "TIFF")
    (tmp_path / "cut.tif").write_bytes(tiff[:-40])
    (tmp_path / "samples.tif").write_bytes(
        tiff.replace(b"\x15\x01\x03\x00\x01\x00\x00\x00\x03", b"\x15\x01\x03\x00\x01\x00\x00\x00\x63")
    )
    (tmp_path / "bomb.png").write_bytes(encode(Image.new("1", (9500, 9500))))  # between our limit and Pillow's
    code = (
        "import sys, pathlib\nfrom twelvefold.images import ImageError, image_size, open_image\n"
        "for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):\n"
        "    for function in (image_size, open_image):\n"
        "        try: function(path)\n"
        "        except ImageError as error: print(error)\n"
    )
    process = subprocess.run(
        [sys.executable, "-W", "always", "-c", code, str(tmp_path)], check=False, capture_output=True, text=True
    )
    assert (process.returncode, process.stderr) == (0, "")
    assert "bomb.png: 9500 x 9500 pixels are more than 80,000,000" in process.stdout


def test_warnings_stay_ignored_until_the_last_thread_leaves() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with ExitStack() as first:
            first.enter_context(images.ignore_pillow_warnings)
            second = ExitStack()
            second.enter_context(images.ignore_pillow_warnings)
        warnings.warn_explicit("in an image", UserWarning, "Image.py", 1, module="PIL.Image")
        warnings.warn_explicit("of another module", UserWarning, "a.py", 1, module="a")
        second.close()
        warnings.warn_explicit("later", UserWarning, "Image.py", 1, module="PIL.Image")
    assert [str(each.message) for each in caught] == ["of another module", "later"]
