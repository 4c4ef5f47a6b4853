"""GuessWhat?!: a dialogue of yes-no questions identifies one object among 3 to 20. Paper: group G3, section 2.1.

Publisher: guesswhat.ai. License: as published with the data; the images are COCO's.

Files, in ``guesswhat/``: ``guesswhat.{train,valid,test}.jsonl.gz``, or the same files decompressed. Two layouts are
read: the published one, and that of the authors' newer code (``dialogue_id``, ``picture``, objects by id, ``q``,
``a``; ids may be text).

Splits: as the files: 113,221 games (100,398 after cleaning), 23,739, 23,785, of any status.

The text is the whole dialogue, ``start <question> answer <answer> stop`` for each turn; a game that was abandoned
before the first question has an empty text. The candidates are the game's objects in ascending order of id, clipped to
the image. ``question_type`` is the status: success, failure or incomplete. A game with another status, or with an
answer other than Yes, No and N/A, is a bad record.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import msgspec

from twelvefold.datasets.reading.candidates import XYWH, clip_candidates
from twelvefold.datasets.reading.cards import CardFile, DatasetCard, OriginalCounts
from twelvefold.datasets.reading.image_sources import COCO
from twelvefold.datasets.reading.records import BadRecords, InvalidRecordError, RecordReader, require_files, validated
from twelvefold.datasets.reading.submissions import candidate_submission
from twelvefold.schema import Candidate, Example, ImageKey, Pair, Split, TaskForm, TaskSpec

PAPER_ORDER = 10
PAPER_SCORE = 65.04, "test"
LISTS_CANDIDATES = True
"""Every example has candidate boxes, of which one is the answer."""
TASK = TaskSpec(
    name="guesswhat",
    title="GuessWhat?!",
    family="grounding",
    head="grounding",
    metric="accuracy",
    max_tokens=256,
    batch_size=64,
    lr=2e-5,
)
FORM = TaskForm(
    tab="Dialogue",
    heading="Guess the object of a dialogue",
    label="Next question",
    placeholder="Is it an animal?",
    hint="As in GuessWhat?!: think of an object and answer questions with yes, no or n/a. The model guesses again "
    "after each turn.",
    verb="Add turn",
)
CARD = DatasetCard(
    title=TASK.title,
    publisher="GuessWhat?!, guesswhat.ai, Download",
    license="Apache-2.0 for the code; no license is stated for the data",
    files=tuple(
        CardFile(f"guesswhat/guesswhat.{part}.jsonl.gz", "games; .jsonl is read too")
        for part in ("train", "valid", "test")
    ),
    image_sources=(COCO,),
    examples={"train": 113_221, "val": 23_739, "test": 23_785},
    original_counts=OriginalCounts(100_398),
)
FILES = {"train": "train", "val": "valid", "test": "test"}
ANSWERS = ("yes", "no", "n/a")
STATUSES = ("success", "failure", "incomplete")
"""In lower case; the published files write ``Yes``, ``No`` and ``N/A``."""

Id = Annotated[int, msgspec.Meta(ge=0)] | Annotated[str, msgspec.Meta(pattern=r"^[0-9]+$")]
"""A number, which copies of the newer layout write as text."""


class ImageRecord(msgspec.Struct, gc=False):
    width: float
    height: float
    id: Id | None = None


class ObjectRecord(msgspec.Struct, gc=False):
    bbox: XYWH
    id: Id | None = None


class Turn(msgspec.Struct, gc=False):
    question: str | None = None
    answer: str | None = None
    q: str | None = None
    a: str | None = None


class Game(msgspec.Struct, gc=False):
    """A game in either layout: a field that only one layout has is optional here and checked in :func:`_example`."""

    object_id: Id
    objects: list[ObjectRecord] | dict[str, ObjectRecord]
    qas: list[Turn]
    status: str = ""
    id: Id | None = None
    dialogue_id: Id | None = None
    image: ImageRecord | None = None
    picture: ImageRecord | None = None
    picture_id: Id | None = None


def files(root: Path, split: Split) -> list[Path]:
    """Return the file of a split."""
    name = f"guesswhat.{FILES[split]}.jsonl"
    return require_files(TASK.name, [[root / "guesswhat" / f"{name}.gz", root / "guesswhat" / name]])


def read(root: Path, split: Split, *, bad: BadRecords) -> Iterator[Example]:
    """Yield the games of a split in the order of the file, with label ``Candidate``."""
    reader = RecordReader(TASK.name, files(root, split)[0], bad)
    return validated(reader.rows(reader.lines(Game), _example), allow_empty_text=True)


def candidate_ids(root: Path, split: Split, *, bad: BadRecords) -> Iterator[tuple[str, list[int]]]:
    """Yield the example id of each game and the file's object ids of its candidates, in the candidates' order."""
    for _, game in RecordReader(TASK.name, files(root, split)[0], bad).lines(Game):
        id_ = game.id if game.id is not None else game.dialogue_id
        if id_ is not None:
            yield str(int(id_)), sorted(_boxes_by_id(game.objects))


def _example(game: Game) -> Example:
    id_ = game.id if game.id is not None else game.dialogue_id
    image = game.image or game.picture
    if id_ is None or image is None:
        raise InvalidRecordError("expected id and image, or dialogue_id and picture, got neither")
    image_id = image.id if image.id is not None else game.picture_id
    if image_id is None:
        raise InvalidRecordError("expected image.id or picture_id, got neither")
    boxes = _boxes_by_id(game.objects)
    target = int(game.object_id)
    if target not in boxes:
        raise InvalidRecordError(f"expected object_id to be one of the objects {sorted(boxes)}, got {target}")
    if len(boxes) != len(game.objects):
        raise InvalidRecordError(f"expected {len(game.objects)} objects with an id each, got {len(boxes)} ids")
    text = format_dialogue([(turn.question or turn.q or "", turn.answer or turn.a or "") for turn in game.qas])
    if text is None:
        raise InvalidRecordError("expected a question and an answer in every turn, got an empty or missing one")
    for turn in game.qas:
        _check_known("answers", turn.answer or turn.a or "", ANSWERS)
    if game.status:
        _check_known("states", game.status, STATUSES)
    ids = sorted(boxes)
    candidates = clip_candidates([boxes[i] for i in ids], image.width, image.height)
    pair = Pair(ImageKey(COCO, str(int(image_id))), text, candidates, (round(image.width), round(image.height)))
    return Example(str(int(id_)), (pair,), Candidate(ids.index(target)), question_type=game.status.strip().lower())


def _check_known(what: str, text: str, known: Sequence[str]) -> None:
    if text.strip().lower() not in known:
        raise InvalidRecordError(f"expected one of the {what} {', '.join(known)}, got {text!r:.80}")


def _boxes_by_id(objects: list[ObjectRecord] | dict[str, ObjectRecord]) -> dict[int, XYWH]:
    if isinstance(objects, dict):
        return {int(key): item.bbox for key, item in objects.items() if key.isdecimal()}
    return {int(item.id): item.bbox for item in objects if item.id is not None}


def format_dialogue(turns: Sequence[tuple[str, str]]) -> str | None:
    """Return questions and answers as the text that the model reads, or None if one of them is empty."""
    stripped = [(question.strip(), answer.strip()) for question, answer in turns]
    if not all(question and answer for question, answer in stripped):
        return None
    return " ".join(f"start {question} answer {answer} stop" for question, answer in stripped)


def _submission_row(example: Example, object_id: int) -> dict[str, int]:
    return {"id": int(example.id), "object_id": object_id}


SUBMISSION = candidate_submission(candidate_ids, _submission_row)
