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


def to_api_error(error: TwelvefoldError) -> ApiError:
    """Return 413 for an image with too many pixels, 415 for another image error, and 422 for all else."""
    status = 413 if isinstance(error, TooManyPixelsError) else 415 if isinstance(error, ImageError) else 422
    return ApiError(status, str(error))


def error_response(
    status: int, message: str, request_id: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """Return the JSON response that all errors share."""
    body = {"error": ERROR_CODES.get(status, "error"), "what": message, "request_id": request_id}
    return JSONResponse(body, status, dict(headers or {}))


async def handle_http_error(request: Request, error: Exception) -> JSONResponse:
    """Answer an :class:`ApiError`, or an error of the framework: unknown path or method, a body it cannot parse."""
    if not isinstance(error, HTTPException):
        raise error
    message = error.detail
    if error.status_code == 404 and message == "Not Found":
        message = f"there is nothing at {request.url.path}; /docs lists all paths"
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "another method")
        message = f"{request.url.path} takes {allowed}, not {request.method}"
    return error_response(error.status_code, message, request.state.request_id, error.headers)


async def handle_twelvefold_error(request: Request, error: Exception) -> JSONResponse:
    """Answer an error of the checks in :mod:`twelvefold.serving`."""
    if not isinstance(error, TwelvefoldError):
        raise error
    api_error = to_api_error(error)
    return error_response(api_error.status_code, api_error.detail, request.state.request_id)


async def handle_validation_error(request: Request, error: Exception) -> JSONResponse:
    """Name every form field that is missing or invalid."""
    if not isinstance(error, RequestValidationError):
        raise error
    problems = [f"{'.'.join(str(part) for part in each['loc'][1:])}: {each['msg']}" for each in error.errors()]
    return error_response(422, "; ".join(problems), request.state.request_id)
