"""Many clients at once: requests are batched, refused when there are too many, dropped when clients leave."""

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

from .conftest import Server, start_server

TOKEN = {"Authorization": "Bearer open sesame"}
TIMEOUT = 120.0


def make_image(n: int) -> bytes:
    """Return the n-th of many different small images."""
    pixels = np.random.default_rng(n).integers(0, 256, (48, 64, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture(scope="module")
def small_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a token and low limits that can write almost no files."""
    log = tmp_path_factory.mktemp("small") / "log"
    settings = {
        "token": "open sesame",
        "max_queue": 4,
        "max_batch_size": 2,
        "image_cache_bytes": 200_000,
        "time_limit": TIMEOUT,
    }
    settings |= {"max_images": 200}  # a search of so many images keeps any machine busy for a second or two
    with start_server(log, can_write=False, **settings) as running:
        yield running


def make_files(first: int, count: int) -> list[tuple[str, tuple[str, bytes]]]:
    """Return the images of a form, made before a test measures time."""
    return [("images", (f"{n}.png", make_image(n))) for n in range(first, first + count)]


def search(server: Server, files: list[tuple[str, tuple[str, bytes]]]) -> httpx2.Response:
    """Send a search that keeps the model busy for a while."""
    return server.client.post("/v1/find", data={"text": "a dog"}, files=files, headers=TOKEN, timeout=TIMEOUT)


def send_image(server: Server, file: bytes) -> httpx2.Response:
    return server.client.post("/v1/pictures", files={"image": file}, headers=TOKEN, timeout=TIMEOUT)


def test_protected_paths_need_the_token(small_server: Server) -> None:
    for path in ("/v1/model", "/metrics", "/v1/nothing"):
        got = small_server.client.get(path)
        assert (got.status_code, got.json()["error"]) == (401, "unauthorised")
        assert got.headers["www-authenticate"] == "Bearer"
        assert small_server.client.get(path, headers={"Authorization": "Bearer open"}).status_code == 401
    assert small_server.client.get("/v1/model", headers=TOKEN).status_code == 200
    for path in ("/health", "/ready", "/", "/docs", "/openapi.json", "/v1/samples", "/v1/samples/paper"):
        assert small_server.client.get(path).status_code == 200, path
    assert "open sesame" not in small_server.log.read_text()


def test_overload_gives_503_and_memory_stays_flat(small_server: Server) -> None:
    def wave(first: int) -> Counter[int]:
        files = [make_image(n) for n in range(first, first + 40)]
        with ThreadPoolExecutor(20) as clients:
            answers = list(clients.map(lambda file: send_image(small_server, file), files))
        for answer in answers:
            if answer.status_code == 503:
                assert int(answer.headers["retry-after"]) >= 1
                assert answer.json()["error"] == "overloaded"
            else:
                assert answer.json()["regions"] is not None
        return Counter(answer.status_code for answer in answers)

    statuses = wave(1000)
    assert set(statuses) == {200, 503}
    before = small_server.resident_bytes(TOKEN)
    statuses += wave(2000)
    assert small_server.resident_bytes(TOKEN) - before < 50e6
    assert small_server.metric("twelvefold_kept_bytes", TOKEN) <= 200_000
    size, batches = (small_server.metric(f"twelvefold_batch_size_{part}", TOKEN) for part in ("sum", "count"))
    assert batches < size <= 2 * batches  # batches of two, as set
    assert size == statuses[200]
    assert send_image(small_server, make_image(3000)).status_code == 200


def test_requests_of_clients_that_left_are_dropped(small_server: Server) -> None:
    before = {name: small_server.metric(f"twelvefold_{name}", TOKEN) for name in ("abandoned_total", "batch_size_sum")}
    with ThreadPoolExecutor(1) as busy:
        searching = busy.submit(search, small_server, make_files(4000, 200))
        wait_until(lambda: small_server.metric("twelvefold_batch_size_sum", TOKEN) > before["batch_size_sum"])
        host, port = small_server.address.removeprefix("http://").split(":")
        leaving = []
        for n in range(3):
            body = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
            body += make_image(5000 + n) + b"\r\n--x--\r\n"
            head = f"POST /v1/pictures HTTP/1.1\r\nHost: {host}\r\nAuthorization: {TOKEN['Authorization']}\r\n"
            head += f"X-Request-ID: left-{n}\r\nContent-Type: multipart/form-data; boundary=x\r\n"
            client = socket.create_connection((host, int(port)))
            client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            leaving.append(client)
        wait_until(lambda: small_server.metric("twelvefold_queue", TOKEN) == 3)
        for client in leaving:
            client.close()
        assert searching.result().status_code == 200
    wait_until(lambda: small_server.metric("twelvefold_abandoned_total", TOKEN) == before["abandoned_total"] + 3)
    assert small_server.metric("twelvefold_batch_size_sum", TOKEN) == before["batch_size_sum"] + 1
    statuses = {line["request_id"]: line["status"] for line in small_server.log_lines() if "status" in line}
    assert [statuses[f"left-{n}"] for n in range(3)] == [499] * 3


def test_no_image_is_written_to_disk(small_server: Server) -> None:
    large = io.BytesIO()
    Image.effect_noise((2000, 1500), 100).save(large, "PNG")
    assert large.tell() > 2e6  # more than Starlette keeps in memory by default
    got = small_server.client.post("/v1/pictures", files={"image": large.getvalue()}, headers=TOKEN)
    assert got.status_code == 200, got.text


@pytest.mark.slow
def test_a_stopped_server_answers_the_requests_in_progress(small_server: Server) -> None:
    searches = [make_files(100 * n, 32) for n in range(6)]
    with ThreadPoolExecutor(6) as clients:
        answers = [clients.submit(search, small_server, files) for files in searches]
        in_flight = "twelvefold_requests_in_flight"
        wait_until(
            lambda: small_server.metric(in_flight, TOKEN) + sum(answer.done() for answer in answers) >= 6
        )  # all have arrived
        small_server.process.send_signal(signal.SIGTERM)
        assert sum(not answer.done() for answer in answers) >= 3
        assert [answer.result().status_code for answer in answers] == [200] * 6
    assert small_server.process.wait(TIMEOUT) == 0
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(f"{small_server.address}/health", trust_env=False)
