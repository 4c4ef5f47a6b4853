"""Answer a file of requests: one JSON object a line, with a line of answers for each, in order. Paper: section 2.1."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from twelvefold.images import load_image
from twelvefold.parsing.file_kind import check_file_kind
from twelvefold.parsing.json_text import JsonError, decode_json, describe_error
from twelvefold.parsing.text import iter_lines
from twelvefold.schema import Box, TwelvefoldError
from twelvefold.serving.inference import BATCH_PAIRS
from twelvefold.serving.predictor import Predictor
from twelvefold.serving.request import Request, check_request, clip_boxes, dialogue_text

MAX_REQUEST_BYTES = 1 << 20
"""Longest line of a file of requests."""


class RequestLine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One request.

    images: files, relative to the folder of the request file: one, two for ``nlvr2``, or those to search. text or
    dialogue: the question. texts: the texts to choose from. boxes: candidate boxes. id: any JSON value, returned with
    the answers.
    """

    task: str
    images: tuple[str, ...]
    text: str = ""
    dialogue: tuple[tuple[str, str], ...] = ()
    texts: tuple[str, ...] = ()
    boxes: tuple[Box, ...] = ()
    top: int = 5
    explain: bool = False
    id: Any = None


def read_requests(file: Path) -> list[RequestLine | TwelvefoldError]:
    """Return every line of a file that is not blank, or the error of a line that cannot be parsed.

    Raises:
        TwelvefoldError: the file cannot be read.
    """
    parsed: list[RequestLine | TwelvefoldError] = []
    try:
        check_file_kind(file)
        with file.open("rb") as stream:
            for number, line in enumerate(iter_lines(stream, max_bytes=MAX_REQUEST_BYTES), 1):
                if line.strip():
                    parsed.append(_parse_line(line, f"{file}, line {number}"))
    except OSError as error:
        raise TwelvefoldError(f"cannot read {file}: {error.strerror}") from error
    except UnicodeError as error:
        raise TwelvefoldError(f"{file} is not text in UTF-8 ({error}); save it as UTF-8") from error
    return parsed


def _parse_line(line: bytes, location: str) -> RequestLine | TwelvefoldError:
    if len(line) > MAX_REQUEST_BYTES:
        return TwelvefoldError(f"{location}: expected at most {MAX_REQUEST_BYTES:,} bytes in a request")
    try:
        return decode_json(line, RequestLine)
    except JsonError as error:
        return TwelvefoldError(f"{location}: {describe_error(error, line)}")


def answer_lines(
    model: Predictor, lines: Sequence[RequestLine | TwelvefoldError], folder: Path
) -> Iterator[dict[str, Any]]:
    """Yield for each line the answers as ``Prediction.to_dict``, or ``error``, with the line's ``id`` if it has one.

    ``folder``: image files are relative to it.
    """
    for start in range(0, len(lines), BATCH_PAIRS):
        block = lines[start : start + BATCH_PAIRS]
        requests = [_make_request(model, line, folder) for line in block]
        answers = iter(model.answer([request for request in requests if isinstance(request, Request)]))
        for line, request in zip(block, requests, strict=True):
            id_ = {"id": line.id} if isinstance(line, RequestLine) and line.id is not None else {}
            if isinstance(request, Request):
                yield id_ | next(answers).to_dict()
            else:
                yield id_ | {"error": str(request)}


def _make_request(model: Predictor, line: RequestLine | TwelvefoldError, folder: Path) -> Request | TwelvefoldError:
    """Return a valid request, or the error of the line."""
    if isinstance(line, TwelvefoldError):
        return line
    try:
        spec = model.task_spec(line.task)
        images = tuple(load_image(folder / name) for name in line.images)
        text = dialogue_text(line.dialogue) if line.dialogue else line.text
        request = Request(line.task, images, text, line.boxes, line.top, line.explain, line.texts)
        check_request(request, spec)
        clip_boxes(request)
    except TwelvefoldError as error:
        return error
    return request
