"""Limits on requests: host, token, rate, size, time and concurrency, checked before anything is parsed."""

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
from twelvefold.server.errors import ApiError, overloaded_error
from twelvefold.server.metrics import Metrics
from twelvefold.server.settings import Settings

MAX_CLIENTS = 10_000
"""Clients whose rate is remembered: about 2 MB."""
DRAIN_SECONDS = 2.0
"""Time to read and discard the rest of a refused body, so that its sender can read the response."""
OPEN_PATHS = ("/v1/samples",)
"""Paths under ``/v1`` that need no token: images that ship with the package, which the page shows as plain images."""


class ClientLeftError(Exception):
    """The client closed the connection before its answer."""


class Budget:
    """A number of bytes, requests or other units that all requests share.

    ``message``: of the error when too few are free, with ``{used}`` for the number in use.
    """

    def __init__(self, limit: int, message: str) -> None:
        self._limit, self._message = limit, message
        self.used = 0

    @contextmanager
    def reserve(self, amount: int = 1) -> Iterator[None]:
        """Reserve an amount while the block runs.

        Raises:
            ApiError: 503, less is free.
        """
        if self.used + amount > self._limit:
            raise overloaded_error(self._message.format(used=self.used))
        self.used += amount
        try:
            yield
        finally:
            self.used -= amount


def byte_budget(settings: Settings) -> Budget:
    """Return the memory for the bodies and decoded images of all requests."""
    return Budget(settings.max_inflight_bytes, "the requests in progress use all the memory for images")


class RateLimiter:
    """A token bucket for each client: ``per_minute`` requests a minute, in bursts of up to as many."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._clients: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens left, and when

    def count_request(self, client: str) -> None:
        """Count one request of a client.

        Raises:
            ApiError: 429, with the seconds until the next request is accepted.
        """
        if not self._per_minute:
            return
        now = time.monotonic()
        left, then = self._clients.get(client, (float(self._per_minute), now))
        left = min(self._per_minute, left + (now - then) * self._per_minute / 60)
        self._clients[client] = (left - 1 if left >= 1 else left, now)
        self._clients.move_to_end(client)
        if len(self._clients) > MAX_CLIENTS:
            self._clients.popitem(last=False)
        if left < 1:
            retry = {"Retry-After": str(int((1 - left) * 60 / self._per_minute) + 1)}
            raise ApiError(429, f"a client may send {self._per_minute} requests a minute; wait and retry", retry)


class LimitsMiddleware:
    """ASGI middleware that checks a request's head, reads its body, and cancels work for clients that have left."""

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics, budget: Budget) -> None:
        self._app, self._settings, self._metrics, self._budget = app, settings, metrics, budget
        self._rate_limiter = RateLimiter(settings.rate_limit)
        self._in_flight = Budget(settings.max_requests, "{used} requests are in progress")
        metrics.in_flight.set_function(lambda: self._in_flight.used)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers, body_complete = Headers(scope=scope), False

        async def receive_body() -> Message:
            nonlocal body_complete
            message = await receive()
            body_complete = not message.get("more_body", False)
            return message

        try:
            length = self._check_head(scope, headers)
            if scope["method"] not in ("POST", "PUT", "PATCH"):
                await self._app(scope, receive, send)
                return
            with (
                self._in_flight.reserve(),
                self._budget.reserve(self._settings.max_bytes if length is None else length),
            ):
                body = await self._read_body(receive_body)
                await self._call_app(scope, body, receive, send)
        except ApiError as error:
            # A client that expects 100-continue sends no body until it is asked to.
            if not body_complete and "100-continue" not in headers.get("expect", ""):
                await self._drain(receive_body)
            request_id = scope["state"]["request_id"]
            response = errors.error_response(error.status_code, error.detail, request_id, error.headers)
            await response(scope, receive, send)

    def _check_head(self, scope: Scope, headers: Headers) -> int | None:
        """Check what the head alone decides, and return the length of the body, None if unknown.

        Raises:
            ApiError: 401, 403, 413, 421 or 429.
        """
        settings, path = self._settings, scope["path"]
        host = headers.get("host", "").rsplit("]", 1)
        name = host[0].lstrip("[") if len(host) > 1 else host[0].split(":")[0]
        if settings.accepted_hosts and name not in settings.accepted_hosts:
            accepted = ", ".join(settings.accepted_hosts)
            raise ApiError(
                421, f"this server is called {accepted}, not {name[:100]!r}; the setting `allowed_hosts` adds names"
            )
        if scope["method"] == "POST" and headers.get("sec-fetch-site") == "cross-site":
            raise ApiError(403, "pages of other sites may not send requests to this server")
        protected = path == "/metrics" or (path.startswith("/v1/") and not path.startswith(OPEN_PATHS))
        if settings.token and protected and not _is_equal(headers.get("authorization", ""), f"Bearer {settings.token}"):
            scheme = {"WWW-Authenticate": "Bearer"}
            raise ApiError(401, "this server needs its token in a header `Authorization: Bearer TOKEN`", scheme)
        if path.startswith("/v1/") and not path.startswith(OPEN_PATHS):
            self._rate_limiter.count_request(scope["client"][0] if scope["client"] else "")
        length = headers.get("content-length")
        if length is not None and int(length) > settings.max_bytes:  # uvicorn accepts only digits here
            raise self._too_large(int(length))
        return None if length is None else int(length)

    def _too_large(self, num_bytes: int) -> ApiError:
        return ApiError(413, f"a request has at most {self._settings.max_bytes:,} bytes, got {num_bytes:,} or more")

    async def _read_body(self, receive: Receive) -> bytes:
        """Read the whole body.

        Raises:
            ApiError: 408 if it takes too long, 413 if it is too long.
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
            raise ApiError(408, f"the request did not arrive within {seconds:g} s", {"Connection": "close"}) from None

    async def _call_app(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        """Run the application, and cancel it when the client leaves first.

        Raises:
            ClientLeftError: the client left.
        """
        parts = [{"type": "http.request", "body": body, "more_body": False}]
        disconnected = asyncio.create_task(_wait_for_disconnect(receive))
        response_complete = False

        async def receive_from_memory() -> Message:
            if parts:
                return parts.pop()
            await asyncio.wait([disconnected])
            return {"type": "http.disconnect"}

        async def send_and_watch(message: Message) -> None:
            nonlocal response_complete
            await send(message)
            response_complete = message["type"] == "http.response.body" and not message.get("more_body", False)

        app = asyncio.ensure_future(self._app(scope, receive_from_memory, send_and_watch))
        del body  # the application holds the only reference
        try:
            await asyncio.wait([app, disconnected], return_when=asyncio.FIRST_COMPLETED)
            if response_complete:
                await app
            elif not app.done():
                app.cancel()
                with suppress(asyncio.CancelledError):
                    await app
                raise ClientLeftError
            app.result()
        finally:
            disconnected.cancel()
            app.cancel()

    async def _drain(self, receive: Receive) -> None:
        size = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS):
                while size <= self._settings.max_bytes:
                    message = await receive()
                    size += len(message.get("body", b""))
                    if not message.get("more_body", False):
                        return


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _is_equal(value: str, expected: str) -> bool:
    """Compare in constant time, so that a token cannot be guessed letter by letter."""
    return hmac.compare_digest(value.encode(), expected.encode())
