"""Where the examples of a split are read from to decide what cleaning removes: official files, or an example table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from twelvefold import datasets
from twelvefold.datasets.reading.examples import read_examples
from twelvefold.datasets.reading.records import BadRecords
from twelvefold.schema import ImageKey, Split
from twelvefold.store.example_table import ExampleTable

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
