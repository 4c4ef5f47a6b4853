"""NLVR2: is a statement true of two photographs? Paper: group G4, section 2.1.

Home: the NLVR page of Cornell's lil lab. Licence: annotations CC BY 4.0; the pictures belong to their owners.

Files, in ``nlvr2/``, JSON lines under a ``.json`` name: ``train.json``, ``dev.json``, ``test1.json`` (test-P; the
original project calls it ``test.json``). ``test="test2"`` reads ``test2.json``.

Splits: train 86,373 (86,373 after cleaning), val (dev) 6,982, test 6,967.

An identifier is ``<split>-<set>-<pair>-<sentence>``; the pictures are ``<split>-<set>-<pair>-img0`` (left) and
``-img1`` (right). ``group`` names the sentence, ``<split>-<set>-<sentence>``: consistency asks that all its pairs are
judged rightly.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from twelvefold.datasets.reading.records import BadRecords, Row, Source, checked, present
from twelvefold.schema import ClassName, Example, ImageKey, Pair, Split, TaskSpec

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


class Statement(msgspec.Struct, gc=False):
    identifier: str
    sentence: str
    label: str


def files(root: Path, split: Split, *, test: str = "test1") -> list[Path]:
    """The file of a split."""
    folder = root / "nlvr2"
    names = {"train": ["train"], "val": ["dev"], "test": [test, "test"] if test == "test1" else [test]}[split]
    return present(TASK.name, [[folder / f"{name}.json" for name in names]])


def read(root: Path, split: Split, *, bad: BadRecords, test: str = "test1") -> Iterator[Example]:
    """The statements of a split in the file's order, two pairs each (left, right), label ClassName."""
    return checked(_rows(Source(TASK.name, files(root, split, test=test)[0], bad)))


def _rows(source: Source) -> Iterator[Row]:
    for record, statement in source.lines(Statement):
        parts = statement.identifier.split("-")
        if len(parts) != 4 or not all(parts):
            source.refuse(
                record, f"expected an identifier <split>-<set>-<pair>-<sentence>, got {statement.identifier!r}"
            )
            continue
        if statement.label not in TASK.classes:
            source.refuse(record, f"expected a label {' or '.join(TASK.classes)}, got {statement.label!r}")
            continue
        part, set_, pair, sentence = parts
        pairs = tuple(
            Pair(ImageKey("nlvr2", f"{part}-{set_}-{pair}-img{side}"), statement.sentence.strip()) for side in (0, 1)
        )
        label, group = ClassName(statement.label), f"{part}-{set_}-{sentence}"
        yield source, record, Example(statement.identifier, pairs, label, group=group)
