"""RefCOCOg: long referring expressions, written without time pressure. Paper: group G3, section 2.1.

Publisher: the refer toolkit (UMD's splits). License: annotations as the toolkit's; the images are COCO's.

Files, in ``refcocog/``: ``refs(umd).p`` and ``instances.json``. ``split_by="google"`` reads the older
``refs(google).p`` instead, whose train and val share images, and which has no test split: the published scores for it
are those of val.

Splits: train 80,512 sentences (65,514 after cleaning), val 4,896, test 9,602. Otherwise as
:mod:`twelvefold.datasets.refcoco`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

from twelvefold.datasets import refcoco
from twelvefold.datasets.reading.cards import refer_card
from twelvefold.datasets.reading.records import BadRecords
from twelvefold.schema import Example, Split, TaskSpec, TwelvefoldError

PAPER_ORDER = 8
PAPER_SCORE = 75.96, "test"
TASK: TaskSpec = replace(refcoco.TASK, name="refcocog", title="RefCOCOg")
CARD = refer_card(TASK.name, TASK.title, "umd", {"train": 80_512, "val": 4_896, "test": 9_602}, 65_514)


SplitBy = Literal["umd", "google"]
"""The refer toolkit's names of the splits."""


def files(root: Path, split: Split, *, split_by: SplitBy = "umd") -> list[Path]:
    """Return the pickle of refs and the file of boxes; both hold all splits.

    Raises:
        TwelvefoldError: a file is missing; names the option if the other splits are there.
    """
    try:
        return refcoco.refer_files(TASK, root, split_by)
    except TwelvefoldError as error:
        for other in get_args(SplitBy):
            if other != split_by and (root / TASK.name / f"refs({other}).p").exists():
                advice = (
                    f'for the splits of refs({other}).p set options.split_by = "{other}" under [per_task.{TASK.name}]'
                )
                raise TwelvefoldError(f"{error}; {advice} in the recipe") from None
        raise


def read(root: Path, split: Split, *, bad: BadRecords, split_by: SplitBy = "umd") -> Iterator[Example]:
    """Yield one example per sentence of a split, with label ``TargetBox``. ``split_by``: who made the splits."""
    return refcoco.refer_examples(TASK, files(root, split, split_by=split_by), split, bad)


SUBMISSION = refcoco.SUBMISSION
