"""The batches of one task: stateless, so that a run can stop and go on anywhere.

A training batch is a function of (seed, task, step) and of nothing else: not of the steps before, not of the
number of ranks. Paper: section 3.3 (each task has its own loader, endless and shuffled anew each epoch of the
task), 3.2 (four-way choice with hard negatives for retrieval).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import xxhash
from numpy.typing import NDArray

from twelvefold.batch import Batch
from twelvefold.data.collate import TokenIds, collate
from twelvefold.data.multiple_choice import FourWay
from twelvefold.data.region_inputs import RegionSource
from twelvefold.schema import Example, HeadSpec, Split, TaskSpec, TwelvefoldError
from twelvefold.store.example_table import ExampleTable
from twelvefold.store.prepared import Prepared

_FIXED = (12, 1)
"""Seed of the wrong pairs in validation. Ours: any constant would do."""


class TaskBatches:
    """Batches of one split of one task. Retrieval examples become four-way choices in training and validation.

    Differs: an epoch's last batch takes its missing examples from the next epoch instead of being smaller, so
    every batch is full and every rank always has a part of it; each epoch still has every example once.
    """

    def __init__(
        self,
        table: ExampleTable,
        source: RegionSource,
        task: TaskSpec,
        head: HeadSpec,
        *,
        seed: int = 0,
        limit: int = 0,
        negatives: NDArray[np.int32] | None = None,
    ) -> None:
        """``task``: with the recipe's batch size, token and region limits. ``limit``: use only so many examples,
        spread evenly over the table; 0: all. ``negatives``: as ``Prepared.negatives`` gives them.

        Raises:
            TwelvefoldError: there are no examples, or hard negatives are of other pictures.
        """
        if not len(table):
            raise TwelvefoldError(f"task {task.name!r} has no examples in {table.path}; prepare more data")
        self.table = table
        self.source = source
        self.task = task
        self.head = head
        self.seed = seed
        self.indices = spread(len(table), limit)
        self.choices = FourWay(table, negatives) if task.family == "retrieval" else None
        self._order = lru_cache(maxsize=2)(self._shuffled)

    @classmethod
    def open(
        cls, prepared: Prepared, source: RegionSource, task: TaskSpec, split: Split, *, seed: int = 0, limit: int = 0
    ) -> TaskBatches:
        """Batches of a prepared task and split; hard negatives come along for ``train``."""
        negatives = prepared.negatives(task.name) if split == "train" else None
        table, head = prepared.table(task.name, split), prepared.head(task.name)
        return cls(table, source, task, head, seed=seed, limit=limit, negatives=negatives)

    def __len__(self) -> int:
        """Examples in use."""
        return len(self.indices)

    @property
    def steps_per_epoch(self) -> int:
        """Batches until every example has come once: the paper's n_t."""
        return -(-len(self) // self.task.batch_size)

    def batch(self, places: Sequence[int]) -> Batch:
        """The examples at these places of the table, as they stand there: a caption with its one picture."""
        examples = [self.table[int(place)] for place in places]
        ids: list[TokenIds] = [
            self.table.token_ids(int(place), pair)
            for place, example in zip(places, examples, strict=True)
            for pair in range(len(example.pairs))
        ]
        return self.collate(examples, ids)

    def train_batch(self, step: int, rank: int = 0, ranks: int = 1) -> Batch:
        """This rank's part of the batch of ``step`` (0, 1, 2 ... without end).

        The parts of all ranks, one after the other, are the batch that one rank alone would have.

        Raises:
            TwelvefoldError: more ranks than examples in a batch, or a picture or candidate without features.
        """
        part = self.part(rank, ranks)
        places = self.indices_for_step(step)
        if self.choices is None:
            return self.batch(places[part].tolist())
        draws = self.generator("negatives", step).random((self.task.batch_size, FourWay.DRAWS))
        return self._multiple_choice_batch(self.choices, places[part], draws[part])

    def part(self, rank: int, ranks: int) -> NDArray[np.int64]:
        """Which rows of a training batch are this rank's.

        Raises:
            TwelvefoldError: more ranks than examples in a batch.
        """
        size = self.task.batch_size
        if ranks > size:
            raise TwelvefoldError(
                f"task {self.task.name!r}: a batch of {size} examples can't be shared by {ranks} processes and parts; "
                "raise its batch_size, or lower processes or accumulation"
            )
        return np.array_split(np.arange(size), ranks)[rank]

    def eval_batches(self, batch_size: int = 0, rank: int = 0, ranks: int = 1) -> Iterator[Batch]:
        """Every example once and in order, this rank's share of them; ``batch_size`` 0: the task's.

        Retrieval gives four-way choices (the whole pool is searched in evaluation) whose wrong pairs depend on
        the table alone: the same in every run, whatever its seed.

        Differs: the original draws them anew at each validation, and from the test fold.
        """
        part = np.array_split(np.arange(len(self)), ranks)[rank]
        size = batch_size or self.task.batch_size
        draws = np.random.Generator(np.random.PCG64(_FIXED)).random((len(self), FourWay.DRAWS))
        for rows in (part[start : start + size] for start in range(0, len(part), size)):
            if self.choices is None:
                yield self.batch(self.indices[rows].tolist())
            else:
                yield self._multiple_choice_batch(self.choices, self.indices[rows], draws[rows])

    def indices_for_step(self, step: int) -> NDArray[np.int64]:
        """Places in the table of the whole batch of ``step``: a window on the epochs laid end to end."""
        first, size = step * self.task.batch_size, self.task.batch_size
        epochs = range(first // len(self), (first + size - 1) // len(self) + 1)
        start = first - epochs[0] * len(self)
        return np.concatenate([self._order(epoch) for epoch in epochs])[start : start + size]

    def _shuffled(self, epoch: int) -> NDArray[np.int64]:
        """All places in a new order. Sorting stretches by length saved a tenth of the time and cost far more in what
        was learnt per step (``docs/results/demo.md``): presumably such batches hold one kind of question each."""
        return self.indices[self.generator("order", epoch).permutation(len(self))]

    def generator(self, what: str, number: int) -> np.random.Generator:
        """Random numbers of one purpose of this task, of a step or an epoch by its ``number``."""
        name = xxhash.xxh3_64_intdigest(f"{self.task.name}/{what}".encode())
        return np.random.Generator(np.random.PCG64([self.seed, name, number]))

    def _multiple_choice_batch(self, four_way: FourWay, places: NDArray[np.int64], draws: NDArray[np.float64]) -> Batch:
        made = [four_way.make(int(place), draw) for place, draw in zip(places, draws, strict=True)]
        return self.collate([example for example, _ in made], [ids for _, four in made for ids in four])

    def collate(self, examples: Sequence[Example], ids: Sequence[TokenIds]) -> Batch:
        """Any examples as a batch of this task; ``ids``: of every pair's text, uncut and without special pieces."""
        return collate(examples, ids, self.source, self.task, self.head)


def spread(length: int, most: int) -> NDArray[np.int64]:
    """At most ``most`` places of 0..length-1, evenly apart; all of them where ``most`` is 0."""
    if not most or length <= most:
        return np.arange(length)
    return np.linspace(0, length - 1, most).round().astype(np.int64)
