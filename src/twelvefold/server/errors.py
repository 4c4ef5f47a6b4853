"""Errors of the API: an HTTP status, a code for programs and a sentence for people."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from twelvefold.images import ImageError, TooManyPixelsError
from twelvefold.schema import TwelvefoldError

ERROR_CODES = {
    400: "bad_request",
    401: "unauthorised",
    403: "cross_site",
    404: "not_found",
    405: "method_not_allowed",
    408: "too_slow",
    413: "too_large",
    415: "not_a_picture",
    421: "unknown_host",
    422: "bad_value",
    429: "too_many_requests",
    500: "server_error",
    503: "overloaded",
    504: "time_limit",
}
"""The ``error`` of each status. Clients compare them, so they must not change."""

RETRY_SECONDS = 1
"""Retry-After of a 503: a full queue of 64 is answered in about that time (docs/serving.md)."""


class ApiError(HTTPException):
    """A refused request. ``message``: what failed and what to do, in a sentence."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, message, headers)


def overloaded_error(message: str) -> ApiError:
    """Return a 503 that asks the client to try again."""
    return ApiError(503, f"{message}; try again in a moment", {"Retry-After": str(RETRY_SECONDS)})


def error_response(
    status: int, message: str, request_id: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """Return the JSON response that all errors share."""
    text = message.encode(errors="backslashreplace").decode()  # half of a surrogate pair has no bytes in UTF-8
    body = {"error": ERROR_CODES.get(status, "error"), "what": text, "request_id": request_id}
    return JSONResponse(body, status, dict(headers or {}))


HANDLED = (HTTPException, RequestValidationError, TwelvefoldError)
"""Errors of a request: refused by this server, of the framework (such as an unknown path), or of the checks in
:mod:`twelvefold.serving`."""


async def handle_error(request: Request, error: Exception) -> JSONResponse:
    """Answer an error that is one of :data:`HANDLED`."""
    status, message, headers = 422, str(error), None
    if isinstance(error, HTTPException):
        status, message, headers = error.status_code, error.detail, error.headers
        if status == 404 and message == "Not Found":
            message = f"there is nothing at {request.url.path}; /docs lists all paths"
        if status == 405:
            allowed = (headers or {}).get("Allow", "another method")
            message = f"{request.url.path} takes {allowed}, not {request.method}"
    elif isinstance(error, RequestValidationError):  # names every form field that is missing or invalid
        problems = [f"{'.'.join(str(part) for part in each['loc'][1:])}: {each['msg']}" for each in error.errors()]
        message = "; ".join(problems)
    elif isinstance(error, ImageError):
        status = 413 if isinstance(error, TooManyPixelsError) else 415
    return error_response(status, message, request.state.request_id, headers)
