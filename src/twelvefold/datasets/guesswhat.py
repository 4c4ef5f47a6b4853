"""GuessWhat?!: a dialogue of yes-no questions that leads to one object among 3 to 20. Paper: group G3, section 2.1.

Home: guesswhat.ai. Licence: as published with the data; the pictures are COCO's.

Files, in ``guesswhat/``: ``guesswhat.{train,valid,test}.jsonl.gz``, or the same decompressed. Two layouts are read:
the published one, and that of the authors' newer code (``dialogue_id``, ``picture``, objects by id, ``q``, ``a``).

Splits: the files': 113,221 games (100,398 after cleaning), 23,739, 23,785, whatever their status.

The text is the whole dialogue, ``start <question> answer <answer> stop`` turn by turn; a game that was given up
before the first question has an empty text. The candidates are the game's objects by ascending id, cut to the
picture. ``kind`` is the status: success, failure or incomplete.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from twelvefold.datasets.reading.candidates import XYWH, inside
from twelvefold.datasets.reading.records import BadRecords, Row, Source, checked, present
from twelvefold.schema import Candidate, Example, ImageKey, Pair, Split, TaskSpec

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
FILES = {"train": "train", "val": "valid", "test": "test"}


class Picture(msgspec.Struct, gc=False):
    width: float
    height: float
    id: int | None = None


class Thing(msgspec.Struct, gc=False):
    bbox: XYWH
    id: int | None = None


class Turn(msgspec.Struct, gc=False):
    question: str | None = None
    answer: str | None = None
    q: str | None = None
    a: str | None = None


class Game(msgspec.Struct, gc=False):
    """A game in either layout: what the two name differently is optional here and looked for in :func:`_example`."""

    object_id: int
    objects: list[Thing] | dict[str, Thing]
    qas: list[Turn]
    status: str = ""
    id: int | None = None
    dialogue_id: int | None = None
    image: Picture | None = None
    picture: Picture | None = None
    picture_id: int | None = None


def files(root: Path, split: Split) -> list[Path]:
    """The file of a split."""
    name = f"guesswhat.{FILES[split]}.jsonl"
    return present(TASK.name, [[root / "guesswhat" / f"{name}.gz", root / "guesswhat" / name]])


def read(root: Path, split: Split, *, bad: BadRecords) -> Iterator[Example]:
    """The games of a split in the file's order, label Candidate."""
    return checked(_rows(Source(TASK.name, files(root, split)[0], bad)), may_be_silent=True)


def candidate_ids(root: Path, split: Split, *, bad: BadRecords) -> Iterator[tuple[str, list[int]]]:
    """For every game its id and the object ids of its candidates, in their order: the way back into the file."""
    for _, game in Source(TASK.name, files(root, split)[0], bad).lines(Game):
        yield str(game.id if game.id is not None else game.dialogue_id), sorted(_by_id(game.objects))


def _rows(source: Source) -> Iterator[Row]:
    for record, game in source.lines(Game):
        example, why = _example(game)
        if example is None:
            source.refuse(record, why)
        else:
            yield source, record, example


def _example(game: Game) -> tuple[Example | None, str]:
    """A game as an example, or why it can't be one."""
    id_ = game.id if game.id is not None else game.dialogue_id
    picture = game.image or game.picture
    if id_ is None or picture is None:
        return None, "expected id and image, or dialogue_id and picture, got neither"
    image = picture.id if picture.id is not None else game.picture_id
    if image is None:
        return None, "expected image.id or picture_id, got neither"
    things = _by_id(game.objects)
    if game.object_id not in things:
        return None, f"expected object_id to be one of the objects {sorted(things)}, got {game.object_id}"
    if len(things) != len(game.objects):
        return None, f"expected {len(game.objects)} objects with an id each, got {len(things)} ids"
    text = dialogue([(turn.question or turn.q or "", turn.answer or turn.a or "") for turn in game.qas])
    if text is None:
        return None, "expected a question and an answer in every turn, got an empty or missing one"
    ids = sorted(things)
    candidates, why = inside([things[i] for i in ids], picture.width, picture.height)
    if why:
        return None, why
    pair = Pair(ImageKey("coco", str(image)), text, candidates)
    return Example(str(id_), (pair,), Candidate(ids.index(game.object_id)), question_type=game.status), ""


def _by_id(objects: list[Thing] | dict[str, Thing]) -> dict[int, XYWH]:
    if isinstance(objects, dict):
        return {int(key): thing.bbox for key, thing in objects.items() if key.isdecimal()}
    return {thing.id: thing.bbox for thing in objects if thing.id is not None}


def dialogue(turns: Sequence[tuple[str, str]]) -> str | None:
    """Questions and their answers as the one text that the model reads, or None where one of them is empty."""
    said = [(question.strip(), answer.strip()) for question, answer in turns]
    if not all(question and answer for question, answer in said):
        return None
    return " ".join(f"start {question} answer {answer} stop" for question, answer in said)
