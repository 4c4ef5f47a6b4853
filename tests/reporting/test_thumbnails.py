"""Thumbnails are small JPEGs of images of any mode."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from twelvefold.reporting.thumbnails import MAX_BYTES, MAX_SIDE, Thumbnails
from twelvefold.schema import ImageKey

KEY = ImageKey("coco", "1")


def test_an_image_of_noise_is_made_small_enough(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (700, 900, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    thumbnail = Thumbnails({KEY: tmp_path / "noise.png"}).make(KEY, "noise")
    data = base64.b64decode(thumbnail.uri.partition(",")[2])
    assert len(data) <= MAX_BYTES
    assert max(Image.open(io.BytesIO(data)).size) <= MAX_SIDE
    assert (thumbnail.width, thumbnail.height) == (900, 700)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_images_of_any_mode_are_shown(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    Image.new("RGB", (40, 30), "red").convert(mode).save(path)
    assert Thumbnails({KEY: path}).make(KEY, "red").uri
