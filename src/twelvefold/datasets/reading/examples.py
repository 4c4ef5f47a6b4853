"""Read the examples of a split, with advice that fits: records that all fail are no reason to leave some out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from twelvefold.datasets import Dataset
from twelvefold.datasets.reading.records import SKIP_ADVICE, BadRecordError, BadRecords
from twelvefold.schema import Example, Split, TwelvefoldError


def read_examples(dataset: Dataset, root: Path, split: Split, *, bad: BadRecords, **options: Any) -> Iterator[Example]:
    """Yield what ``dataset.read`` yields.

    Raises:
        BadRecordError: a record cannot be used and may not be skipped, but others can be used.
        TwelvefoldError: no record of the split can be used; or any error of the reader.
    """
    count = 0
    try:
        for example in dataset.read(root, split, bad=bad, **options):
            count += 1
            yield example
    except BadRecordError as error:
        skipped = BadRecords(skip=True)
        if count or _has_example(dataset.read(root, split, bad=skipped, **options)):
            raise
        raise TwelvefoldError(
            f"{str(error).removesuffix(SKIP_ADVICE)}. No record of {split} can be used ({len(skipped.rejected):,} were "
            "tried), so this is another file or another layout than expected: get the file again from its publisher, "
            "or convert it (docs/data.md)"
        ) from None


def _has_example(examples: Iterator[Example]) -> bool:
    try:
        return next(examples, None) is not None
    except TwelvefoldError:  # what is left is too little for this split
        return False
