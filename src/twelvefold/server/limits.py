"""The door of the server: who may come in, how much at once, how large and how slow. Nothing is parsed before it."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from twelvefold.server import errors
from twelvefold.server.errors import Refusal, full
from twelvefold.server.metrics import Metrics
from twelvefold.server.settings import Settings

CLIENTS = 10_000
"""Clients whose rate is remembered: about 2 MB."""
DRAIN_SECONDS = 2.0
"""How long the rest of a refused body is read and thrown away, so that its sender gets to read the refusal."""
OPEN_PATHS = ("/v1/samples",)
"""Under ``/v1`` and yet open to all: pictures that ship with the package, which a page shows as plain images."""


class ClientLeftError(Exception):
    """The client closed the connection before its answer; nobody reads what follows."""


class Room:
    """A number of bytes that all requests share."""

    def __init__(self, most: int) -> None:
        self.free = most

    @contextmanager
    def take(self, amount: int) -> Iterator[None]:
        """Hold so many bytes while the block runs.

        Raises:
            Refusal: 503, there are not so many left.
        """
        if amount > self.free:
            raise full("too much is being read and decoded at once")
        self.free -= amount
        try:
            yield
        finally:
            self.free += amount


class Rate:
    """So many requests a minute from each client, in bursts of up to as many (a token bucket)."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._clients: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def spend(self, client: str) -> None:
        """Count one request.

        Raises:
            Refusal: 429, with the seconds until the next one is let in.
        """
        if not self._per_minute:
            return
        now = time.monotonic()
        left, then = self._clients.get(client, (float(self._per_minute), now))
        left = min(self._per_minute, left + (now - then) * self._per_minute / 60)
        self._clients[client] = (left - 1 if left >= 1 else left, now)
        self._clients.move_to_end(client)
        if len(self._clients) > CLIENTS:
            self._clients.popitem(last=False)
        if left < 1:
            wait = {"Retry-After": str(int((1 - left) * 60 / self._per_minute) + 1)}
            raise Refusal(429, f"at most {self._per_minute} requests a minute from one client; wait a little", wait)


class Limits:
    """ASGI middleware: checks a request's head, reads its body, and stops work for clients that have left."""

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics, room: Room) -> None:
        self._app, self._settings, self._metrics, self._room = app, settings, metrics, room
        self._rate = Rate(settings.rate)
        self._in_flight = 0
        metrics.in_flight.set_function(lambda: self._in_flight)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers, over = Headers(scope=scope), False

        async def arriving() -> Message:
            nonlocal over
            message = await receive()
            over = not message.get("more_body", False)
            return message

        try:
            length = self._admit(scope, headers)
            if scope["method"] not in ("POST", "PUT", "PATCH"):
                await self._app(scope, receive, send)
                return
            with self._flight(), self._room.take(self._settings.max_bytes if length is None else length):
                body = await self._body(arriving)
                await self._answer(scope, body, receive, send)
        except Refusal as refusal:
            if not over and "100-continue" not in headers.get("expect", ""):  # which keeps the body back until asked
                await self._drain(arriving)
            request_id = scope["state"]["request_id"]
            said = errors.reply(refusal.status_code, refusal.detail, request_id, refusal.headers)
            await said(scope, receive, send)

    def _admit(self, scope: Scope, headers: Headers) -> int | None:
        """What can be said from the head alone; the length of the body, None where it isn't told.

        Raises:
            Refusal: 401, 403, 413, 421 or 429.
        """
        settings, path = self._settings, scope["path"]
        host = headers.get("host", "").rsplit("]", 1)
        name = host[0].lstrip("[") if len(host) > 1 else host[0].split(":")[0]
        if settings.known_hosts and name not in settings.known_hosts:
            known = ", ".join(settings.known_hosts)
            raise Refusal(421, f"this server answers as {known}, not as {name[:100]!r}; the setting `hosts` adds names")
        if scope["method"] == "POST" and headers.get("sec-fetch-site") == "cross-site":
            raise Refusal(403, "pages of other sites may not ask this server")
        protected = path == "/metrics" or (path.startswith("/v1/") and not path.startswith(OPEN_PATHS))
        if settings.token and protected and not _is(headers.get("authorization", ""), f"Bearer {settings.token}"):
            wanted = {"WWW-Authenticate": "Bearer"}
            raise Refusal(401, "this server wants its token: a header `Authorization: Bearer TOKEN`", wanted)
        if path.startswith("/v1/") and not path.startswith(OPEN_PATHS):
            self._rate.spend(scope["client"][0] if scope["client"] else "")
        length = headers.get("content-length")
        if length is not None and int(length) > settings.max_bytes:  # the server let through digits only
            raise self._too_large(int(length))
        return None if length is None else int(length)

    def _too_large(self, got: int) -> Refusal:
        return Refusal(413, f"a request has at most {self._settings.max_bytes:,} bytes, got {got:,} or more")

    @contextmanager
    def _flight(self) -> Iterator[None]:
        if self._in_flight >= self._settings.requests:
            raise full(f"{self._in_flight} requests are under way")
        self._in_flight += 1
        try:
            yield
        finally:
            self._in_flight -= 1

    async def _body(self, receive: Receive) -> bytes:
        """The whole body.

        Raises:
            Refusal: 408 where it takes too long, 413 where it is longer than it said or than is read.
            ClientLeftError: the client left before its end.
        """
        parts, size = [], 0
        try:
            async with asyncio.timeout(self._settings.time_limit):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientLeftError
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > self._settings.max_bytes:
                        raise self._too_large(size)
                    if not message.get("more_body", False):
                        return b"".join(parts)
        except TimeoutError:
            seconds = self._settings.time_limit
            raise Refusal(408, f"the request did not arrive within {seconds:g} s", {"Connection": "close"}) from None

    async def _answer(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        """Have the application answer; cancel it when the client leaves first.

        Raises:
            ClientLeftError: it did.
        """
        parts = [{"type": "http.request", "body": body, "more_body": False}]
        left = asyncio.create_task(_until_left(receive))
        whole = False

        async def given() -> Message:
            if parts:
                return parts.pop()
            await asyncio.wait([left])
            return {"type": "http.disconnect"}

        async def sent(message: Message) -> None:
            nonlocal whole
            await send(message)
            whole = message["type"] == "http.response.body" and not message.get("more_body", False)

        answering = asyncio.ensure_future(self._app(scope, given, sent))
        del body
        try:
            await asyncio.wait([answering, left], return_when=asyncio.FIRST_COMPLETED)
            if whole:
                await answering
            elif not answering.done():
                answering.cancel()
                with suppress(asyncio.CancelledError):
                    await answering
                raise ClientLeftError
            answering.result()
        finally:
            left.cancel()
            answering.cancel()

    async def _drain(self, receive: Receive) -> None:
        size = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS):
                while size <= self._settings.max_bytes:
                    message = await receive()
                    size += len(message.get("body", b""))
                    if not message.get("more_body", False):
                        return


async def _until_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _is(given: str, expected: str) -> bool:
    """Equality in constant time, so that a token can't be guessed letter by letter."""
    return hmac.compare_digest(given.encode(), expected.encode())
