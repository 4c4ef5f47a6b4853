"""Answer a file of requests: one JSON object a line, with a line of answers for each, in order. Paper: section 2.1."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from twelvefold.images import URL_START
from twelvefold.parsing.file_kind import check_file_kind
from twelvefold.parsing.json_text import JsonError, decode_json, describe_error
from twelvefold.parsing.text import iter_lines
from twelvefold.schema import TwelvefoldError, did_you_mean
from twelvefold.serving.box_inputs import BoxFormat, read_boxes, split_boxes
from twelvefold.serving.dialogue import dialogue_text
from twelvefold.serving.inference import BATCH_PAIRS
from twelvefold.serving.predictor import Predictor
from twelvefold.serving.request import DEFAULT_TOP, Request, check_request, open_image
from twelvefold.serving.samples import PREFIX

MAX_REQUEST_BYTES = 1 << 20
"""Longest line of a file of requests."""


class RequestLine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One request.

    images: files, relative to the folder of the request file, or ``sample:NAME``: one, two for ``nlvr2``, or those to
    search. text or dialogue: the question. texts: the texts to choose from. boxes: candidate boxes, in ``box_format``.
    id: any JSON value, returned with the answers.
    """

    task: str
    images: tuple[str, ...]
    text: str = ""
    dialogue: list[Any] | str | None = None
    texts: tuple[str, ...] = ()
    boxes: list[Any] | None = None
    box_format: BoxFormat = "xyxy"
    top: int = DEFAULT_TOP
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
                if line.strip() or len(line) > MAX_REQUEST_BYTES:
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
        request = decode_json(line, RequestLine)
        msgspec.json.encode(request)  # half of a surrogate pair could not be written with the answers
    except JsonError as error:
        unknown = re.search(r"unknown field `(.*)`$", str(error))
        close = did_you_mean(unknown[1], RequestLine.__struct_fields__) if unknown else ""
        return TwelvefoldError(f"{location}: {describe_error(error, line)}{close}")
    return request


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
        if line.dialogue is not None and line.text:
            raise TwelvefoldError("a request has a `text` or a `dialogue`, got both")
        text = line.text if line.dialogue is None else dialogue_text(line.dialogue)
        images = tuple(open_image(_path(folder, name), f"images[{i}]") for i, name in enumerate(line.images))
        boxes = None if line.boxes is None else split_boxes(line.boxes, None)[0]
        boxes_px = read_boxes(boxes, images[0], line.box_format) if boxes and images else ()
        request = Request(line.task, images, text, boxes_px, line.top, line.explain, line.texts)
        check_request(request, spec)
    except TwelvefoldError as error:
        return error
    return request


def _path(folder: Path, name: str) -> Path | str:
    """Return where an image of a request is: a sample, or a file relative to the folder of the request file."""
    return name if name.startswith((PREFIX, "~")) or URL_START.match(name) or not name.strip() else folder / name
