"""Compare the numbers of prepared examples with those of the original project.

A task is compared if the folder may hold the publishers' full files of it: the folder is not a drawn world, and the
task's train files hold at least ``MIN_SHARE`` of the original's examples. A difference is shown and is no error:
several counts are recalled.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec
from rich.table import Table

from twelvefold.datasets.reading.cards import DatasetCard, OriginalCounts, dataset_cards
from twelvefold.datasets.reading.options import WORLD_FILE
from twelvefold.splits.policy import NO_CLEANING
from twelvefold.store.prepared import ExampleCounts

MIN_SHARE = 0.1
"""Share of the original's training examples below which a task's files are a sample, and not the publisher's."""


class CountComparison(msgspec.Struct, frozen=True):
    """One number of examples. ``split``: train, train after cleaning, or test. ``expected``: of the original project;
    ``recalled``: it is from memory."""

    task: str
    split: str
    read: int
    expected: int
    recalled: bool

    @property
    def difference(self) -> int:
        """The number read minus the expected one."""
        return self.read - self.expected


class CountComparisons(msgspec.Struct, frozen=True):
    """``rows``: of all tasks that are compared. ``skipped``: why others are not, in sentences."""

    rows: tuple[CountComparison, ...] = ()
    skipped: tuple[str, ...] = ()

    def table(self) -> Table:
        """Return the rows for printing with rich."""
        table = Table("task", "split", title="numbers of examples, and those of the original project")
        for name in ("read", "expected", "difference"):
            table.add_column(name, justify="right")
        table.add_column("")
        for row in self.rows:
            numbers = f"{row.read:,}", f"{row.expected:,}", f"{row.difference:+,}" if row.difference else "0"
            table.add_row(row.task, row.split, *numbers, "recalled" if row.recalled else "")
        return table


def compare_with_original(
    data: Path, counts: Mapping[str, Mapping[str, ExampleCounts]], policy: str
) -> CountComparisons:
    """Return how the numbers of examples of a data folder differ from those of the original project.

    ``counts``: by task and split. ``policy``: of cleaning; full data has no cleaned counts.
    """
    if (data / WORLD_FILE).exists():
        reason = "numbers of examples: not compared with the original project's, because the data are a drawn world"
        return CountComparisons(skipped=(reason,))
    rows, skipped = list[CountComparison](), list[str]()
    for task, splits in counts.items():
        card = dataset_cards().get(task)
        original = card.original_counts if card else None
        if card is None or original is None:
            continue
        task_rows = _compare_task(task, card, original, splits, is_cleaned=policy != NO_CLEANING)
        train = task_rows[0]
        if train.read >= MIN_SHARE * train.expected:
            rows += task_rows
        else:
            skipped.append(
                f"{task}: {train.read:,} train examples are not compared with the original project's "
                f"{train.expected:,}: less than {MIN_SHARE:.0%}, so a sample of the files"
            )
    return CountComparisons(tuple(rows), tuple(skipped))


def _compare_task(
    task: str,
    card: DatasetCard,
    original: OriginalCounts,
    splits: Mapping[str, ExampleCounts],
    *,
    is_cleaned: bool,
) -> list[CountComparison]:
    train = [splits[split] for split in original.train_splits]
    read, removed = sum(each.read for each in train), sum(each.removed for each in train)
    name, recalled = " and ".join(original.train_splits), original.recalled
    rows = [CountComparison(task, name, read, original.train or card.examples["train"], "train" in recalled)]
    if is_cleaned:
        row = CountComparison(task, f"{name}, cleaned", read - removed, original.cleaned, "cleaned" in recalled)
        rows.append(row)
    return [*rows, CountComparison(task, "test", splits["test"].read, card.examples["test"], recalled=False)]
