"""Where the examples of a split are read from to decide what cleaning removes: official files, or an example table."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from twelvefold import datasets
from twelvefold.datasets.reading.examples import read_examples
from twelvefold.datasets.reading.records import BadRecords, Rejection
from twelvefold.datasets.reading.shared_files import share_decoded_files
from twelvefold.schema import Example, ImageKey, Pair, Split
from twelvefold.store.example_table import BATCH_ROWS, ExampleTable, TableWriter
from twelvefold.store.relaxed_gc import relaxed_gc
from twelvefold.store.steps import Step, run_steps

IdAndImages = tuple[str, tuple[ImageKey, ...]]
"""An example's id and the images of its pairs: all that cleaning looks at."""


class SplitSource(Protocol):
    """The examples of one split; it can be sent to a worker process."""

    def rows(self, bad: BadRecords) -> Iterator[IdAndImages]:
        """Yield the examples of the split in order; malformed records go to ``bad``."""


@dataclass(frozen=True, slots=True)
class FilesSource:
    """A split of the official files. ``task``: as ``datasets.load_dataset`` takes it."""

    data: Path
    task: str
    options: Mapping[str, Any]
    split: Split

    def rows(self, bad: BadRecords) -> Iterator[IdAndImages]:
        dataset = datasets.load_dataset(self.task)
        examples = read_examples(dataset, self.data, self.split, bad=bad, **self.options)
        return ((example.id, tuple([pair.image for pair in example.pairs])) for example in examples)


@dataclass(frozen=True, slots=True)
class TableSource:
    """An example table, from which malformed records were left out when it was made."""

    path: Path

    def rows(self, bad: BadRecords) -> Iterator[IdAndImages]:
        return ExampleTable.open(self.path).ids_and_images()

    def image_sources(self) -> set[str]:
        """Return the sources of the images of all examples."""
        return ExampleTable.open(self.path).image_sources()


@contextmanager
def id_tables(
    sources: Mapping[str, Mapping[Split, FilesSource]], folder: Path, *, bad: BadRecords, processes: int = 1
) -> Iterator[dict[str, dict[Split, TableSource]]]:
    """Read the official files once, and give tables of the ids and images of every split.

    They are in ``folder``, which is removed at the end. ``sources``: by task, then split. Malformed records go to
    ``bad``.
    """
    steps = [Step(task, (task, splits, folder, bad.skip)) for task, splits in sources.items()]
    try:
        rejected = run_steps(_write_task, steps, description="official files read", processes=processes)
        bad.rejected += [rejection for of_task in rejected.values() for rejection in of_task]
        yield {
            task: {split: TableSource(folder / f"{task}-{split}.arrow") for split in splits}
            for task, splits in sources.items()
        }
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@relaxed_gc()
def _write_task(task: str, splits: Mapping[Split, FilesSource], folder: Path, skip_bad: bool) -> list[Rejection]:
    """Write the tables of one task, and return its malformed records. Runs in a process of its own."""
    bad = BadRecords(skip=skip_bad)
    with share_decoded_files():
        for split, source in splits.items():
            rows = source.rows(bad)
            with TableWriter(folder / f"{task}-{split}.arrow", digest="") as writer:
                while block := list(islice(rows, BATCH_ROWS)):
                    examples = [
                        Example(id_, tuple([Pair(image, "") for image in images]), None) for id_, images in block
                    ]
                    writer.write(examples, [[] for example in examples for _ in example.pairs])
    return bad.rejected
