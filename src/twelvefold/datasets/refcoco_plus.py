"""RefCOCO+: as RefCOCO, but place words were forbidden, so looks must tell. Paper: group G3, section 2.1.

Home: the refer toolkit (UNC). Licence: annotations as the toolkit's; the pictures are COCO's.

Files, in ``refcoco+/``: ``refs(unc).p`` and ``instances.json``.

Splits: train 120,191 sentences (95,852 after cleaning), val 10,758, test 10,615: testA (people) 5,726 and testB
(other things) 4,889, told apart by ``kind``. Everything else as in :mod:`twelvefold.datasets.refcoco`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from twelvefold.datasets import refcoco
from twelvefold.datasets.reading.records import BadRecords
from twelvefold.schema import Example, Split, TaskSpec

TASK: TaskSpec = replace(refcoco.TASK, name="refcoco+", title="RefCOCO+")


def files(root: Path, split: Split) -> list[Path]:
    """The pickle of refs and the boxes, whatever the split."""
    return refcoco.refer_files(TASK, root, "unc")


def read(root: Path, split: Split, *, bad: BadRecords) -> Iterator[Example]:
    """One example per sentence of a split, label TargetBox, kind ``testA`` or ``testB`` in test."""
    return refcoco.refer_examples(TASK, files(root, split), split, bad)
