"""RefCOCOg: long referring expressions, written without time pressure. Paper: group G3, section 2.1.

Publisher: the refer toolkit (UMD's splits). License: annotations as the toolkit's; the images are COCO's.

Files, in ``refcocog/``: ``refs(umd).p`` and ``instances.json``. The older ``refs(google).p`` has no test images of its
own and is not read.

Splits: train 80,512 sentences (65,514 after cleaning), val 4,896, test 9,602. Otherwise as
:mod:`twelvefold.datasets.refcoco`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from twelvefold.datasets import refcoco
from twelvefold.datasets.reading.cards import refer_card
from twelvefold.datasets.reading.records import BadRecords
from twelvefold.schema import Example, Split, TaskSpec

PAPER_ORDER = 8
PAPER_SCORE = 75.96, "test"
TASK: TaskSpec = replace(refcoco.TASK, name="refcocog", title="RefCOCOg")
CARD = refer_card(TASK.name, TASK.title, "umd", {"train": 80_512, "val": 4_896, "test": 9_602})


def files(root: Path, split: Split) -> list[Path]:
    """Return the pickle of refs and the file of boxes; both hold all splits."""
    return refcoco.refer_files(TASK, root, "umd")


def read(root: Path, split: Split, *, bad: BadRecords) -> Iterator[Example]:
    """Yield one example per sentence of a split, with label ``TargetBox``."""
    return refcoco.refer_examples(TASK, files(root, split), split, bad)


SUBMISSION = refcoco.SUBMISSION
