"""Many clients at once: requests are batched, too many are turned away, the impatient cost nothing, none is lost."""

from __future__ import annotations

import io
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx2
import numpy as np
import pytest
from PIL import Image

from .conftest import Server, running

TOKEN = {"Authorization": "Bearer open sesame"}
PATIENCE = 120.0


def load_image(n: int) -> bytes:
    """A picture like no other, small and quickly made."""
    pixels = np.random.default_rng(n).integers(0, 256, (48, 64, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a token and little room, which may hardly write files."""
    log = tmp_path_factory.mktemp("narrow") / "log"
    settings = {"token": "open sesame", "queue": 4, "batch": 2, "keep_bytes": 200_000, "time_limit": PATIENCE}
    settings |= {"max_pictures": 200}  # a search of so many keeps any machine busy for a second or two
    with running(log, writes=False, **settings) as one:
        yield one


def images(first: int, count: int) -> list[tuple[str, tuple[str, bytes]]]:
    """A form's pictures, made before the clock of a test matters."""
    return [("images", (f"{n}.png", load_image(n))) for n in range(first, first + count)]


def search(server: Server, pictures: list[tuple[str, tuple[str, bytes]]]) -> httpx2.Response:
    """A request that keeps the model busy for a while: pictures never seen before."""
    return server.client.post("/v1/find", data={"text": "a dog"}, files=pictures, headers=TOKEN, timeout=PATIENCE)


def look(server: Server, file: bytes) -> httpx2.Response:
    return server.client.post("/v1/pictures", files={"image": file}, headers=TOKEN, timeout=PATIENCE)


def test_a_token_opens_what_is_protected(narrow: Server) -> None:
    for path in ("/v1/model", "/metrics", "/v1/nothing"):
        got = narrow.client.get(path)
        assert (got.status_code, got.json()["error"]) == (401, "unauthorised")
        assert got.headers["www-authenticate"] == "Bearer"
        assert narrow.client.get(path, headers={"Authorization": "Bearer open"}).status_code == 401
    assert narrow.client.get("/v1/model", headers=TOKEN).status_code == 200
    for path in ("/health", "/ready", "/", "/docs", "/openapi.json", "/v1/samples", "/v1/samples/paper"):
        assert narrow.client.get(path).status_code == 200, path
    assert "open sesame" not in narrow.log.read_text()


def test_overload_is_503_and_memory_stays_flat(narrow: Server) -> None:
    def wave(first: int) -> Counter[int]:
        made = [load_image(n) for n in range(first, first + 40)]
        with ThreadPoolExecutor(20) as clients:
            answers = list(clients.map(lambda file: look(narrow, file), made))
        for one in answers:
            if one.status_code == 503:
                assert int(one.headers["retry-after"]) >= 1
                assert one.json()["error"] == "overloaded"
            else:
                assert one.json()["regions"] is not None
        return Counter(one.status_code for one in answers)

    statuses = wave(1000)
    assert set(statuses) == {200, 503}
    before = narrow.resident(TOKEN)
    statuses += wave(2000)
    assert narrow.resident(TOKEN) - before < 50e6
    assert narrow.figure("twelvefold_kept_bytes", TOKEN) <= 200_000
    size, batches = (narrow.figure(f"twelvefold_batch_size_{part}", TOKEN) for part in ("sum", "count"))
    assert batches < size <= 2 * batches  # in twos, as set
    assert size == statuses[200]
    assert look(narrow, load_image(3000)).status_code == 200


def test_clients_that_leave_cost_nothing(narrow: Server) -> None:
    before = {name: narrow.figure(f"twelvefold_{name}", TOKEN) for name in ("abandoned_total", "batch_size_sum")}
    with ThreadPoolExecutor(1) as busy:
        searching = busy.submit(search, narrow, images(4000, 200))
        until(lambda: narrow.figure("twelvefold_batch_size_sum", TOKEN) > before["batch_size_sum"])
        host, port = narrow.address.removeprefix("http://").split(":")
        leaving = []
        for n in range(3):
            body = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
            body += load_image(5000 + n) + b"\r\n--x--\r\n"
            head = f"POST /v1/pictures HTTP/1.1\r\nHost: {host}\r\nAuthorization: {TOKEN['Authorization']}\r\n"
            head += f"X-Request-ID: left-{n}\r\nContent-Type: multipart/form-data; boundary=x\r\n"
            client = socket.create_connection((host, int(port)))
            client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            leaving.append(client)
        until(lambda: narrow.figure("twelvefold_queue", TOKEN) == 3)
        for client in leaving:
            client.close()
        assert searching.result().status_code == 200
    until(lambda: narrow.figure("twelvefold_abandoned_total", TOKEN) == before["abandoned_total"] + 3)
    assert narrow.figure("twelvefold_batch_size_sum", TOKEN) == before["batch_size_sum"] + 1
    statuses = {line["request_id"]: line["status"] for line in narrow.logged() if "status" in line}
    assert [statuses[f"left-{n}"] for n in range(3)] == [499] * 3


def test_no_picture_is_written_to_disk(narrow: Server) -> None:
    large = io.BytesIO()
    Image.effect_noise((2000, 1500), 100).save(large, "PNG")
    assert large.tell() > 2e6  # more than forms keep in memory by default
    got = narrow.client.post("/v1/pictures", files={"image": large.getvalue()}, headers=TOKEN)
    assert got.status_code == 200, got.text


def test_a_server_that_is_stopped_answers_what_is_under_way(narrow: Server) -> None:
    made = [images(100 * n, 32) for n in range(6)]
    with ThreadPoolExecutor(6) as clients:
        asked = [clients.submit(search, narrow, pictures) for pictures in made]
        flying = "twelvefold_requests_in_flight"
        until(lambda: narrow.figure(flying, TOKEN) + sum(one.done() for one in asked) >= 6)  # all have arrived
        narrow.process.send_signal(signal.SIGTERM)
        assert sum(not one.done() for one in asked) >= 3
        assert [one.result().status_code for one in asked] == [200] * 6
    assert narrow.process.wait(PATIENCE) == 0
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(f"{narrow.address}/health", trust_env=False)
