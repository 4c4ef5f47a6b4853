"""RefCOCO: short referring expressions, collected in a game, for one object of an image. Paper: group G3, section 2.1.

Publisher: the refer toolkit (UNC). License: annotations as the toolkit's; the images are COCO's.

Files, in ``refcoco/``: ``refs(unc).p`` (a Python 2 pickle) and ``instances.json`` (COCO's boxes).

Splits: train 120,624 sentences (96,221 after cleaning), val 10,834, test 10,752: testA (people) 5,657 and testB (other
objects) 5,095, which ``question_type`` distinguishes.

One example per sentence: its id is ``<ref_id>-<sent_id>``, its text is the sentence as typed (``raw``) without white
space at its ends, its label is the box of the object. The image is the ref's ``image_id``; its ``file_name`` is not the
name of an image. The box is kept as annotated, also where it exceeds the image by a fraction of a pixel; a box with no
area inside the image is a bad record.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from twelvefold.boxes import xyxy_to_xywh
from twelvefold.datasets.reading.candidates import XYWH, clip_candidates
from twelvefold.datasets.reading.cards import refer_card
from twelvefold.datasets.reading.image_sources import COCO
from twelvefold.datasets.reading.records import (
    BadRecords,
    InvalidRecordError,
    RecordReader,
    Row,
    arrays_to_lists,
    require_files,
    validated,
)
from twelvefold.datasets.reading.shared_files import decode_once
from twelvefold.datasets.reading.submissions import (
    EMPTY_BOX,
    Answered,
    OfficialQuestions,
    Submission,
    SubmissionFormat,
    SubmissionRow,
)
from twelvefold.parsing.bounds import short_repr
from twelvefold.schema import Box, Example, ImageKey, Pair, Split, TargetBox, TaskSpec, TwelvefoldError
from twelvefold.store.safe_pickle import load_plain

PAPER_ORDER = 6
PAPER_SCORE = 80.58, "test"
TASK = TaskSpec(
    name="refcoco",
    title="RefCOCO",
    family="grounding",
    head="grounding",
    metric="iou_at_0.5",
    max_tokens=20,
    batch_size=256,
    lr=2e-5,
)
CARD = refer_card(TASK.name, TASK.title, "unc", {"train": 120_624, "val": 10_834, "test": 10_752}, 96_221)
SPLITS: dict[str, Split] = {"train": "train", "val": "val", "test": "test", "testA": "test", "testB": "test"}


class Sentence(msgspec.Struct, gc=False):
    sent_id: int
    raw: str


class Ref(msgspec.Struct, gc=False):
    ref_id: int
    ann_id: int
    image_id: int
    split: str


class ImageRecord(msgspec.Struct, gc=False):
    id: int
    width: float
    height: float


class Annotation(msgspec.Struct, gc=False):
    id: int
    image_id: int
    bbox: XYWH


def files(root: Path, split: Split) -> list[Path]:
    """Return the pickle of refs and the file of boxes; both hold all splits."""
    return refer_files(TASK, root, "unc")


def read(root: Path, split: Split, *, bad: BadRecords) -> Iterator[Example]:
    """Yield one example per sentence of a split: label ``TargetBox``, question type ``testA`` or ``testB`` in test."""
    return refer_examples(TASK, files(root, split), split, bad)


def refer_files(task: TaskSpec, root: Path, split_by: str) -> list[Path]:
    """Return the refer toolkit's two files of a dataset, which are in the folder ``<root>/<task name>``."""
    folder = root / task.name
    return require_files(task.name, [[folder / f"refs({split_by}).p"], [folder / "instances.json"]])


def refer_examples(task: TaskSpec, paths: list[Path], split: Split, bad: BadRecords) -> Iterator[Example]:
    """Yield the examples of the refer toolkit's files as :func:`read` does. ``paths``: from :func:`refer_files`."""
    refs, instances = (RecordReader(task.name, path, bad) for path in paths)
    return validated(_rows(refs, instances, split))


def _rows(refs: RecordReader, instances: RecordReader, split: Split) -> Iterator[Row]:
    images, annotations = decode_once(instances, "instances", _instances)
    for record, ref, sentences in decode_once(refs, "refs", _refs):
        if ref.split not in SPLITS:
            refs.reject(record, f"expected one of the splits {', '.join(SPLITS)}, got {ref.split!r}")
            continue
        if SPLITS[ref.split] != split:
            continue
        image = images.get(ref.image_id)
        try:
            label = TargetBox(_box(ref, annotations.get(ref.ann_id), image))
        except InvalidRecordError as error:
            refs.reject(f"{record} (ref_id {ref.ref_id})", str(error))
            continue
        question_type = ref.split if ref.split != split else ""
        size = (round(image.width), round(image.height)) if image is not None else None
        for j, value in enumerate(sentences):
            sentence = refs.convert(f"{record}.sentences[{j}]", value, Sentence)
            if sentence is None:
                continue
            pair = Pair(ImageKey(COCO, str(ref.image_id)), sentence.raw.strip(), stated_size=size)
            example = Example(f"{ref.ref_id}-{sentence.sent_id}", (pair,), label, question_type=question_type)
            yield refs, f"{record}.sentences[{j}]", example


def _refs(reader: RecordReader) -> list[tuple[str, Ref, list[Any]]]:
    """Return the name of each ref, the ref, and its sentences, which are checked one by one later."""
    records = load_plain(reader.path)
    records = records.tolist() if isinstance(records, np.ndarray) else records
    if not isinstance(records, list):
        raise TwelvefoldError(f"{reader.task}: {reader.path}: expected a list of refs, got {type(records).__name__}")
    refs = list[tuple[str, Ref, list[Any]]]()
    for i, value in enumerate(records):
        ref = reader.convert(f"[{i}]", value, Ref)
        if ref is None:
            continue
        sentences = value.get("sentences")
        sentences = arrays_to_lists(sentences) if isinstance(sentences, np.ndarray | tuple) else sentences
        if isinstance(sentences, list):
            refs.append((f"[{i}]", ref, sentences))
        else:
            reader.reject(f"[{i}]", f"expected a list of sentences, got {short_repr(sentences)}")
    return refs


def _instances(reader: RecordReader) -> tuple[dict[int, ImageRecord], dict[int, Annotation]]:
    """Return the images and the annotations by id."""
    images = {image.id: image for _, image in reader.items("images", ImageRecord)}
    return images, {annotation.id: annotation for _, annotation in reader.items("annotations", Annotation)}


def _box(ref: Ref, annotation: Annotation | None, image: ImageRecord | None) -> Box:
    if annotation is None or image is None:
        missing = f"annotation {ref.ann_id}" if annotation is None else f"image {ref.image_id}"
        raise InvalidRecordError(f"expected {missing} in instances.json, got none")
    if annotation.image_id != ref.image_id:
        expected = f"annotation {ref.ann_id} on image {ref.image_id}"
        raise InvalidRecordError(f"expected {expected}, got image {annotation.image_id}")
    clip_candidates([annotation.bbox], image.width, image.height)  # raises if nothing of the box is in the image
    x, y, width, height = annotation.bbox
    return x, y, x + width, y + height


def _submission_row(questions: OfficialQuestions) -> SubmissionRow:
    def row(example: Example, answered: Answered) -> dict[str, object]:
        box = answered.ranked[0].box_px if answered.ranked else EMPTY_BOX
        if box is None:
            name = answered.ranked[0].name
            raise TwelvefoldError(f"{answered.task}: question {example.id!r} is answered by {name!r}; expected a box")
        ref, _, sentence = example.id.partition("-")
        sides = xyxy_to_xywh(box).tolist() if questions.box_format == "xywh" else list(box)
        image = int(example.pairs[0].image.id)
        return {"ref_id": int(ref), "sent_id": int(sentence), "image_id": image, "pred_box": sides}

    return row


SUBMISSION = Submission(SubmissionFormat("json", _submission_row))
