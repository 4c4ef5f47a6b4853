"""The door alone, without a model: rate, token, host, size, time and room, asked over ASGI."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from twelvefold.server.errors import Refusal
from twelvefold.server.limits import Limits, Rate, Room
from twelvefold.server.metrics import Metrics
from twelvefold.server.middleware import LEFT, Frame
from twelvefold.server.settings import Settings

App = Callable[[Scope, Receive, Send], Awaitable[None]]


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with what it was sent."""
    message = await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": message.get("body", b"")})


async def never(scope: Scope, receive: Receive, send: Send) -> None:
    await asyncio.Event().wait()


class Door:
    """A door of such settings before an application, and what came back from the last request."""

    def __init__(self, app: App = echo, **settings: Any) -> None:
        self.settings = Settings(**settings)
        self.metrics = Metrics()
        self.room = Room(self.settings.flight_bytes)
        self.app = Frame(Limits(app, self.settings, self.metrics, self.room), self.metrics)

    async def ask(
        self,
        *parts: bytes | None,
        method: str = "POST",
        path: str = "/v1/ask",
        client: str = "1.2.3.4",
        stalls: bool = False,
        **headers: str,
    ) -> tuple[int, bytes, dict[str, str]]:
        """``parts`` of the body; None: the client leaves. After the last part it waits; ``stalls``: for ever."""
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
                await asyncio.sleep(0.01)  # it is being answered by then
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
        given = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return sent[0]["status"], b"".join(message["body"] for message in sent[1:]), given


def test_a_body_comes_through_whole() -> None:
    assert asyncio.run(Door().ask(b"a", b"bc", b"d"))[:2] == (200, b"abcd")


def test_a_rate_is_each_clients_own() -> None:
    async def run() -> None:
        door = Door(rate=3)
        assert [(await door.ask(b"", client="a"))[0] for _ in range(4)] == [200, 200, 200, 429]
        assert (await door.ask(b"", client="b"))[0] == 200
        status, _, headers = await door.ask(b"", client="a")
        assert (status, headers["retry-after"]) == (429, "20")
        assert (await door.ask(b"", client="a", path="/health", method="GET"))[0] == 200

    asyncio.run(run())


def test_a_rate_is_regained_with_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("twelvefold.server.limits.time.monotonic", lambda: now[0])
    rate = Rate(2)
    rate.spend("a")
    rate.spend("a")
    with pytest.raises(Refusal):
        rate.spend("a")
    now[0] = 31.0
    rate.spend("a")


@pytest.mark.parametrize(
    ("host", "name", "status"),
    [
        ("127.0.0.1", "localhost:8000", 200),
        ("127.0.0.1", "[::1]:8000", 200),
        ("127.0.0.1", "evil.example", 421),  # a name that was made to point here
        ("0.0.0.0", "photos.example", 200),
    ],
)
def test_a_server_for_this_machine_answers_to_its_names_alone(host: str, name: str, status: int) -> None:
    assert asyncio.run(Door(host=host).ask(b"", host=name))[0] == status


def test_pages_of_other_sites_ask_in_vain() -> None:
    assert asyncio.run(Door().ask(b"", sec_fetch_site="cross-site"))[0] == 403
    assert asyncio.run(Door().ask(b"", sec_fetch_site="same-origin"))[0] == 200
    assert "access-control-allow-origin" not in asyncio.run(Door().ask(b"", origin="http://evil.example"))[2]


def test_a_body_is_refused_by_its_head_and_by_what_comes() -> None:
    async def run() -> None:
        door = Door(max_bytes=10)
        assert (await door.ask(b"x" * 5, content_length="11", expect="100-continue"))[0] == 413
        assert (await door.ask(b"x" * 6, b"x" * 6))[0] == 413
        assert (await door.ask(b"x" * 10))[0] == 200

    asyncio.run(run())


def test_a_body_that_does_not_come_is_408() -> None:
    door = Door(time_limit=0.05)
    assert asyncio.run(door.ask(b"all"))[0] == 200
    assert asyncio.run(door.ask(b"half", stalls=True, expect="100-continue"))[0] == 408


def test_more_requests_than_there_is_room_for_are_503() -> None:
    async def run() -> None:
        door = Door(never, requests=2)
        waiting = [asyncio.create_task(door.ask(b"x")) for _ in range(2)]
        await asyncio.sleep(0)
        status, body, headers = await door.ask(b"x")
        assert (status, headers["retry-after"]) == (503, "1")
        assert b"2 requests are under way" in body
        assert (await Door(flight_bytes=100).ask(b"x", content_length="101"))[0] == 503
        for one in waiting:
            one.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        door.app = Frame(Limits(echo, door.settings, door.metrics, door.room), door.metrics)
        assert (await door.ask(b"x"))[0] == 200
        assert door.room.free == door.settings.flight_bytes

    asyncio.run(run())


def test_work_for_a_client_that_left_is_cancelled() -> None:
    cancelled: list[str] = []

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(scope["path"])
            raise

    async def run() -> None:
        door = Door(slow)
        assert await door.ask(b"x", None) == (0, b"", {})
        assert cancelled == ["/v1/ask"]
        said = door.metrics.text().decode()
        assert f'twelvefold_requests_total{{endpoint="other",status="{LEFT}"}} 1.0' in said

    asyncio.run(run())


def test_an_unexpected_error_is_told_without_its_details() -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise KeyError("secret")

    status, body, headers = asyncio.run(Door(broken).ask(b"x"))
    assert status == 500
    assert b"secret" not in body
    assert headers["x-request-id"].encode() in body
