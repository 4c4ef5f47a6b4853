"""What a client is told when something is refused: a status, a word for programs, a sentence for people."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from twelvefold.images import ImageError, TooManyPixelsError
from twelvefold.schema import TwelvefoldError

WORDS = {
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
"""The ``error`` of each status."""

RETRY_SECONDS = 1
"""What Retry-After says when the server is full: its queue of 64 is through in about that time (docs/serving.md)."""


class Refusal(HTTPException):
    """A request that is not answered. ``what``: why, and what to do, in a sentence."""

    def __init__(self, status: int, what: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, what, headers)


def full(what: str) -> Refusal:
    """A 503: there is no room now; come back soon."""
    return Refusal(503, f"{what}; try again in a moment", {"Retry-After": str(RETRY_SECONDS)})


def refusal_of(error: TwelvefoldError) -> Refusal:
    """Bad input, by what is wrong with it: a picture of too many pixels, no picture, or another value."""
    status = 413 if isinstance(error, TooManyPixelsError) else 415 if isinstance(error, ImageError) else 422
    return Refusal(status, str(error))


def reply(status: int, what: str, request_id: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The one shape of errors."""
    body = {"error": WORDS.get(status, "error"), "what": what, "request_id": request_id}
    return JSONResponse(body, status, dict(headers or {}))


async def on_http(request: Request, error: Exception) -> JSONResponse:
    """Refusals of ours, and those of the framework: unknown paths, other methods, bodies that can't be parsed."""
    if not isinstance(error, HTTPException):
        raise error
    what = error.detail
    if error.status_code == 404 and what == "Not Found":
        what = f"there is nothing at {request.url.path}; /docs says what there is"
    if error.status_code == 405:
        what = f"{request.url.path} takes {(error.headers or {}).get('Allow', 'another method')}, not {request.method}"
    return reply(error.status_code, what, request.state.request_id, error.headers)


async def on_bad_input(request: Request, error: Exception) -> JSONResponse:
    """What the model's own checks refuse."""
    if not isinstance(error, TwelvefoldError):
        raise error
    refusal = refusal_of(error)
    return reply(refusal.status_code, refusal.detail, request.state.request_id)


async def on_bad_form(request: Request, error: Exception) -> JSONResponse:
    """Fields that are missing or of a wrong kind, each named."""
    if not isinstance(error, RequestValidationError):
        raise error
    problems = [f"{'.'.join(str(part) for part in one['loc'][1:])}: {one['msg']}" for one in error.errors()]
    return reply(422, "; ".join(problems), request.state.request_id)
