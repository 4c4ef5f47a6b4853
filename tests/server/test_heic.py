"""HEIC images are read with pillow-heif; without it the refusal says what is missing."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator

import pytest
from PIL import Image
from starlette.testclient import TestClient

import twelvefold
from twelvefold.image_formats import unsupported
from twelvefold.server.app import create_app
from twelvefold.server.settings import Settings
from twelvefold.serving.samples import find_sample

pillow_heif = pytest.importorskip("pillow_heif")


@pytest.fixture(scope="module")
def heic() -> bytes:
    pillow_heif.register_heif_opener()
    file = io.BytesIO()
    with Image.open(find_sample("room").path) as image:
        image.save(file, "HEIF")
    return file.getvalue()


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    app = create_app(twelvefold.load(), Settings(allowed_hosts=("testserver",)))
    with TestClient(app) as client:
        yield client


@pytest.fixture(autouse=True)
def fresh_check() -> Iterator[None]:
    """Look for the package anew in each test and after the last."""
    unsupported.cache_clear()
    yield
    unsupported.cache_clear()


def test_an_heic_image_is_read(client: TestClient, heic: bytes) -> None:
    reply = client.post("/v1/pictures", files={"image": ("photo.heic", heic)})
    assert reply.status_code == 200, reply.text
    assert (reply.json()["width"], reply.json()["height"]) == (224, 288)


def test_without_the_package_the_refusal_names_it(
    client: TestClient, heic: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    reply = client.post("/v1/pictures", files={"image": ("photo.heic", heic + b"x")})  # other bytes: not in the cache
    assert reply.status_code == 415
    assert "pip install 'twelvefold[heic]'" in reply.json()["what"]
    assert "save it as JPEG" in reply.json()["what"]
