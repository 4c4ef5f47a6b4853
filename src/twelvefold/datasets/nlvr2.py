"""NLVR2: decide whether a statement is true of two images. Paper: group G4, section 2.1.

Publisher: Cornell's lil lab, NLVR page. License: annotations CC BY 4.0; the images belong to their owners.

Files, in ``nlvr2/``, JSON lines under a ``.json`` name: ``train.json``, ``dev.json``, ``test1.json`` (test-P; the
original project calls it ``test.json``). ``test="test2"`` reads ``test2.json``. A test file may have no labels.

Splits: train 86,373 (86,373 after cleaning), val (dev) 6,982, test 6,967.

An identifier is ``<split>-<set>-<pair>-<sentence>``; the images are ``<split>-<set>-<pair>-img0`` (left) and ``-img1``
(right). ``Example.group`` is the sentence, ``<split>-<set>-<sentence>``: consistency is the share of sentences that are
classified correctly for all their image pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import msgspec

from twelvefold.datasets.reading.cards import CC_BY, CardFile, DatasetCard, OriginalCounts
from twelvefold.datasets.reading.image_sources import NLVR2
from twelvefold.datasets.reading.records import BadRecords, InvalidRecordError, RecordReader, require_files, validated
from twelvefold.datasets.reading.submissions import Answered, Submission, best_class, simple_format
from twelvefold.schema import ClassName, Example, ImageKey, Pair, Split, TaskForm, TaskSpec, TwelvefoldError

PAPER_ORDER = 11
PAPER_SCORE = 78.44, "testP"
TASK = TaskSpec(
    name="nlvr2",
    title="NLVR2",
    family="verification",
    head="nlvr2",
    metric="accuracy",
    max_tokens=40,
    batch_size=64,
    lr=2e-5,
    pairs_per_example=2,
    classes=("False", "True"),
)
FORM = TaskForm(
    tab="Two images",
    heading="Is a statement true of two images?",
    label="Statement about both",
    placeholder="Both images contain a dog.",
    hint="As in NLVR2. Use “the left image”, “the right image”, “both” or “one”.",
    verb="Judge",
)
CARD = DatasetCard(
    title=TASK.title,
    publisher="NLVR2, github.com/lil-lab/nlvr, folder nlvr2/data",
    license=CC_BY,
    files=tuple(
        CardFile(f"nlvr2/{part}.json", "statements, a JSON record on each line") for part in ("train", "dev", "test1")
    ),
    image_sources=(NLVR2,),
    examples={"train": 86_373, "val": 6_982, "test": 6_967},
    on_request="the images",
    original_counts=OriginalCounts(86_373, recalled=()),  # the original never cleans NLVR2
)


class Statement(msgspec.Struct, gc=False):
    identifier: str
    sentence: str
    label: str = ""


def files(root: Path, split: Split, *, test: str = "test1") -> list[Path]:
    """Return the file of a split. ``test``: the stem of the test file."""
    folder = root / "nlvr2"
    names = {"train": ["train"], "val": ["dev"], "test": [test, "test"] if test == "test1" else [test]}[split]
    return require_files(TASK.name, [[folder / f"{name}.json" for name in names]])


def read(root: Path, split: Split, *, bad: BadRecords, test: str = "test1") -> Iterator[Example]:
    """Yield the statements of a split in the order of the file: two pairs each (left, right), label ``ClassName``, or
    None in a test file without labels."""
    reader = RecordReader(TASK.name, files(root, split, test=test)[0], bad)
    return validated(reader.rows(reader.lines(Statement), partial(_example, is_test=split == "test")))


def _example(statement: Statement, *, is_test: bool) -> Example:
    parts = statement.identifier.split("-")
    if len(parts) != 4 or not all(parts):
        expected = "an identifier <split>-<set>-<pair>-<sentence>"
        raise InvalidRecordError(f"expected {expected}, got {statement.identifier!r}")
    is_withheld = is_test and not statement.label
    if not is_withheld and statement.label not in TASK.classes:
        raise InvalidRecordError(f"expected a label {' or '.join(TASK.classes)}, got {statement.label!r}")
    part, set_, pair, sentence = parts
    images = [ImageKey(NLVR2, f"{part}-{set_}-{pair}-img{side}") for side in (0, 1)]
    pairs = tuple(Pair(image, statement.sentence.strip()) for image in images)
    label = None if is_withheld else ClassName(statement.label)
    return Example(statement.identifier, pairs, label, group=f"{part}-{set_}-{sentence}")


def _submission_row(example: Example, answered: Answered) -> str:
    # The official scorer splits every line at commas and ignores quotes.
    if "," in example.id:
        raise TwelvefoldError(f"nlvr2: the identifier {example.id!r} has a comma, which the official scorer can't read")
    return f"{example.id},{best_class(example, answered, TASK.classes)}"


SUBMISSION = Submission(
    simple_format("csv", _submission_row), parts={"test1": {"test": "test1"}, "test2": {"test": "test2"}}
)
