"""A local HTTP server that can be told to misbehave."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from twelvefold.download import http


@dataclass
class Site:
    """The server's files and behavior. ``plan``: one behavior per request; after that, requests are served normally.

    break:N closes the connection after N bytes; status:N answers with that status; whole ignores Range; html sends a
    web page; more sends twice the bytes without Content-Length; short omits Content-Length and stops halfway; shift
    answers 206 with a wrong offset. ``requests``: path and Range header of each request. ``num_sent``: body bytes.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    plan: list[str] = field(default_factory=list)
    etag: str = '"one"'
    requests: list[tuple[str, str]] = field(default_factory=list)
    num_sent: int = 0
    address: str = ""


class Handler(BaseHTTPRequestHandler):
    site: Site
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        site = self.site
        range_header = self.headers.get("Range", "")
        site.requests.append((self.path, range_header))
        behavior, _, number = (site.plan.pop(0) if site.plan else "").partition(":")
        self.close_connection = True
        if behavior == "status":
            self.answer(int(number), b"", {})
            return
        body = site.files.get(self.path)
        if body is None:
            self.answer(404, b"", {})
            return
        if behavior == "html":
            self.answer(200, b"<html>log in</html>", {"Content-Type": "text/html; charset=utf-8"})
            return
        headers = {"ETag": site.etag} if site.etag else {}
        start = 0
        if range_header and behavior != "whole" and self.headers.get("If-Range", site.etag) == site.etag:
            start = int(range_header.removeprefix("bytes=").removesuffix("-"))
            if start >= len(body):
                self.answer(416, b"", {"Content-Range": f"bytes */{len(body)}"})
                return
            start = start + 3 if behavior == "shift" else start
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        if behavior in ("more", "short"):
            self.send_response(200)
            self.end_headers()
            self.push(body * 2 if behavior == "more" else body[: len(body) // 2])
            return
        cut = int(number) if behavior == "break" else None
        self.answer(206 if "Content-Range" in headers else 200, body[start:], headers, cut)

    def answer(self, status: int, body: bytes, headers: dict[str, str], cut: int | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.push(body if cut is None else body[:cut])

    def push(self, body: bytes) -> None:
        self.site.num_sent += len(body)
        try:
            self.wfile.write(body)
            self.wfile.flush()
        except OSError:  # the client closed the connection
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Do not log requests."""


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(http, "FIRST_PAUSE", 0.0)
    monkeypatch.delenv("TWELVEFOLD_MIRROR", raising=False)
    site = Site()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("SiteHandler", (Handler,), {"site": site}))
    site.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield site
    server.shutdown()
    thread.join()
    server.server_close()
