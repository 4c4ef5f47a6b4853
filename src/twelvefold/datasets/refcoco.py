"""RefCOCO: short expressions, made in a game, that point at one thing in a picture. Paper: group G3, section 2.1.

Home: the refer toolkit (UNC). Licence: annotations as the toolkit's; the pictures are COCO's.

Files, in ``refcoco/``: ``refs(unc).p`` (a Python 2 pickle) and ``instances.json`` (COCO's boxes).

Splits: train 120,624 sentences (96,221 after cleaning), val 10,834, test 10,752: testA (people) 5,657 and testB
(other things) 5,095, told apart by ``kind``.

One example per sentence: id ``<ref_id>-<sent_id>``, the text as it was typed (``raw``) without the blanks at its
ends, label the box of the thing. A ref's ``file_name`` is no picture's name, its ``image_id`` is one. The box is
kept as annotated, also where it passes the picture's edge by a fraction; one with nothing inside is a bad record.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from twelvefold.datasets.reading.candidates import XYWH, inside
from twelvefold.datasets.reading.records import BadRecords, Row, Source, checked, present
from twelvefold.datasets.reading.safe_pickle import load_plain
from twelvefold.schema import Box, Example, ImageKey, Pair, Split, TargetBox, TaskSpec, TwelvefoldError

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
SPLITS: dict[str, Split] = {"train": "train", "val": "val", "test": "test", "testA": "test", "testB": "test"}


class Sentence(msgspec.Struct, gc=False):
    sent_id: int
    raw: str


class Ref(msgspec.Struct, gc=False):
    ref_id: int
    ann_id: int
    image_id: int
    split: str
    sentences: list[Sentence]


class Picture(msgspec.Struct, gc=False):
    id: int
    width: float
    height: float


class Annotation(msgspec.Struct, gc=False):
    id: int
    image_id: int
    bbox: XYWH


class Instances(msgspec.Struct):
    """The two parts of ``instances.json`` that are read: picture sizes and boxes, by id."""

    pictures: dict[int, Picture]
    annotations: dict[int, Annotation]


def files(root: Path, split: Split) -> list[Path]:
    """The pickle of refs and the boxes, whatever the split."""
    return refer_files(TASK, root, "unc")


def read(root: Path, split: Split, *, bad: BadRecords) -> Iterator[Example]:
    """One example per sentence of a split, label TargetBox, kind ``testA`` or ``testB`` in test."""
    return refer_examples(TASK, files(root, split), split, bad)


def refer_files(task: TaskSpec, root: Path, split_by: str) -> list[Path]:
    """The refer toolkit's two files of a dataset, which lie in a folder of its name."""
    return present(task.name, [[root / task.name / f"refs({split_by}).p"], [root / task.name / "instances.json"]])


def refer_examples(task: TaskSpec, found: list[Path], split: Split, bad: BadRecords) -> Iterator[Example]:
    """The examples of the refer toolkit's files, as :func:`read` gives them."""
    refs, instances = (Source(task.name, path, bad) for path in found)
    return checked(_rows(refs, instances, split))


def _rows(refs: Source, instances: Source, split: Split) -> Iterator[Row]:
    records = load_plain(refs.path)
    if not isinstance(records, list):
        raise TwelvefoldError(f"{refs.task}: {refs.path}: expected a list of refs, got {type(records).__name__}")
    known = Instances(
        {picture.id: picture for _, picture in instances.items("images", Picture)},
        {annotation.id: annotation for _, annotation in instances.items("annotations", Annotation)},
    )
    for i, value in enumerate(records):
        record = f"[{i}]"
        ref = refs.convert(record, value, Ref)
        if ref is None:
            continue
        if ref.split not in SPLITS:
            refs.refuse(record, f"expected one of the splits {', '.join(SPLITS)}, got {ref.split!r}")
            continue
        if SPLITS[ref.split] != split:
            continue
        box, why = _box(ref, known)
        if box is None:
            refs.refuse(f"{record} (ref_id {ref.ref_id})", why)
            continue
        for j, sentence in enumerate(ref.sentences):
            pair = Pair(ImageKey("coco", str(ref.image_id)), sentence.raw.strip())
            id_, kind = f"{ref.ref_id}-{sentence.sent_id}", ref.split if ref.split != split else ""
            yield refs, f"{record}.sentences[{j}]", Example(id_, (pair,), TargetBox(box), question_type=kind)


def _box(ref: Ref, known: Instances) -> tuple[Box | None, str]:
    """The box of a ref, or why it has none that can be used."""
    annotation, picture = known.annotations.get(ref.ann_id), known.pictures.get(ref.image_id)
    if annotation is None or picture is None:
        lost = f"annotation {ref.ann_id}" if annotation is None else f"image {ref.image_id}"
        return None, f"expected {lost} in instances.json, got none"
    if annotation.image_id != ref.image_id:
        return None, f"expected annotation {ref.ann_id} on image {ref.image_id}, got image {annotation.image_id}"
    _, why = inside([annotation.bbox], picture.width, picture.height)
    x, y, width, height = annotation.bbox
    return (None, why) if why else ((x, y, x + width, y + height), "")
