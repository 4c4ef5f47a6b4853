"""RefCOCO+: like RefCOCO, but location words were not allowed, so appearance decides. Paper: group G3, section 2.1.

Publisher: the refer toolkit (UNC). License: annotations as the toolkit's; the images are COCO's.

Files, in ``refcoco+/``: ``refs(unc).p`` and ``instances.json``.

Splits: train 120,191 sentences (95,852 after cleaning), val 10,758, test 10,615: testA (people) 5,726 and testB (other
objects) 4,889, which ``question_type`` distinguishes. Otherwise as :mod:`twelvefold.datasets.refcoco`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from twelvefold.datasets import refcoco
from twelvefold.datasets.reading.cards import refer_card
from twelvefold.datasets.reading.records import BadRecords
from twelvefold.schema import Example, Split, TaskSpec

PAPER_ORDER = 7
PAPER_SCORE = 73.25, "test"
TASK: TaskSpec = replace(refcoco.TASK, name="refcoco+", title="RefCOCO+")
CARD = refer_card(TASK.name, TASK.title, "unc", {"train": 120_191, "val": 10_758, "test": 10_615}, 95_852)


def files(root: Path, split: Split) -> list[Path]:
    """Return the pickle of refs and the file of boxes; both hold all splits."""
    return refcoco.refer_files(TASK, root, "unc")


def read(root: Path, split: Split, *, bad: BadRecords) -> Iterator[Example]:
    """Yield one example per sentence of a split: label ``TargetBox``, question type ``testA`` or ``testB`` in test."""
    return refcoco.refer_examples(TASK, files(root, split), split, bad)


SUBMISSION = refcoco.SUBMISSION
