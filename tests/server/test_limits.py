"""The limits middleware without a model: rate, token, host, size, time and concurrency, over ASGI."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from twelvefold.server.errors import ApiError
from twelvefold.server.limits import LimitsMiddleware, RateLimiter, byte_budget
from twelvefold.server.metrics import Metrics
from twelvefold.server.middleware import CLIENT_LEFT, RequestMiddleware
from twelvefold.server.settings import Settings

App = Callable[[Scope, Receive, Send], Awaitable[None]]


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Return the body."""
    message = await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": message.get("body", b"")})


async def never(scope: Scope, receive: Receive, send: Send) -> None:
    await asyncio.Event().wait()


class LimitedApp:
    """An application behind the middleware with these settings."""

    def __init__(self, app: App = echo, **settings: Any) -> None:
        self.settings = Settings(**settings)
        self.metrics = Metrics()
        self.budget = byte_budget(self.settings)
        self.app = RequestMiddleware(LimitsMiddleware(app, self.settings, self.metrics, self.budget), self.metrics)

    async def post(
        self,
        *parts: bytes | None,
        method: str = "POST",
        path: str = "/v1/ask",
        client: str = "1.2.3.4",
        stalls: bool = False,
        **headers: str,
    ) -> tuple[int, bytes, dict[str, str]]:
        """Send the body in ``parts``; None: the client leaves. ``stalls``: the last part never comes."""
        names = {"host": "localhost", **{name.replace("_", "-"): value for name, value in headers.items()}}
        last = sum(part is not None for part in parts) - 1
        waiting: list[Message] = [
            {"type": "http.disconnect"}
            if part is None
            else {"type": "http.request", "body": part, "more_body": i < last or stalls}
            for i, part in enumerate(parts)
        ]
        sent: list[Message] = []

        async def receive() -> Message:
            if not waiting:
                await asyncio.Event().wait()
            message = waiting.pop(0)
            if message["type"] == "http.disconnect":
                await asyncio.sleep(0.01)  # the application is running by then
            return message

        async def send(message: Message) -> None:
            sent.append(message)

        raw = [(name.encode(), value.encode()) for name, value in names.items()]
        scope: Scope = {
            "type": "http",
            "method": method,
            "path": path,
            "headers": raw,
            "client": (client, 1),
            "state": {},
        }
        await self.app(scope, receive, send)
        if not sent:
            return 0, b"", {}
        response_headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return sent[0]["status"], b"".join(message["body"] for message in sent[1:]), response_headers


def test_a_body_arrives_complete() -> None:
    assert asyncio.run(LimitedApp().post(b"a", b"bc", b"d"))[:2] == (200, b"abcd")


def test_each_client_has_its_own_rate_limit() -> None:
    async def run() -> None:
        app = LimitedApp(rate_limit=3)
        assert [(await app.post(b"", client="a"))[0] for _ in range(4)] == [200, 200, 200, 429]
        assert (await app.post(b"", client="b"))[0] == 200
        status, _, headers = await app.post(b"", client="a")
        assert (status, headers["retry-after"]) == (429, "20")
        assert (await app.post(b"", client="a", path="/health", method="GET"))[0] == 200

    asyncio.run(run())


def test_the_rate_limit_recovers_with_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("twelvefold.server.limits.time.monotonic", lambda: now[0])
    rate_limiter = RateLimiter(2)
    rate_limiter.count_request("a")
    rate_limiter.count_request("a")
    with pytest.raises(ApiError):
        rate_limiter.count_request("a")
    now[0] = 31.0
    rate_limiter.count_request("a")


@pytest.mark.parametrize(
    ("host", "name", "status"),
    [
        ("127.0.0.1", "localhost:8000", 200),
        ("127.0.0.1", "[::1]:8000", 200),
        ("127.0.0.1", "evil.example", 421),  # a name that an attacker points at this server
        ("0.0.0.0", "photos.example", 200),
    ],
)
def test_a_local_server_accepts_only_local_host_names(host: str, name: str, status: int) -> None:
    assert asyncio.run(LimitedApp(host=host).post(b"", host=name))[0] == status


def test_cross_site_posts_are_refused() -> None:
    assert asyncio.run(LimitedApp().post(b"", sec_fetch_site="cross-site"))[0] == 403
    assert asyncio.run(LimitedApp().post(b"", sec_fetch_site="same-origin"))[0] == 200
    assert "access-control-allow-origin" not in asyncio.run(LimitedApp().post(b"", origin="http://evil.example"))[2]


def test_a_large_body_is_refused_by_its_length_and_while_reading() -> None:
    async def run() -> None:
        app = LimitedApp(max_bytes=10)
        assert (await app.post(b"x" * 5, content_length="11", expect="100-continue"))[0] == 413
        assert (await app.post(b"x" * 6, b"x" * 6))[0] == 413
        assert (await app.post(b"x" * 10))[0] == 200

    asyncio.run(run())


def test_an_incomplete_body_is_408() -> None:
    app = LimitedApp(time_limit=0.05)
    assert asyncio.run(app.post(b"all"))[0] == 200
    assert asyncio.run(app.post(b"half", stalls=True, expect="100-continue"))[0] == 408


def test_too_many_requests_at_once_are_503() -> None:
    async def run() -> None:
        app = LimitedApp(never, max_requests=2)
        waiting = [asyncio.create_task(app.post(b"x")) for _ in range(2)]
        await asyncio.sleep(0)
        status, body, headers = await app.post(b"x")
        assert (status, headers["retry-after"]) == (503, "1")
        assert b"2 requests are in progress" in body
        assert (await LimitedApp(max_inflight_bytes=100).post(b"x", content_length="101"))[0] == 503
        for request in waiting:
            request.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        app.app = RequestMiddleware(LimitsMiddleware(echo, app.settings, app.metrics, app.budget), app.metrics)
        assert (await app.post(b"x"))[0] == 200
        assert app.budget.used == 0

    asyncio.run(run())


def test_work_is_canceled_when_the_client_leaves() -> None:
    canceled: list[str] = []

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            canceled.append(scope["path"])
            raise

    async def run() -> None:
        app = LimitedApp(slow)
        assert await app.post(b"x", None) == (0, b"", {})
        assert canceled == ["/v1/ask"]
        text = app.metrics.text().decode()
        assert f'twelvefold_requests_total{{endpoint="other",status="{CLIENT_LEFT}"}} 1.0' in text

    asyncio.run(run())


def test_an_unexpected_error_does_not_leak_details() -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise KeyError("secret")

    status, body, headers = asyncio.run(LimitedApp(broken).post(b"x"))
    assert status == 500
    assert b"secret" not in body
    assert headers["x-request-id"].encode() in body
