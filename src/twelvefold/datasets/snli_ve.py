"""SNLI-VE: does a picture entail a sentence, contradict it, or neither? Paper: group G4, section 2.1.

Home: the SNLI-VE repository. Licence: annotations as SNLI's, CC BY-SA 4.0; the pictures are Flickr30k's.

Files, in ``snli_ve/``: ``snli_ve_{train,dev,test}.jsonl``. The picture is spelled ``Flikr30kID``, ``Flickr30kID`` or
``Flickr30K_ID``, with or without ``.jpg``.

Splits: train 529,527 (512,396 after cleaning), val (dev) 17,858, test 17,901.

Only the hypothesis is read: the picture is the premise. A gold label ``-`` (the annotators didn't agree; official
files hold none, relatives do) becomes the empty class name, which is never right.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from twelvefold.datasets.reading.records import BadRecords, Row, Source, checked, present
from twelvefold.schema import ClassName, Example, ImageKey, Pair, Split, TaskSpec

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
NO_GOLD = "-"
FILES = {"train": "train", "val": "dev", "test": "test"}


class Hypothesis(msgspec.Struct, gc=False):
    pair_id: str = msgspec.field(name="pairID")
    gold_label: str
    sentence2: str
    flikr: str | None = msgspec.field(name="Flikr30kID", default=None)
    flickr: str | None = msgspec.field(name="Flickr30kID", default=None)
    flickr_later: str | None = msgspec.field(name="Flickr30K_ID", default=None)


def files(root: Path, split: Split) -> list[Path]:
    """The file of a split."""
    return present(TASK.name, [[root / "snli_ve" / f"snli_ve_{FILES[split]}.jsonl"]])


def read(root: Path, split: Split, *, bad: BadRecords) -> Iterator[Example]:
    """The hypotheses of a split in the file's order, label ClassName."""
    return checked(_rows(Source(TASK.name, files(root, split)[0], bad)))


def _rows(source: Source) -> Iterator[Row]:
    for record, item in source.lines(Hypothesis):
        image = item.flikr or item.flickr or item.flickr_later
        if not image:
            source.refuse(record, "expected a picture as Flikr30kID, Flickr30kID or Flickr30K_ID, got none")
        elif item.gold_label not in (*TASK.classes, NO_GOLD):
            wanted = ", ".join(TASK.classes)
            source.refuse(record, f"expected a gold_label {wanted} or {NO_GOLD}, got {item.gold_label!r}")
        else:
            pair = Pair(ImageKey("flickr30k", image.removesuffix(".jpg")), item.sentence2.strip())
            label = ClassName("" if item.gold_label == NO_GOLD else item.gold_label)
            yield source, record, Example(item.pair_id, (pair,), label)
