"""Visual7W pointing: "which" questions answered by one of four boxes. Paper: group G3, section 2.1.

Publisher: Stanford's vision group, Visual7W page. License: MIT; the images are Visual Genome's.

File, in ``visual7w/``: ``dataset_v7w_pointing.json``; ``dataset.json``, the toolkit's name for it, is read too.

Splits: as stated for each image: train 93,813 (93,813 after cleaning), val 36,990, test 57,265.

The candidates are the answer's box and its three distractors in ascending order of box id, so the position of the
answer carries no information. Questions with other than three distractors, or with equal boxes, are counted and named:
they are easier, or cannot be answered for certain. Boxes that begin at -1 are clipped at 0. The file does not state
image sizes; where Visual Genome's map states them, they are the pairs' ``stated_size``. The right and lower edges are
clipped later.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from twelvefold.datasets.reading import same_image_links
from twelvefold.datasets.reading.candidates import clip_candidates
from twelvefold.datasets.reading.cards import VG_ID_MAP, CardFile, DatasetCard, OriginalCounts
from twelvefold.datasets.reading.image_sources import VG
from twelvefold.datasets.reading.records import (
    BadRecords,
    InvalidRecordError,
    RecordReader,
    Row,
    require_files,
    validated,
)
from twelvefold.datasets.reading.shared_files import decode_once
from twelvefold.datasets.reading.submissions import candidate_submission
from twelvefold.schema import Candidate, Example, ImageKey, Pair, Size, Split, TaskForm, TaskSpec

PAPER_ORDER = 9
PAPER_SCORE = 82.75, "test"
LISTS_CANDIDATES = True
"""Every example has candidate boxes, of which one is the answer."""
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
FORM = TaskForm(
    tab="Which one?",
    heading="Answer a “which” question with a box",
    label="A “which” question",
    placeholder="Which one can fly?",
    hint="As in Visual7W: the answer is one of several boxes, detected or drawn by you.",
)
CARD = DatasetCard(
    title=TASK.title,
    publisher="Visual7W, ai.stanford.edu/~yukez/visual7w, pointing questions",
    license="MIT",
    files=(
        CardFile("visual7w/dataset_v7w_pointing.json", "questions and boxes; dataset.json is read too"),
        VG_ID_MAP,
    ),
    image_sources=(VG,),
    examples={"train": 93_813, "val": 36_990, "test": 57_265},
    original_counts=OriginalCounts(93_813),  # as if its list of test images named none of these
)
SPLITS = ("train", "val", "test")
NUM_DISTRACTORS = 3


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


class ImageRecord(msgspec.Struct, gc=False):
    image_id: int
    split: str
    qa_pairs: msgspec.Raw


def files(root: Path, split: Split) -> list[Path]:
    """Return the file, which holds all splits."""
    folder = root / "visual7w"
    return require_files(TASK.name, [[folder / "dataset_v7w_pointing.json", folder / "dataset.json"]])


def optional_files(root: Path) -> list[Path]:
    """Return the map of Visual Genome's images, which states their sizes."""
    return [same_image_links.visual_genome_map(root)]


def read(root: Path, split: Split, *, bad: BadRecords) -> Iterator[Example]:
    """Yield the questions of a split in the order of the file: four candidates each, label ``Candidate``."""
    sizes = same_image_links.visual_genome_sizes(root)
    return validated(_rows(RecordReader(TASK.name, files(root, split)[0], bad), split, sizes))


def candidate_ids(root: Path, split: Split, *, bad: BadRecords) -> Iterator[tuple[str, list[int]]]:
    """Yield the example id of each question and the file's box ids of its candidates, in the candidates' order."""
    reader = RecordReader(TASK.name, files(root, split)[0], bad)
    return ((str(question.qa_id), _box_ids(question)) for _, (_, question) in _questions(reader, split))


def _rows(reader: RecordReader, split: Split, sizes: dict[int, Size]) -> Iterator[Row]:
    boxes = decode_once(reader, "boxes", lambda reader: {b.box_id: b for _, b in reader.items("boxes", BoxRecord)})
    for row in reader.rows(_questions(reader, split), lambda item: _example(*item, boxes, sizes)):
        _, record, example = row
        candidates = example.pairs[0].candidates_px
        if len(candidates) != 1 + NUM_DISTRACTORS:
            reader.note(record, f"questions with other than {NUM_DISTRACTORS} wrong boxes")
        if len(set(candidates)) < len(candidates):
            reader.note(record, "questions with equal boxes")
        yield row


def _questions(reader: RecordReader, split: Split) -> Iterator[tuple[str, tuple[int, Question]]]:
    """Yield the record name, and the id of the enclosing image with the question, for each question of a split."""
    for image_record, image in decode_once(reader, "images", lambda reader: list(reader.items("images", ImageRecord))):
        if image.split not in SPLITS:
            reader.reject(image_record, f"expected one of the splits {', '.join(SPLITS)}, got {image.split!r}")
            continue
        if image.split != split:
            continue
        for record, question in reader.nested_items(f"{image_record}.qa_pairs", image.qa_pairs, Question):
            yield f"{record} (qa_id {question.qa_id})", (image.image_id, question)


def _box_ids(question: Question) -> list[int]:
    return sorted({question.answer, *question.multiple_choices})


def _example(image_id: int, question: Question, boxes: dict[int, BoxRecord], sizes: dict[int, Size]) -> Example:
    ids = _box_ids(question)
    if len(ids) != 1 + len(question.multiple_choices) or len(ids) < 2:
        raise InvalidRecordError(
            f"expected an answer and other boxes, got {question.answer} and {question.multiple_choices}"
        )
    if question.image_id != image_id:
        raise InvalidRecordError(f"expected image {image_id}, which lists this question, got {question.image_id}")
    unknown = [id_ for id_ in ids if id_ not in boxes]
    if unknown:
        raise InvalidRecordError(f"expected boxes that the file lists, got box_id {unknown[0]}")
    candidates = clip_candidates([(b.x, b.y, b.width, b.height) for b in map(boxes.__getitem__, ids)])
    pair = Pair(ImageKey(VG, str(image_id)), question.question.strip(), candidates, sizes.get(image_id))
    return Example(str(question.qa_id), (pair,), Candidate(ids.index(question.answer)))


def _submission_row(example: Example, box_id: int) -> dict[str, object]:
    return {"qa_id": int(example.id), "question": example.pairs[0].text, "candidates": [{"answer": box_id}]}


SUBMISSION = candidate_submission(candidate_ids, _submission_row)
