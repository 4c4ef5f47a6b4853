"""Visual7W pointing: "which" questions answered by one of four boxes. Paper: group G3, section 2.1.

Home: the Visual7W page of Stanford's vision group. Licence: MIT; the pictures are Visual Genome's.

File, in ``visual7w/``: ``dataset_v7w_pointing.json``, which the toolkit reads as ``dataset.json``.

Splits: the pictures' own: train 93,813 (93,813 after cleaning), val 36,990, test 57,265.

The candidates are the answer's box and its three rivals by ascending box id, so the right one has no fixed place.
Boxes that begin at -1 are cut to the picture; the file doesn't tell how large a picture is, so its right and lower
edges are left to whoever sees it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from twelvefold.datasets.reading.candidates import inside
from twelvefold.datasets.reading.records import BadRecords, Row, Source, checked, present
from twelvefold.schema import Candidate, Example, ImageKey, Pair, Split, TaskSpec

TASK = TaskSpec(
    name="visual7w",
    title="Visual7W",
    family="grounding",
    head="grounding",
    metric="accuracy",
    max_tokens=20,
    batch_size=256,
    lr=2e-5,
)
SPLITS = ("train", "val", "test")


class BoxRecord(msgspec.Struct, gc=False):
    box_id: int
    x: float
    y: float
    width: float
    height: float


class Question(msgspec.Struct, gc=False):
    qa_id: int
    image_id: int
    question: str
    answer: int
    multiple_choices: list[int]


class Picture(msgspec.Struct, gc=False):
    image_id: int
    split: str
    qa_pairs: msgspec.Raw


def files(root: Path, split: Split) -> list[Path]:
    """The one file, whatever the split."""
    folder = root / "visual7w"
    return present(TASK.name, [[folder / "dataset_v7w_pointing.json", folder / "dataset.json"]])


def read(root: Path, split: Split, *, bad: BadRecords) -> Iterator[Example]:
    """The questions of a split in the file's order, four candidates each, label Candidate."""
    return checked(_rows(Source(TASK.name, files(root, split)[0], bad), split))


def candidate_ids(root: Path, split: Split, *, bad: BadRecords) -> Iterator[tuple[str, list[int]]]:
    """For every question its id and the box ids of its candidates, in their order: the way back into the file."""
    source = Source(TASK.name, files(root, split)[0], bad)
    return ((str(question.qa_id), _candidates(question)) for _, _, question in _questions(source, split))


def _rows(source: Source, split: Split) -> Iterator[Row]:
    boxes = {box.box_id: box for _, box in source.items("boxes", BoxRecord)}
    for record, image, question in _questions(source, split):
        example, why = _example(question, image, boxes)
        if example is None:
            source.refuse(f"{record} (qa_id {question.qa_id})", why)
        else:
            yield source, record, example


def _questions(source: Source, split: Split) -> Iterator[tuple[str, int, Question]]:
    """Every question of a split with the place of its record and the picture under which it stands."""
    for outer, picture in source.items("images", Picture):
        if picture.split not in SPLITS:
            source.refuse(outer, f"expected one of the splits {', '.join(SPLITS)}, got {picture.split!r}")
            continue
        if picture.split != split:
            continue
        for record, question in source.several(f"{outer}.qa_pairs", picture.qa_pairs, Question):
            yield record, picture.image_id, question


def _candidates(question: Question) -> list[int]:
    return sorted({question.answer, *question.multiple_choices})


def _example(question: Question, image: int, boxes: dict[int, BoxRecord]) -> tuple[Example | None, str]:
    """A question with its candidates, or why it has none that can be used."""
    ids = _candidates(question)
    if len(ids) != 1 + len(question.multiple_choices) or len(ids) < 2:
        return None, f"expected an answer and other boxes, got {question.answer} and {question.multiple_choices}"
    if question.image_id != image:
        return None, f"expected image {image}, whose question this is, got {question.image_id}"
    unknown = [id_ for id_ in ids if id_ not in boxes]
    if unknown:
        return None, f"expected boxes that the file lists, got box_id {unknown[0]}"
    candidates, why = inside([(b.x, b.y, b.width, b.height) for b in map(boxes.__getitem__, ids)])
    if why:
        return None, why
    pair = Pair(ImageKey("vg", str(image)), question.question.strip(), candidates)
    return Example(str(question.qa_id), (pair,), Candidate(ids.index(question.answer))), ""
