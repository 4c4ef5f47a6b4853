"""What every request has around it: an id, a line in the log, its place in the figures, and headers for browsers."""

from __future__ import annotations

import re
import secrets
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from twelvefold.server import errors, logs
from twelvefold.server.limits import ClientLeftError
from twelvefold.server.metrics import Metrics

REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
"""Ids that are taken from a client: such as can stand in a log and a header without quoting."""

HEADERS = {
    # Pages load what this server ships and nothing else; pictures may also come from the page's own memory.
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}

LEFT = 499
"""What logs and figures call the status of a request whose client left."""


class Frame:
    """ASGI middleware, the outermost."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status = time.monotonic(), 0
        asked_id = Headers(scope=scope).get("x-request-id", "")
        request_id = asked_id if REQUEST_ID.fullmatch(asked_id) else secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = request_id

        async def framed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request_id
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._app(scope, receive, framed)
        except ClientLeftError:
            status = status or LEFT
        except Exception:  # noqa: BLE001 - whatever it was: the client gets an answer, the log the traceback
            logs.say("unexpected error", level=40, exc_info=True, request_id=request_id, path=scope["path"])
            if not status:
                what = "something went wrong in the server; its log has this request's id"
                await errors.reply(500, what, request_id)(scope, receive, framed)
        self._record(scope, request_id, status, time.monotonic() - begun)

    def _record(self, scope: Scope, request_id: str, status: int, seconds: float) -> None:
        route = scope.get("route")
        endpoint = getattr(route, "path", "") or "other"  # not the path asked for: a stranger could make up millions
        self._metrics.requests.labels(endpoint, str(status)).inc()
        self._metrics.seconds.labels(endpoint).observe(seconds)
        logs.say(
            "request",
            request_id=request_id,
            client=scope["client"][0] if scope["client"] else "",
            method=scope["method"],
            path=scope["path"],
            status=status,
            seconds=round(seconds, 4),
            **scope["state"].get("said", {}),
        )
