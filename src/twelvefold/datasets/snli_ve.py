"""SNLI-VE: does an image entail a sentence, contradict it, or neither? Paper: group G4, section 2.1.

Publisher: the SNLI-VE repository. License: annotations CC BY-SA 4.0, as SNLI's; the images are Flickr30k's.

Files, in ``snli_ve/``: ``snli_ve_{train,dev,test}.jsonl``. The image's field is called ``Flikr30kID``, ``Flickr30kID``
or ``Flickr30K_ID``, with or without ``.jpg`` in its value.

Splits: train 529,527 (512,396 after cleaning), val (dev) 17,858, test 17,901.

Only the hypothesis is read; the image is the premise. A gold label ``-`` (no agreement among the annotators; absent
from the official files, present in related ones) becomes the empty class name, which no prediction matches. A test file
may have no labels.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import msgspec

from twelvefold.datasets.reading.cards import CardFile, DatasetCard, OriginalCounts
from twelvefold.datasets.reading.image_sources import FLICKR30K
from twelvefold.datasets.reading.records import BadRecords, InvalidRecordError, RecordReader, require_files, validated
from twelvefold.datasets.reading.submissions import Answered, Submission, best_class, simple_format
from twelvefold.schema import ClassName, Example, ImageKey, Pair, Split, TaskForm, TaskSpec

PAPER_ORDER = 12
PAPER_SCORE = 76.78, "test"
TASK = TaskSpec(
    name="snli_ve",
    title="SNLI-VE",
    family="verification",
    head="snli_ve",
    metric="accuracy",
    max_tokens=56,
    batch_size=256,
    lr=2e-5,
    classes=("contradiction", "neutral", "entailment"),
)
FORM = TaskForm(
    tab="Entailment",
    heading="Does the image entail a statement?",
    label="Statement",
    placeholder="Two animals are outdoors.",
    hint="As in SNLI-VE: entailment (true), contradiction (false), or neutral (the image does not show it).",
    verb="Judge",
)
CARD = DatasetCard(
    title=TASK.title,
    publisher="SNLI-VE, github.com/necla-ml/SNLI-VE, Data",
    license="CC BY-SA 4.0, as SNLI's",
    files=tuple(
        CardFile(f"snli_ve/snli_ve_{part}.jsonl", "hypotheses and labels") for part in ("train", "dev", "test")
    ),
    image_sources=(FLICKR30K,),
    examples={"train": 529_527, "val": 17_858, "test": 17_901},
    on_request="the images",
    original_counts=OriginalCounts(512_396),
)
NO_GOLD_LABEL = "-"
FILES = {"train": "train", "val": "dev", "test": "test"}


class Hypothesis(msgspec.Struct, gc=False):
    pair_id: str = msgspec.field(name="pairID")
    sentence2: str
    gold_label: str = ""
    flikr: str | None = msgspec.field(name="Flikr30kID", default=None)
    flickr: str | None = msgspec.field(name="Flickr30kID", default=None)
    flickr_later: str | None = msgspec.field(name="Flickr30K_ID", default=None)


def files(root: Path, split: Split) -> list[Path]:
    """Return the file of a split."""
    return require_files(TASK.name, [[root / "snli_ve" / f"snli_ve_{FILES[split]}.jsonl"]])


def read(root: Path, split: Split, *, bad: BadRecords) -> Iterator[Example]:
    """Yield the hypotheses of a split in the order of the file, with label ``ClassName``, or None in a test file
    without labels."""
    reader = RecordReader(TASK.name, files(root, split)[0], bad)
    return validated(reader.rows(reader.lines(Hypothesis), partial(_example, is_test=split == "test")))


def _example(hypothesis: Hypothesis, *, is_test: bool) -> Example:
    image, label = hypothesis.flikr or hypothesis.flickr or hypothesis.flickr_later, hypothesis.gold_label
    if not image:
        raise InvalidRecordError("expected an image as Flikr30kID, Flickr30kID or Flickr30K_ID, got none")
    is_withheld = is_test and not label
    if not is_withheld and label not in (*TASK.classes, NO_GOLD_LABEL):
        expected = f"{', '.join(TASK.classes)} or {NO_GOLD_LABEL}"
        raise InvalidRecordError(f"expected a gold_label {expected}, got {label!r}")
    pair = Pair(ImageKey(FLICKR30K, image.removesuffix(".jpg")), hypothesis.sentence2.strip())
    gold = None if is_withheld else ClassName("" if label == NO_GOLD_LABEL else label)
    return Example(hypothesis.pair_id, (pair,), gold)


def _submission_row(example: Example, answered: Answered) -> dict[str, str]:
    return {"pairID": example.id, "prediction": best_class(example, answered, TASK.classes)}


SUBMISSION = Submission(simple_format("jsonl", _submission_row))
