"""No request of any form makes the server fail: a few hundred seeded ones are answered or refused."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

import twelvefold
from twelvefold.server.app import create_app
from twelvefold.server.settings import Settings

pytestmark = pytest.mark.slow

SEED, NUM_REQUESTS = 23, 500
PATHS = ("ask", "find", "point", "choose", "guess", "compare", "entails", "ground", "answer", "pictures")
FIELDS = (
    *("question", "text", "texts", "phrase", "dialogue", "statement", "caption", "phrases", "task", "top", "explain"),
    *("boxes", "box_format", "picture", "picture_a", "picture_b", "pictures", "image", "image_a", "image_b", "images"),
)
HALF, TURN = "\\ud800", '["is it red?", "no"]'
TEXTS = (
    *("", " ", "What is this?", "a boot", "0", "-1", "3", "1e999", "true", "None", "nan", "\0", "\u2028", "ä" * 3000),
    *(
        "vqav2",
        "refcoco",
        "nlvr2",
        "guesswhat",
        "no such task",
        "../../etc/passwd",
        "http://127.0.0.1/a.jpg",
        "sample:x",
    ),
    *("room", "paper", "left", "right", "0" * 32, "data:image/png;base64,AAAA", "xywh", "xyxy_unit"),
    *(
        "[]",
        "{}",
        "[[]]",
        "[[[]]]",
        "[null]",
        "[1]",
        '[""]',
        '["a boot"]',
        '"a"',
        "[" * 3000,
        "{" * 3000,
        '{"a":' * 500,
    ),
    *(f"[{TURN}]", TURN, f'[["a{HALF}b?", "yes"]]', f'["a{HALF}b"]', f'"{HALF}"', f'[{{"q": "{HALF}", "a": "b"}}]'),
    *(
        '[{"question": "a?", "answer": "no"}]',
        '[{"question": "a?"}]',
        '[["a?", null]]',
        '[["a?", "no", 3]]',
        '[{"a": 1}]',
    ),
    *("[[1, 2, 30, 40]]", "[[0.1, 0.2, 0.3, 0.4]]", "[[NaN, 1, 2, 3]]", "[[1e999, 1, 2, 3]]", "[[true, 1, 2, 3]]"),
    *(f"[[{'9' * 5000}, 1, 2, 3]]", f"[[{2**70}, 1, 2, 3]]", "[[1, 2, 3]]", '[["1", 2, 30, 40]]', "[[40, 30, 2, 1]]"),
    *(
        '[{"xmin": 1, "ymin": 2, "xmax": 30, "ymax": 40}]',
        "[[1, 2, 30, 40], null]",
        '{"xmin": 1}',
        "[[-5, -5, 5000, 5]]",
    ),
    *(json.dumps([[1, 2, 30, 40]] * 200), json.dumps(["a"] * 50), json.dumps([["a?", "no"]] * 500)),
)
RAW = (b"\xff\xfe", b"\xed\xa0\x80", b"a\xc3", b"\x80\x81", "ä€😀".encode(), b"--", b"\r\n", b"%s%n")
CONTENT_TYPES = (
    *(
        "text/plain",
        "application/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "",
        "\xff",
        "a/b/c",
    ),
    *(f"multipart/form-data; boundary=x; charset={name}" for name in ("utf-16", "idna", "undefined", "hex", "utf-7")),
    *("multipart/form-data; boundary=", "multipart/form-data; boundary=x", "multipart/form-data; boundary=é"),
)


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    app = create_app(twelvefold.load(), Settings(allowed_hosts=("testserver",)))
    with TestClient(app, raise_server_exceptions=False) as running:
        yield running


def text_of(rng: random.Random) -> str | bytes:
    return rng.choice(RAW) if rng.random() < 0.1 else rng.choice(TEXTS)


def multipart(rng: random.Random) -> bytes:
    """Return a form with random fields, some repeated, some as files; written by hand, as clients would not send it."""
    parts = []
    for name in rng.choices(FIELDS, k=rng.randrange(1, 6)):
        value = text_of(rng)
        data = value.encode(errors="surrogatepass") if isinstance(value, str) else value
        file = rng.choice(['; filename="a.jpg"', '; filename="\xed\xa0"', ""]) if rng.random() < 0.3 else ""
        name = name if rng.random() < 0.9 else rng.choice([name + "s", name.upper(), "", 'a"b', "\x00", "ü"])
        parts.append(
            b"--x\r\n" + f'Content-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode() + data + b"\r\n"
        )
    return b"".join(parts) + rng.choice([b"--x--\r\n", b"--x--", b"--x", b""])


def random_request(rng: random.Random, jpeg: bytes) -> dict[str, Any]:
    """Return the arguments of a request: a plausible form with some strange values, or a strange body."""
    kind = rng.random()
    headers = {"x-request-id": rng.choice(["a", "\x7f", "x" * 300])} if rng.random() < 0.1 else {}
    if kind < 0.2:
        return {"content": multipart(rng), "headers": headers | {"content-type": "multipart/form-data; boundary=x"}}
    if kind < 0.35:
        body = rng.choice(
            [multipart(rng), b"", rng.randbytes(200), b"a=b&c", b"%ED%A0%80=%ff", b'{"question": "\\ud800"}']
        )
        content_type = rng.choice(CONTENT_TYPES).encode("latin-1", "ignore")
        return {"content": body, "headers": headers | {"content-type": content_type}}
    form: dict[str, Any] = {name: text_of(rng) for name in rng.choices(FIELDS, k=rng.randrange(0, 4))}
    form |= (
        {"question": "Is it red?", "text": "a boot", "phrase": "a boot", "statement": "It is red."}
        if kind > 0.7
        else {}
    )
    form = {name: form[name] for name in form if rng.random() < 0.8}
    if rng.random() < 0.8:
        form |= rng.choice(
            [{"picture": "room"}, {"pictures": ["room", "left"]}, {"picture_a": "left", "picture_b": "right"}]
        )
    files = {rng.choice(["image", "images", "image_a"]): ("a.jpg", jpeg)} if rng.random() < 0.3 else None
    params = {rng.choice(FIELDS): "a"} if rng.random() < 0.05 else None
    return {"data": form, "files": files, "params": params, "headers": headers}


def plausible_request(path: str, value: str | bytes) -> dict[str, Any]:
    """Return a valid form of a path with one strange value, so that the checks behind the form's are reached."""
    text_fields = {
        "ask": "question",
        "find": "text",
        "point": "phrase",
        "choose": "question",
        "guess": "dialogue",
        "compare": "statement",
        "entails": "statement",
        "ground": "phrases",
        "answer": "text",
    }
    form: dict[str, Any] = {"picture_a": "left", "picture_b": "right"} if path == "compare" else {"picture": "room"}
    form = {"pictures": ["room"]} if path in ("find", "answer") else form
    form |= {"caption": "a boot"} if path == "ground" else {"task": "vqav2"} if path == "answer" else {}
    return {"data": form | {text_fields[path]: value}}


def check(client: TestClient, path: str, request: dict[str, Any]) -> int:
    got = client.post(f"/v1/{path}", **request)
    assert 200 <= got.status_code < 300 or 400 <= got.status_code < 500, (path, request, got.text)
    if got.status_code >= 400:
        assert got.json().keys() == {"error", "what", "request_id"}
    return got.status_code


def test_random_requests_are_answered_or_refused(client: TestClient) -> None:
    rng, jpeg = random.Random(SEED), twelvefold.sample("room").read_bytes()
    statuses = {check(client, rng.choice(PATHS), random_request(rng, jpeg)) for _ in range(NUM_REQUESTS)}
    assert {400, 404, 422} <= statuses
    assert check(client, "ask", plausible_request("ask", "Is it red?")) == 200


@pytest.mark.parametrize("path", [path for path in PATHS if path != "pictures"])
def test_strange_values_in_valid_forms_are_answered_or_refused(client: TestClient, path: str) -> None:
    for value in (*TEXTS, *RAW):
        check(client, path, plausible_request(path, value))
    for name in ("boxes", "box_format", "top", "explain", "task", "texts", "caption"):
        for value in TEXTS:
            request = plausible_request(path, '[["is it red?", "no"]]' if path == "guess" else '["a boot"]')
            check(client, path, {"data": request["data"] | {name: value}})


@pytest.mark.parametrize(
    "path", ["%ED%A0%80", "v1/samples/%ED%A0%80", "v1/samples/%00", "v1/%FF", "page/%00", "%2e%2e/x"]
)
def test_strange_paths_are_refused(client: TestClient, path: str) -> None:
    for method in ("GET", "POST", "PUT", "OPTIONS"):
        assert 400 <= client.request(method, f"/{path}").status_code < 500


def test_half_a_surrogate_pair_is_named(client: TestClient) -> None:
    got = client.post("/v1/guess", data={"picture": "room", "dialogue": f'[["a{HALF}b?", "yes"]]'})
    assert (got.status_code, "surrogate" in got.json()["what"]) == (422, True)


FORM = {"picture": "room", "question": "What is this?"}


@pytest.mark.parametrize(
    ("path", "request_", "message"),
    [
        ("ask", {"data": {"picture": "room", "qestion": "why?"}}, "did you mean 'question'"),
        ("entails", {"data": {"picture": "room", "statement": "a", "topk": "2"}}, "did you mean 'top'"),
        ("entails", {"data": {"picture": "room", "statement": "a", "xyz": "2"}}, "its fields are"),
        ("find", {"data": {"text": "a", "image": "room"}}, "did you mean 'images'"),
        ("ask", {"data": FORM, "params": {"top": "3"}}, "is in the address"),
        ("ask", {"data": FORM | {"question": ["a?", "b?"]}}, "question: sent 2 times"),
        ("ask", {"data": FORM | {"picture": ["room", "left"]}}, "picture: sent 2 times"),
        ("ask", {"data": {"question": "a"}, "files": [("image", b"a"), ("image", b"b")]}, "image: sent 2 times"),
        ("choose", {"data": FORM | {"boxes": "[]"}}, "at least one box"),
        ("choose", {"data": FORM | {"boxes": "[[0.1, 0.1, 0.5, 0.5]]"}}, "xyxy_unit"),
        ("choose", {"data": FORM | {"boxes": "[[150, 100, 20, 40]]"}}, "xywh"),
        ("choose", {"data": FORM | {"boxes": "[[1, 2, 30, 40]]", "box_format": "xyhw"}}, "box_format"),
        ("ask", {"data": {"question": "a", "image": "data:image/png;base64,AAAA"}}, "image: expected a file"),
        ("compare", {"data": {"statement": "a", "image_b": "https://example.org/a.jpg"}}, "image_b: expected a file"),
        ("ask", {"json": {"question": "a", "picture": "room"}}, "form"),
    ],
)
def test_fields_that_cannot_be_meant_are_refused_by_name(
    client: TestClient, path: str, request_: dict[str, Any], message: str
) -> None:
    got = client.post(f"/v1/{path}", **request_)
    assert (got.status_code, message in got.json()["what"]) == (422, True), got.text


def test_boxes_in_another_format_and_answers_have_labels(client: TestClient) -> None:
    form = {"picture": "room", "question": "Which is green?"}
    corners = client.post("/v1/choose", data=form | {"boxes": "[[190, 100, 215, 140]]"}).json()
    sides = client.post("/v1/choose", data=form | {"boxes": "[[190, 100, 25, 40]]", "box_format": "xywh"}).json()
    assert corners["candidates_px"] == sides["candidates_px"] == [[190, 100, 215, 140]]
    assert corners["ranked"][0]["label"]
