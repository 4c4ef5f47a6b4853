"""The outermost middleware: request ids, logs, metrics, security headers, and a response to unexpected errors."""

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
"""Request ids accepted from clients: they need no quoting in logs and headers."""

HEADERS = {
    # A page may load what this server ships and nothing else; images may also come from the page's own memory.
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}

CLIENT_LEFT = 499
"""The status in logs and metrics of a request whose client left before its answer."""


class RequestMiddleware:
    """ASGI middleware around everything else."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status = time.monotonic(), 0
        client_id = Headers(scope=scope).get("x-request-id", "")
        request_id = client_id if REQUEST_ID.fullmatch(client_id) else secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request_id
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except ClientLeftError:
            status = status or CLIENT_LEFT
        except Exception:  # noqa: BLE001 - any error gets a response for the client and a traceback in the log
            logs.log_event("unexpected error", level=40, exc_info=True, request_id=request_id, path=scope["path"])
            if not status:
                message = "the server failed unexpectedly; its log has the traceback under this request's id"
                await errors.error_response(500, message, request_id)(scope, receive, send_with_headers)
        self._record(scope, request_id, status, time.monotonic() - start)

    def _record(self, scope: Scope, request_id: str, status: int, seconds: float) -> None:
        """Count and log a finished request."""
        route = scope.get("route")
        endpoint = getattr(route, "path", "") or "other"  # not the requested path: clients could invent millions
        self._metrics.requests.labels(endpoint, str(status)).inc()
        self._metrics.seconds.labels(endpoint).observe(seconds)
        logs.log_event(
            "request",
            request_id=request_id,
            client=scope["client"][0] if scope["client"] else "",
            method=scope["method"],
            path=scope["path"],
            status=status,
            seconds=round(seconds, 4),
            **scope["state"].get("log_fields", {}),
        )
