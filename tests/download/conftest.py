"""A real HTTP server on this machine that misbehaves on demand."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from twelvefold.download import http


@dataclass
class Site:
    """What the server holds and how it behaves: ``plan`` has a behaviour for each request in turn, then "well".

    break:N after N bytes of the answer the line goes dead; status:N answers so; whole ignores Range; html sends a
    page; more sends twice the bytes and says no length; short says no length and stops halfway; shift answers 206
    from another place.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    plan: list[str] = field(default_factory=list)
    etag: str = '"one"'
    asked: list[tuple[str, str]] = field(default_factory=list)
    sent: int = 0
    address: str = ""


class Handler(BaseHTTPRequestHandler):
    site: Site
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        site = self.site
        asked = self.headers.get("Range", "")
        site.asked.append((self.path, asked))
        how, _, number = (site.plan.pop(0) if site.plan else "well").partition(":")
        self.close_connection = True
        if how == "status":
            self.answer(int(number), b"", {})
            return
        body = site.files.get(self.path)
        if body is None:
            self.answer(404, b"", {})
            return
        if how == "html":
            self.answer(200, b"<html>log in</html>", {"Content-Type": "text/html; charset=utf-8"})
            return
        marks = {"ETag": site.etag} if site.etag else {}
        start = 0
        if asked and how != "whole" and self.headers.get("If-Range", site.etag) == site.etag:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(body):
                self.answer(416, b"", {"Content-Range": f"bytes */{len(body)}"})
                return
            start = start + 3 if how == "shift" else start
            marks["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        if how in ("more", "short"):
            self.send_response(200)
            self.end_headers()
            self.push(body * 2 if how == "more" else body[: len(body) // 2])
            return
        cut = int(number) if how == "break" else None
        self.answer(206 if "Content-Range" in marks else 200, body[start:], marks, cut)

    def answer(self, status: int, body: bytes, headers: dict[str, str], cut: int | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.push(body if cut is None else body[:cut])

    def push(self, body: bytes) -> None:
        self.site.sent += len(body)
        try:
            self.wfile.write(body)
            self.wfile.flush()
        except OSError:  # the client has had enough
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(http, "FIRST_PAUSE", 0.0)
    monkeypatch.delenv("TWELVEFOLD_MIRROR", raising=False)
    site = Site()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Own", (Handler,), {"site": site}))
    site.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield site
    server.shutdown()
    thread.join()
    server.server_close()
