"""Predictions as servers and publishers' scorers read them: one form for each of the twelve. Paper: section 4, Table 2.

What is known of every form, and what is not, stands in ``docs/submissions.md``. VQA, GQA, NLVR2 and Visual7W have a
server or a scorer of their own; the refer toolkit's users score boxes by sentence; SNLI-VE, GuessWhat and retrieval
have no official file, so the form is ours. ``original`` is what the original project's code writes, where it differs
and can be told from predictions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np

from twelvefold import boxes
from twelvefold.datasets import NAMES, guesswhat, visual7w
from twelvefold.datasets.nlvr2 import TASK as NLVR2
from twelvefold.datasets.reading.records import BadRecords
from twelvefold.datasets.snli_ve import TASK as SNLI_VE
from twelvefold.evaluation.predictions import Line
from twelvefold.schema import Box, Example, Split, TwelvefoldError, did_you_mean

FormName = Literal["publishers", "original"]
BoxForm = Literal["xywh", "xyxy"]
ORIGINAL = ("vqav2", "gqa", "vgqa", "coco", "flickr30k", "visual7w", "guesswhat")
"""Tasks whose original form can be told from predictions."""
FOUND = 20
"""Pictures listed for a caption. Source: the original project's result files."""
NOWHERE: Box = (0.0, 0.0, 0.0, 0.0)
"""The box of an expression in whose picture nothing was detected: it overlaps nothing."""

Row = Callable[[Example, Line], Any]
"""What stands in the file for one question: a JSON value, or a line of text."""


class Form(NamedTuple):
    """How a task's file is built. kind: a JSON list, JSON lines or CSV without a head. kept: of a ranking."""

    kind: Literal["json", "jsonl", "csv"]
    row: Row
    kept: int = 1


class Asked(NamedTuple):
    """Whose questions are answered: what a form may have to look up in the official files."""

    data: Path
    split: Split
    bad: BadRecords
    examples: Callable[[], Iterator[Example]]


PARTS: dict[str, dict[str, tuple[Split, dict[str, str]]]] = {
    "vqav2": {"test-dev": ("test", {"test": "test-dev2015"}), "test2015": ("test", {"test": "test2015"})},
    "gqa": {"testdev": ("test", {"test": "testdev"}), "submission": ("test", {"test": "submission"})},
    "nlvr2": {"test1": ("test", {"test": "test1"}), "test2": ("test", {"test": "test2"})},
}
"""Publishers' names of parts of a test split: our split, and the reader's options that choose the part."""


def part(task: str, name: str) -> tuple[Split, dict[str, str]]:
    """Our split and the reader's options of a part: ``test``, ``val``, or a publisher's name for one.

    Raises:
        TwelvefoldError: the task has no such part.
    """
    parts: dict[str, tuple[Split, dict[str, str]]] = {"test": ("test", {}), "val": ("val", {}), **PARTS.get(task, {})}
    if name not in parts:
        raise TwelvefoldError(f"{task} has no part {name!r}; it has {', '.join(parts)}{did_you_mean(name, parts)}")
    return parts[name]


def form_of(task: str, form: FormName, asked: Asked, box_form: BoxForm = "xywh") -> Form:
    """The form of a task's file.

    Raises:
        TwelvefoldError: there is none for this task, or it can't be told from predictions.
    """
    if form == "original":
        made = _original(task, asked)
    else:
        made = _publishers(task, asked, box_form)
    if made is None:
        more = " that can be told from predictions" if form == "original" else ""
        names = ORIGINAL if form == "original" else NAMES
        raise TwelvefoldError(
            f"task {task!r} has no {form} form of a submission{more}; these have one: {', '.join(names)}"
            f"{did_you_mean(task, names)}"
        )
    return made


def _publishers(task: str, asked: Asked, box_form: BoxForm) -> Form | None:
    match task:
        case "vqav2" | "vgqa":
            return Form("json", _vqa)
        case "gqa":
            return Form("json", _gqa)
        case "refcoco" | "refcoco+" | "refcocog":
            return Form("json", partial(_box, box_form))
        case "visual7w":
            return Form("json", partial(_visual7w, _candidate_ids(visual7w, asked)))
        case "guesswhat":
            return Form("json", partial(_guesswhat, _candidate_ids(guesswhat, asked)))
        case "nlvr2":
            return Form("csv", _nlvr2)
        case "snli_ve":
            return Form("jsonl", _snli_ve)
        case "coco" | "flickr30k":
            return Form("jsonl", _found, FOUND)
    return None


def _original(task: str, asked: Asked) -> Form | None:
    match task:
        case "vqav2" | "vgqa":
            return Form("json", _vqa)
        case "gqa":
            return Form("json", _gqa)
        case "visual7w" | "guesswhat":
            return Form("json", _slot)
        case "coco" | "flickr30k":
            return Form("json", partial(_positions, _places(asked)), FOUND)
    return None


def encode(kind: str, rows: Iterable[Any]) -> Iterable[bytes]:
    """The pieces of a file that holds ``rows``."""
    if kind == "csv":
        yield from (f"{row}\n".encode() for row in rows)
        return
    encoder = msgspec.json.Encoder()
    if kind == "jsonl":
        yield from (encoder.encode(row) + b"\n" for row in rows)
        return
    yield b"["
    for i, row in enumerate(rows):
        yield (b",\n" if i else b"\n") + encoder.encode(row)
    yield b"\n]\n"


def _vqa(example: Example, line: Line) -> dict[str, Any]:
    return {"question_id": int(example.id), "answer": line.ranked[0].name}


def _gqa(example: Example, line: Line) -> dict[str, Any]:
    return {"questionId": example.id, "prediction": line.ranked[0].name}


def _nlvr2(example: Example, line: Line) -> str:
    # The scorer cuts every line at commas and knows no quotes.
    if "," in example.id:
        raise TwelvefoldError(f"nlvr2: the identifier {example.id!r} has a comma, which the scorer can't read")
    return f"{example.id},{_class(line, NLVR2.classes)}"


def _snli_ve(example: Example, line: Line) -> dict[str, str]:
    return {"pairID": example.id, "prediction": _class(line, SNLI_VE.classes)}


def _class(line: Line, classes: tuple[str, ...]) -> str:
    name = line.ranked[0].name
    if name not in classes:
        wanted = ", ".join(classes)
        raise TwelvefoldError(f"{line.task}: question {line.id!r} is answered {name!r}; expected one of {wanted}")
    return name


def _box(form: BoxForm, example: Example, line: Line) -> dict[str, Any]:
    corners = line.ranked[0].box_px if line.ranked else NOWHERE
    if corners is None:
        raise TwelvefoldError(f"{line.task}: question {line.id!r} is answered by {line.ranked[0].name!r}, not by a box")
    ref, _, sentence = example.id.partition("-")
    image = int(example.pairs[0].image.id)
    box = boxes.xyxy_to_xywh(corners).tolist() if form == "xywh" else list(corners)
    return {"ref_id": int(ref), "sent_id": int(sentence), "image_id": image, "pred_box": box}


def _visual7w(ids: Mapping[str, list[int]], example: Example, line: Line) -> dict[str, Any]:
    answer = {"answer": ids[example.id][_place(example, line)]}
    return {"qa_id": int(example.id), "question": example.pairs[0].text, "candidates": [answer]}


def _guesswhat(ids: Mapping[str, list[int]], example: Example, line: Line) -> dict[str, Any]:
    return {"id": int(example.id), "object_id": ids[example.id][_place(example, line)]}


def _slot(example: Example, line: Line) -> dict[str, Any]:
    return {"id": int(example.pairs[0].image.id), "target": _place(example, line)}


def _place(example: Example, line: Line) -> int:
    """Which of the example's candidates was chosen; the first of several with the same box."""
    chosen = line.ranked[0].box_px if line.ranked else None
    given = np.array(example.pairs[0].candidates_px, dtype=np.float32)  # a batch holds boxes in this type
    same = (given == np.array(chosen or NOWHERE, dtype=np.float32)).all(axis=1)
    if chosen is None or not same.any():
        raise TwelvefoldError(
            f"{line.task}: question {line.id!r} is answered by the box {chosen}, which is none of its candidates "
            f"{given.tolist()}; the predictions were made from other data: prepare and evaluate again"
        )
    return int(same.argmax())


def _candidate_ids(module: Any, asked: Asked) -> dict[str, list[int]]:
    return dict(module.candidate_ids(asked.data, asked.split, bad=asked.bad))


def _found(example: Example, line: Line) -> dict[str, Any]:
    caption = int(example.id) if example.id.isdecimal() else example.id
    return {"caption": caption, "rank": _rank(line), "images": [ranked.name for ranked in line.ranked]}


def _rank(line: Line) -> int:
    if line.rank is None:
        raise TwelvefoldError(
            f"{line.task}: caption {line.id!r} has no rank and but a few pictures: an older version wrote these "
            f"predictions; remove the run's scores/*/{line.task}.json and evaluate again"
        )
    return line.rank


def _positions(places: Mapping[str, int], example: Example, line: Line) -> list[int]:
    _rank(line)
    unknown = [ranked.name for ranked in line.ranked if ranked.name not in places]
    if unknown:
        raise TwelvefoldError(
            f"{line.task}: caption {line.id!r} found {unknown[0]!r}, which is no picture of this split"
        )
    return [places[ranked.name] for ranked in line.ranked]


def _places(asked: Asked) -> dict[str, int]:
    """The pool's pictures by their place: the split's, in the order of their first captions."""
    keys = dict.fromkeys(str(example.pairs[0].image) for example in asked.examples())
    return {key: place for place, key in enumerate(keys)}
