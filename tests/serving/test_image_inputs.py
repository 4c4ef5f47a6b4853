"""An image in every form that has one meaning is read; other forms are refused by the name of the argument."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import twelvefold
from twelvefold.images import load_image
from twelvefold.schema import TwelvefoldError
from twelvefold.serving.predictor import Predictor
from twelvefold.serving.request import open_image
from twelvefold.serving.samples import load_samples

ROOM = twelvefold.sample("room")
RGB = np.asarray(Image.open(ROOM).convert("RGB"))
BOXES = [[190.0, 100.0, 215.0, 140.0], [50.0, 50.0, 150.0, 110.0]]
TURNS = [("Is it a boot?", "No"), ("Is it red?", "Yes")]


@pytest.fixture(scope="module")
def model() -> Predictor:
    return twelvefold.load()


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


class ArrayHolder:
    """What other libraries' arrays have."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return RGB


PNG = png(Image.fromarray(RGB))
SAME_IMAGE: dict[str, Callable[[], Any]] = {
    "an array": lambda: RGB,
    "an object with an array": lambda: ArrayHolder(),
    "channels first": lambda: RGB.transpose(2, 0, 1),
    "floats": lambda: RGB / 255,
    "half floats from a tensor": lambda: torch.from_numpy(RGB / 255).permute(2, 0, 1).to(torch.float64),
    "a tensor": lambda: torch.tensor(RGB).permute(2, 0, 1),
    "a tensor with channels last": lambda: torch.tensor(RGB),
    "a tensor with gradients": lambda: (torch.tensor(RGB) / 255.0).requires_grad_(),
    "a PIL image": lambda: Image.fromarray(RGB),
    "RGBA": lambda: Image.fromarray(RGB).convert("RGBA"),
    "bytes": lambda: PNG,
    "a bytearray": lambda: bytearray(PNG),
    "a memoryview": lambda: memoryview(PNG),
    "an open file": lambda: io.BytesIO(PNG),
    "base64": lambda: base64.b64encode(PNG).decode(),
    "base64 in lines": lambda: base64.encodebytes(PNG),
    "base64 for URLs": lambda: base64.urlsafe_b64encode(PNG).rstrip(b"=").decode(),
    "a data URL": lambda: f"data:image/png;base64,{base64.b64encode(PNG).decode()}",
}


@pytest.mark.parametrize("form", SAME_IMAGE)
def test_an_image_in_any_form_has_the_same_pixels(form: str) -> None:
    assert open_image(SAME_IMAGE[form]()).digest == load_image(RGB).digest


def test_an_image_is_a_path_of_any_kind_or_a_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "room.png").write_bytes(PNG)
    monkeypatch.chdir(tmp_path)
    digest = load_image(RGB).digest
    with (tmp_path / "room.png").open("rb") as file:
        file.read()  # an open file is read from its start, as Pillow reads it
        assert open_image(file).digest == digest
    for source in (tmp_path / "room.png", "room.png", "./room.png", "~/room.png", str(tmp_path / "room.png")):
        assert open_image(source).digest == digest
    assert open_image("sample:room").digest == open_image(ROOM).digest
    assert {sample.name for sample in load_samples()} >= {"room", "beach"}


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "PA", "RGBA", "CMYK", "YCbCr", "HSV", "I;16", "I", "F"])
def test_every_mode_of_pillow_is_an_image(mode: str) -> None:
    gray = Image.fromarray(RGB[..., 0])
    image = Image.fromarray(RGB[..., 0].astype(np.uint16)) if mode == "I;16" else gray
    image = image.convert("P").convert("PA") if mode == "PA" else image.convert(mode)
    assert open_image(image).rgb.shape == RGB.shape


def open_text_file() -> Any:
    return (Path(__file__).parent / "test_inputs.py").open()


def closed_image() -> Image.Image:
    image = Image.open(ROOM)
    image.close()
    return image


def closed_file() -> io.BytesIO:
    file = io.BytesIO(PNG)
    file.close()
    return file


NO_IMAGE: list[tuple[Callable[[], Any], str]] = [
    (lambda: None, "got None"),
    (lambda: "", "empty text"),
    (lambda: "  ", "empty text"),
    (lambda: True, "got True"),
    (lambda: 7, "got 7"),
    (lambda: {"path": "a.jpg"}, "got dict"),
    (lambda: {1, 2}, "got set"),
    (lambda: "none.jpg", "no such file"),
    (lambda: ".", "is a folder"),
    (lambda: "a" * 300, "image: a"),
    (lambda: "/some/folder/" + "deep/" * 12 + "photo", "no such file"),
    (lambda: "a\0b", "image: a"),
    (lambda: "https://example.org/a.jpg", "never downloaded"),
    (lambda: Path("https://example.org/a.jpg"), "never downloaded"),
    (lambda: "sample:rom", "did you mean 'room'"),
    (lambda: "sample:", "paper, room"),
    (lambda: "data:image/png;base64,%%%", "base64"),
    (lambda: "data:image/png", "data URL"),
    (lambda: b"", "0 bytes"),
    (lambda: b"no image", "not an image"),
    (open_text_file, "'rb'"),
    (lambda: io.BytesIO(b""), "0 bytes"),
    (lambda: np.zeros((8, 8), np.uint16), "uint16"),
    (lambda: np.zeros((8, 8), bool), "bool"),
    (lambda: np.full((8, 8), np.nan), "nan"),
    (lambda: RGB * 1.0, "from 0 to 1"),
    (lambda: np.zeros((8, 8, 7), np.uint8), r"\(8, 8, 7\)"),
    (lambda: np.zeros((), np.uint8), r"\(\)"),
    (lambda: np.zeros((0, 8, 3), np.uint8), r"\(0, 8, 3\)"),
    (lambda: torch.randn(3, 8, 8), "from 0 to 1"),
    (lambda: torch.zeros(3, 8, 8, dtype=torch.int64), "int64"),
    (lambda: torch.zeros(2, 2, 2, 2, 2), r"image"),
    (lambda: torch.zeros(8, 8, 3).to_sparse(), "no NumPy array"),
    (lambda: torch.zeros(8, 8, 3, device="meta"), "no NumPy array"),
    (closed_image, "closed|decode"),
    (closed_file, "cannot be read"),
    (lambda: [[ROOM]], r"image\[0\]: expected"),
    (lambda: np.array([[[["a"]]]]), r"image\[0\]"),
    (lambda: np.zeros((8, 8), complex), "complex"),
]


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize(("source", "message"), NO_IMAGE)
def test_what_is_no_image_is_one_error_that_names_the_argument(
    source: Callable[[], Any], message: str, model: Predictor
) -> None:
    with pytest.raises(TwelvefoldError, match=message) as error:
        model.ask(source(), "What is this?")
    if "sample" not in str(error.value):
        assert str(error.value).startswith("image")
