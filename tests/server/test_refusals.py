"""Refused requests and their statuses; unusual images are answered or refused with a message."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from twelvefold.server.settings import Settings

from .conftest import Server, start_server

Jpegs = dict[str, bytes]
LIMITS = Settings()


def encode(image: Image.Image, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def noise(mode: str = "RGB", size: tuple[int, int] = (120, 90)) -> Image.Image:
    shape = (size[1], size[0], 3)
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, np.uint8)).convert(mode)


def huge_exif() -> bytes:
    exif = Image.Exif()
    exif[0x010E] = "x" * 60_000
    exif[0x0112] = 6
    return encode(noise(), "JPEG", exif=exif)


def bomb(width: int, height: int) -> bytes:
    """Return a small PNG file with very many pixels of one bit each."""
    row, pack = b"\0" * (1 + width // 8), zlib.compressobj(9)
    data = b"".join(pack.compress(row) for _ in range(height)) + pack.flush()
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def animation() -> bytes:
    frames = [noise("P"), Image.new("P", (120, 90), 3), Image.new("P", (120, 90), 7)]
    return encode(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=50)


WIDE = Image.fromarray((np.arange(120 * 90).reshape(90, 120) % 65536).astype(np.uint16))
ANSWERED: dict[str, Callable[[], bytes]] = {
    "an animation": animation,
    "16 bits": lambda: encode(WIDE, "PNG"),
    "CMYK": lambda: encode(noise("CMYK"), "JPEG"),
    "a huge EXIF": huge_exif,
    "transparent": lambda: encode(noise("RGBA"), "PNG"),
    "a palette": lambda: encode(noise("P"), "PNG"),
    "one bit": lambda: encode(noise("1"), "BMP"),
    "floats": lambda: encode(noise("F"), "TIFF"),
    "WebP": lambda: encode(noise(), "WEBP"),
    "AVIF": lambda: encode(noise(), "AVIF"),
    "one pixel": lambda: encode(Image.new("RGB", (1, 1)), "PNG"),
    "a thread": lambda: encode(noise(size=(2000, 1)), "PNG"),
    "all white": lambda: encode(Image.new("RGB", (320, 240), "white"), "JPEG"),
    "with a tail": lambda: encode(noise(), "JPEG") + b"tail" * 1000,
}
REFUSED: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "text": lambda: b"What color is the dog?",
    "truncated": lambda: encode(noise(size=(400, 300)), "JPEG")[:6000],
    "SVG": lambda: b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect/></svg>',
    "HTML": lambda: b"<!doctype html><title>photo.jpg</title>",
    "EPS": lambda: encode(noise(), "EPS"),
    "PDF": lambda: encode(noise(), "PDF"),
    "an icon": lambda: encode(noise(size=(32, 32)), "ICO"),
    "zeros": lambda: bytes(5000),
    "a broken PNG": lambda: encode(noise(), "PNG")[:200] + bytes(3000),
    "a head alone": lambda: encode(noise(), "PNG")[:33],
}


def check_refused(server: Server, status: int, path: str, *, message: str = "", **request: Any) -> None:
    got = server.client.post(path, **request)
    body = got.json()
    assert got.status_code == status, body
    assert body.keys() == {"error", "what", "request_id"}
    assert body["request_id"] == got.headers["x-request-id"]
    assert message in body["what"]


@pytest.mark.parametrize("name", ANSWERED)
def test_unusual_images_are_answered(name: str, server: Server) -> None:
    got = server.client.post("/v1/ask", data={"question": "What is it?"}, files={"image": ("x.jpg", ANSWERED[name]())})
    assert got.status_code == 200, got.text
    assert got.json()["ranked"]


@pytest.mark.parametrize("name", REFUSED)
def test_files_that_are_no_image_are_415(name: str, server: Server) -> None:
    check_refused(
        server, 415, "/v1/ask", data={"question": "What is it?"}, files={"image": ("photo.jpg", REFUSED[name]())}
    )


def test_a_decompression_bomb_is_413_and_uses_no_memory(server: Server) -> None:
    data = bomb(30_000, 30_000)
    assert len(data) < 500_000
    before = server.resident_bytes()
    for _ in range(3):
        check_refused(server, 413, "/v1/pictures", message="more pixels than any", files={"image": data})
    assert server.resident_bytes() - before < 20e6  # decoded, it has 112 MB of bits, 900 MB of gray, 2,700 MB of color


def test_bodies_that_are_too_large_are_413(server: Server) -> None:
    size = LIMITS.max_bytes + 1
    check_refused(server, 413, "/v1/pictures", message="at most", files={"image": bytes(size)})

    def parts() -> Iterator[bytes]:  # without a Content-Length
        yield from (bytes(1_000_000) for _ in range(size // 1_000_000 + 1))

    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    check_refused(server, 413, "/v1/pictures", message="at most", content=parts(), headers=headers)


def test_too_many_images_are_413(server: Server, jpegs: Jpegs) -> None:
    names = [*jpegs] * 21
    check_refused(server, 413, "/v1/find", message="at most 200", data={"text": "a dog", "pictures": names})
    files = [("images", jpegs["room"])] * 33
    check_refused(server, 413, "/v1/find", message="at most 32 images as files", data={"text": "a dog"}, files=files)


@pytest.mark.slow
def test_a_search_finds_images_whose_pixels_were_evicted(tmp_path: Path, jpegs: Jpegs) -> None:
    with start_server(tmp_path / "log", image_cache_bytes=200_000) as small:  # one sample
        digests = [
            small.client.post("/v1/pictures", files={"image": data}).json()["picture"] for data in jpegs.values()
        ]
        found = small.client.post("/v1/find", data={"text": "a green boot", "pictures": digests})
        assert found.status_code == 200, found.text
        assert [*jpegs][int(found.json()["ranked"][0]["name"])] == "room"
        check_refused(small, 404, "/v1/ask", message="send it again", data={"question": "Why?", "picture": digests[0]})


def test_a_search_ranks_more_images_than_one_request_may_carry(server: Server, jpegs: Jpegs) -> None:
    names = [*jpegs] * 5
    reply = server.client.post("/v1/find", data={"text": "a dog", "pictures": names, "top": 100})
    assert reply.status_code == 200, reply.text
    assert len(reply.json()["ranked"]) == len(names) == 50


@pytest.mark.parametrize(
    ("path", "form", "message"),
    [
        ("ask", {}, "question"),
        ("ask", {"question": "   "}, "needs a text"),
        ("ask", {"question": "x" * 2001}, "at most 2,000"),
        ("ask", {"question": "why?", "task": "vqa2"}, "did you mean 'vqav2'"),
        ("ask", {"question": "why?", "task": "refcoco"}, "no task 'refcoco'"),
        ("ask", {"question": "why?", "top": "0"}, "top"),
        ("ask", {"question": "why?", "top": "101"}, "top"),
        ("ask", {"question": "why?", "explain": "perhaps"}, "explain"),
        ("choose", {"question": "which?", "boxes": "1,2,3,4"}, "JSON"),
        ("choose", {"question": "which?", "boxes": "[[1,2,3]]"}, "[x1, y1, x2, y2]"),
        ("choose", {"question": "which?", "boxes": "[[1,2,true,4]]"}, "[x1, y1, x2, y2]"),
        ("choose", {"question": "which?", "boxes": "[[NaN,2,3,4]]"}, ""),
        ("choose", {"question": "which?", "boxes": "[[900,900,950,950]]"}, "inside the image"),
        ("choose", {"question": "which?", "boxes": json.dumps([[1, 1, 9, 9]] * 101)}, "at most 100"),
        ("choose", {"question": "which?", "boxes": "[" * 5000}, "JSON"),
        ("guess", {"dialogue": '[["is it red?"]]'}, "pairs"),
        ("guess", {"dialogue": '["is it red?", "no"]'}, "each turn"),
        ("guess", {"dialogue": '[["", "no"]]'}, "empty"),
        ("guess", {"dialogue": "[]"}, "at least one"),
        ("ground", {"caption": "a dog", "phrases": '["a cat"]'}, "is not part of"),
        ("ground", {"caption": "a dog", "phrases": "[]"}, "at least one"),
        ("ground", {"caption": "a dog", "phrases": json.dumps(["a dog"] * 21)}, "at most 20"),
    ],
)
def test_bad_values_are_422(path: str, form: dict[str, str], message: str, server: Server) -> None:
    check_refused(server, 422, f"/v1/{path}", message=message, data={"picture": "paper", **form})


NULLABLE = {
    "ask": {"question": "why?", "task": "vqav2", "top": "1", "explain": "false"},
    "guess": {"dialogue": "Is it red? no", "boxes": "", "box_format": "xyxy"},
    "choose": {"question": "which?", "boxes": ""},
    "ground": {"caption": "a dog", "phrases": '["a dog"]', "task": "refcoco"},
    "find": {"text": "a dog", "pictures": "paper"},
    "answer": {"task": "vqav2", "text": "why?", "texts": "", "boxes": "", "pictures": "paper"},
}


@pytest.mark.parametrize(("path", "field"), [(path, field) for path, form in NULLABLE.items() for field in form])
def test_null_is_refused_in_every_field(path: str, field: str, server: Server) -> None:
    images = {} if "pictures" in NULLABLE[path] else {"picture": "paper"}
    for null in ("null", " null\n", "undefined"):
        data = images | NULLABLE[path] | {field: null}
        check_refused(server, 422, f"/v1/{path}", message=f"{field}: got the text", data=data)


@pytest.mark.parametrize("path", ["/v1/model", "/v1/samples", "/v1/samples/room", "/health", "/ready", "/metrics"])
def test_an_unknown_parameter_of_a_get_request_is_refused(path: str, server: Server) -> None:
    reply = server.client.get(path, params={"task": "vqav2"})
    assert (reply.status_code, reply.json()["error"]) == (422, "bad_value")
    assert "has no parameter 'task'; it has no parameters" in reply.json()["what"]
    assert server.client.get(path).status_code == 200


def test_an_image_is_a_file_or_a_digest(server: Server, jpegs: Jpegs) -> None:
    form = {"question": "why?"}
    check_refused(server, 422, "/v1/ask", message="send an image", data=form)
    check_refused(
        server, 422, "/v1/ask", message="not both", data=form | {"picture": "paper"}, files={"image": jpegs["paper"]}
    )
    check_refused(server, 422, "/v1/find", message="send the images", data={"text": "a dog"})
    check_refused(server, 422, "/v1/compare", message="image_b", data={"statement": "same", "picture_a": "left"})


@pytest.mark.parametrize("name", ["0" * 32, "/etc/passwd", "http://127.0.0.1/x.jpg", "../paper", "paper.jpg"])
def test_an_unknown_digest_is_404_and_no_path_is_opened(name: str, server: Server) -> None:
    check_refused(server, 404, "/v1/ask", message="send it again", data={"question": "why?", "picture": name})
    check_refused(server, 422, "/v1/ask", data={"question": "why?", "image": name})  # a text in the field of a file


def test_unknown_paths_methods_and_bodies(server: Server) -> None:
    check_refused(server, 404, "/v1/answers", message="/docs")
    got = server.client.get("/v1/ask")
    assert (got.status_code, got.headers["allow"], got.json()["error"]) == (405, "POST", "method_not_allowed")
    check_refused(server, 422, "/v1/ask", json={"question": "why?"})
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    check_refused(server, 400, "/v1/ask", content=b"--y\r\nno such boundary", headers=headers)


def test_no_refusal_is_a_server_error(server: Server) -> None:
    for name in REFUSED:
        server.client.post("/v1/pictures", files={"image": ("x.png", REFUSED[name]())})
    assert [line for line in server.log_lines() if line.get("status", 0) >= 500 or "traceback" in line] == []
