"""Formats of submission files: one for each of the twelve tasks. Paper: section 4, Table 2.

``docs/submissions.md`` says what is known of every format. VQA, GQA, NLVR2 and Visual7W have a server or an official
scorer; RefCOCO scripts score boxes by sentence; SNLI-VE, GuessWhat and retrieval have no official format, so theirs is
our own. ``vilbert_mt`` is what vilbert-multi-task writes, where it differs and can be derived from predictions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np

from twelvefold import boxes
from twelvefold.datasets import guesswhat, task_names, visual7w
from twelvefold.datasets.nlvr2 import TASK as NLVR2
from twelvefold.datasets.reading.records import BadRecords
from twelvefold.datasets.snli_ve import TASK as SNLI_VE
from twelvefold.evaluation.predictions import MAX_RANKED_IMAGES, PredictionRecord
from twelvefold.schema import Box, Example, Split, TwelvefoldError, did_you_mean

FormatName = Literal["publishers", "vilbert_mt"]
BoxFormat = Literal["xywh", "xyxy"]
VILBERT_MT_TASKS: tuple[str, ...] = ("vqav2", "gqa", "vgqa", "coco", "flickr30k", "visual7w", "guesswhat")
"""Tasks whose vilbert_mt format can be derived from predictions."""
EMPTY_BOX: Box = (0.0, 0.0, 0.0, 0.0)
"""The box of an expression in whose image nothing was detected; it overlaps nothing."""

MakeRow = Callable[[Example, PredictionRecord], Any]
"""Makes one question's entry of the file: a JSON value, or a line of text."""


class FileFormat(NamedTuple):
    """Format of a task's file: a JSON list, JSON lines or CSV without a header.

    max_ranked: number of ranked answers that a row needs.
    """

    container: Literal["json", "jsonl", "csv"]
    make_row: MakeRow
    max_ranked: int = 1


class OfficialQuestions(NamedTuple):
    """The official files whose questions are answered. ``examples`` reads them."""

    data: Path
    split: Split
    bad_records: BadRecords
    examples: Callable[[], Iterator[Example]]


PARTS: dict[str, dict[str, tuple[Split, dict[str, str]]]] = {
    "vqav2": {"test-dev": ("test", {"test": "test-dev2015"}), "test2015": ("test", {"test": "test2015"})},
    "gqa": {"testdev": ("test", {"test": "testdev"}), "submission": ("test", {"test": "submission"})},
    "nlvr2": {"test1": ("test", {"test": "test1"}), "test2": ("test", {"test": "test2"})},
}
"""Official names of parts of a test split: our split, and the reader options that select the part."""


def find_part(task: str, name: str) -> tuple[Split, dict[str, str]]:
    """Return our split and the reader options of ``test``, ``val``, or an official part.

    Raises:
        TwelvefoldError: the task has no such part.
    """
    parts: dict[str, tuple[Split, dict[str, str]]] = {"test": ("test", {}), "val": ("val", {}), **PARTS.get(task, {})}
    if name not in parts:
        raise TwelvefoldError(f"{task} has no part {name!r}; it has {', '.join(parts)}{did_you_mean(name, parts)}")
    return parts[name]


def file_format(
    task: str, name: FormatName, questions: OfficialQuestions, box_format: BoxFormat = "xywh"
) -> FileFormat:
    """Return the format of a task's file.

    Raises:
        TwelvefoldError: the task has no such format, or it cannot be derived from predictions.
    """
    tasks = VILBERT_MT_TASKS if name == "vilbert_mt" else task_names()
    if name == "vilbert_mt":
        result = _vilbert_mt_format(task, questions)
    else:
        result = _publishers_format(task, questions, box_format)
    if result is None:
        raise TwelvefoldError(
            f"task {task!r} has no submission format {name!r} that can be derived from predictions; tasks that have "
            f"one: {', '.join(tasks)}{did_you_mean(task, tasks)}"
        )
    return result


def _publishers_format(task: str, questions: OfficialQuestions, box_format: BoxFormat) -> FileFormat | None:
    match task:
        case "vqav2" | "vgqa":
            return FileFormat("json", _vqa_row)
        case "gqa":
            return FileFormat("json", _gqa_row)
        case "refcoco" | "refcoco+" | "refcocog":
            return FileFormat("json", partial(_box_row, box_format))
        case "visual7w":
            return FileFormat("json", partial(_visual7w_row, _candidate_ids(visual7w, questions)))
        case "guesswhat":
            return FileFormat("json", partial(_guesswhat_row, _candidate_ids(guesswhat, questions)))
        case "nlvr2":
            return FileFormat("csv", _nlvr2_row)
        case "snli_ve":
            return FileFormat("jsonl", _snli_ve_row)
        case "coco" | "flickr30k":
            return FileFormat("jsonl", _retrieval_row, MAX_RANKED_IMAGES)
    return None


def _vilbert_mt_format(task: str, questions: OfficialQuestions) -> FileFormat | None:
    match task:
        case "vqav2" | "vgqa" | "gqa":
            return _publishers_format(task, questions, "xywh")
        case "visual7w" | "guesswhat":
            return FileFormat("json", _candidate_row)
        case "coco" | "flickr30k":
            return FileFormat("json", partial(_pool_row, _pool_indices(questions)), MAX_RANKED_IMAGES)
    return None


def encode_rows(container: str, rows: Iterable[Any]) -> Iterable[bytes]:
    """Yield the bytes of a file that holds ``rows``."""
    if container == "csv":
        yield from (f"{row}\n".encode() for row in rows)
        return
    encoder = msgspec.json.Encoder()
    if container == "jsonl":
        yield from (encoder.encode(row) + b"\n" for row in rows)
        return
    yield b"["
    for i, row in enumerate(rows):
        yield (b",\n" if i else b"\n") + encoder.encode(row)
    yield b"\n]\n"


def _vqa_row(example: Example, record: PredictionRecord) -> dict[str, Any]:
    return {"question_id": int(example.id), "answer": record.ranked[0].name}


def _gqa_row(example: Example, record: PredictionRecord) -> dict[str, Any]:
    return {"questionId": example.id, "prediction": record.ranked[0].name}


def _nlvr2_row(example: Example, record: PredictionRecord) -> str:
    # The official scorer splits every line at commas and ignores quotes.
    if "," in example.id:
        raise TwelvefoldError(f"nlvr2: the identifier {example.id!r} has a comma, which the official scorer can't read")
    return f"{example.id},{_class_name(record, NLVR2.classes)}"


def _snli_ve_row(example: Example, record: PredictionRecord) -> dict[str, str]:
    return {"pairID": example.id, "prediction": _class_name(record, SNLI_VE.classes)}


def _class_name(record: PredictionRecord, classes: tuple[str, ...]) -> str:
    name = record.ranked[0].name
    if name not in classes:
        raise TwelvefoldError(
            f"{record.task}: question {record.id!r} is answered {name!r}; expected one of {', '.join(classes)}"
        )
    return name


def _box_row(box_format: BoxFormat, example: Example, record: PredictionRecord) -> dict[str, Any]:
    corners = record.ranked[0].box_px if record.ranked else EMPTY_BOX
    if corners is None:
        raise TwelvefoldError(
            f"{record.task}: question {record.id!r} is answered by {record.ranked[0].name!r}; expected a box"
        )
    ref, _, sentence = example.id.partition("-")
    image = int(example.pairs[0].image.id)
    box = boxes.xyxy_to_xywh(corners).tolist() if box_format == "xywh" else list(corners)
    return {"ref_id": int(ref), "sent_id": int(sentence), "image_id": image, "pred_box": box}


def _visual7w_row(ids: Mapping[str, list[int]], example: Example, record: PredictionRecord) -> dict[str, Any]:
    answer = {"answer": ids[example.id][_candidate_index(example, record)]}
    return {"qa_id": int(example.id), "question": example.pairs[0].text, "candidates": [answer]}


def _guesswhat_row(ids: Mapping[str, list[int]], example: Example, record: PredictionRecord) -> dict[str, Any]:
    return {"id": int(example.id), "object_id": ids[example.id][_candidate_index(example, record)]}


def _candidate_row(example: Example, record: PredictionRecord) -> dict[str, Any]:
    return {"id": int(example.pairs[0].image.id), "target": _candidate_index(example, record)}


def _candidate_index(example: Example, record: PredictionRecord) -> int:
    """Return the index of the chosen candidate; the first of several candidates with the same box."""
    box = record.ranked[0].box_px if record.ranked else None
    candidates = np.array(example.pairs[0].candidates_px, dtype=np.float32)  # a batch holds boxes as float32
    is_chosen = (candidates == np.array(box or EMPTY_BOX, dtype=np.float32)).all(axis=1)
    if box is None or not is_chosen.any():
        raise TwelvefoldError(
            f"{record.task}: question {record.id!r} is answered by the box {box}, which is none of its candidates "
            f"{candidates.tolist()}; the predictions were made from other data: prepare and evaluate again"
        )
    return int(is_chosen.argmax())


def _candidate_ids(dataset: Any, questions: OfficialQuestions) -> dict[str, list[int]]:
    return dict(dataset.candidate_ids(questions.data, questions.split, bad=questions.bad_records))


def _retrieval_row(example: Example, record: PredictionRecord) -> dict[str, Any]:
    caption = int(example.id) if example.id.isdecimal() else example.id
    return {"caption": caption, "rank": _rank(record), "images": [ranked.name for ranked in record.ranked]}


def _rank(record: PredictionRecord) -> int:
    if record.rank is None:
        raise TwelvefoldError(
            f"{record.task}: caption {record.id!r} has no rank and only a few images: an older version wrote these "
            f"predictions; remove the run's scores/*/{record.task}.json and evaluate again"
        )
    return record.rank


def _pool_row(pool: Mapping[str, int], example: Example, record: PredictionRecord) -> list[int]:
    _rank(record)
    unknown = [ranked.name for ranked in record.ranked if ranked.name not in pool]
    if unknown:
        raise TwelvefoldError(f"{record.task}: caption {record.id!r} ranks {unknown[0]!r}, no image of this split")
    return [pool[ranked.name] for ranked in record.ranked]


def _pool_indices(questions: OfficialQuestions) -> dict[str, int]:
    """Return the index of every image in the pool: the split's images, in the order of their first captions."""
    keys = dict.fromkeys(str(example.pairs[0].image) for example in questions.examples())
    return {key: index for index, key in enumerate(keys)}
