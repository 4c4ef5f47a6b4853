"""RefCOCOg: long expressions, written at leisure. Paper: group G3, section 2.1.

Home: the refer toolkit (UMD's splits). Licence: annotations as the toolkit's; the pictures are COCO's.

Files, in ``refcocog/``: ``refs(umd).p`` and ``instances.json``. The older ``refs(google).p`` has no test pictures
of its own and is not read.

Splits: train 80,512 sentences (65,514 after cleaning), val 4,896, test 9,602. Everything else as in
:mod:`twelvefold.datasets.refcoco`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from twelvefold.datasets import refcoco
from twelvefold.datasets.reading.records import BadRecords
from twelvefold.schema import Example, Split, TaskSpec

TASK: TaskSpec = replace(refcoco.TASK, name="refcocog", title="RefCOCOg")


def files(root: Path, split: Split) -> list[Path]:
    """The pickle of refs and the boxes, whatever the split."""
    return refcoco.refer_files(TASK, root, "umd")


def read(root: Path, split: Split, *, bad: BadRecords) -> Iterator[Example]:
    """One example per sentence of a split, label TargetBox."""
    return refcoco.refer_examples(TASK, files(root, split), split, bad)
