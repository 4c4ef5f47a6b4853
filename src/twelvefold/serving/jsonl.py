"""Many questions at once: lines of JSON in, a line of answers out for each, in their order. Paper: section 2.1."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from twelvefold.schema import Box, TwelvefoldError
from twelvefold.serving.images import picture
from twelvefold.serving.request import Request, candidates, check, dialogue_text

if TYPE_CHECKING:
    from twelvefold.serving.predictor import Predictor

AT_ONCE = 64
"""Lines answered together: a batch of the network's (``answering.PAIRS_AT_ONCE``)."""


class Line(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A question. ``images``: files, relative to the lines' own folder: one, two of ``nlvr2``, or those to search.
    ``text`` or ``dialogue``. ``boxes``: candidates to point at. ``id``: anything that names it, given back."""

    task: str
    images: tuple[str, ...]
    text: str = ""
    dialogue: tuple[tuple[str, str], ...] = ()
    boxes: tuple[Box, ...] = ()
    top: int = 5
    explain: bool = False
    id: Any = None


def read(file: Path) -> list[Line | TwelvefoldError]:
    """Every line of a file that isn't blank, or what is wrong with it.

    Raises:
        TwelvefoldError: the file can't be read.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TwelvefoldError(f"can't read {file}: {error}") from error
    found: list[Line | TwelvefoldError] = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                found.append(msgspec.json.decode(line, type=Line))
            except msgspec.MsgspecError as error:
                found.append(TwelvefoldError(f"{file}, line {number}: {error}"))
    return found


def answer(model: Predictor, lines: Sequence[Line | TwelvefoldError], folder: Path) -> Iterator[dict[str, Any]]:
    """For each line its answers as ``Prediction.to_dict``, or ``error``, with its ``id`` where it has one.

    ``folder``: what the files of pictures are relative to.
    """
    for start in range(0, len(lines), AT_ONCE):
        some = lines[start : start + AT_ONCE]
        requests = [_request(model, line, folder) for line in some]
        answers = iter(model.answer([one for one in requests if isinstance(one, Request)]))
        for line, request in zip(some, requests, strict=True):
            said = {"id": line.id} if isinstance(line, Line) and line.id is not None else {}
            if isinstance(request, Request):
                yield said | next(answers).to_dict()
            else:
                yield said | {"error": str(request)}


def _request(model: Predictor, line: Line | TwelvefoldError, folder: Path) -> Request | TwelvefoldError:
    """The line as a request that can be answered, or what is wrong with it."""
    if isinstance(line, TwelvefoldError):
        return line
    try:
        spec = model.spec(line.task)
        pictures = tuple(picture(folder / name) for name in line.images)
        text = dialogue_text(line.dialogue) if line.dialogue else line.text
        request = Request(line.task, pictures, text, line.boxes, line.top, line.explain)
        check(request, spec)
        candidates(request)
    except TwelvefoldError as error:
        return error
    return request
