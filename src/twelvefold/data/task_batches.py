"""The batches of one task, without state: a run can stop and continue at any step.

A training batch is a function of (seed, task, step). It depends neither on earlier steps nor on the number of ranks,
each of which computes a shard of it.

Paper: section 3.3 (round-robin batch-level sampling), 3.2 (4-way multiple choice with hard negatives for retrieval).
That each task has its own endless loader, shuffled in each epoch of the task, is the original project's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import xxhash
from numpy.typing import NDArray

from twelvefold.batch import Batch
from twelvefold.data.collate import TokenIds, collate
from twelvefold.data.multiple_choice import MultipleChoiceBuilder
from twelvefold.data.region_inputs import RegionSource
from twelvefold.families import load_family
from twelvefold.schema import Example, HeadSpec, Split, TaskSpec, TwelvefoldError
from twelvefold.store.example_table import ExampleTable
from twelvefold.store.prepared import Prepared

_VALIDATION_SEED = (12, 1)
"""Seed of the wrong pairs in validation. Arbitrary."""


class TaskBatches:
    """Batches of one split of one task. Retrieval examples are 4-way choices in training and validation.

    Differs: the last batch of an epoch is filled up with examples of the next epoch instead of being smaller, so every
    batch is full and can be split over the ranks; each epoch still contains every example once.
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
        """``task``: with the recipe's batch size, token and region limits. ``limit``: number of examples to use, evenly
        spaced over the table; 0: all. ``negatives``: as returned by ``Prepared.negatives``.

        Raises:
            TwelvefoldError: there are no examples, or the hard negatives are for other images.
        """
        if not len(table):
            raise TwelvefoldError(f"task {task.name!r} has no examples in {table.path}; prepare more data")
        self.table = table
        self.source = source
        self.task = task
        self.head = head
        self.seed = seed
        self.half = False
        """Whether stored float16 features stay float16 until a batch is moved to a GPU; see :func:`collate`."""
        self.indices = evenly_spaced(len(table), limit)
        self.multiple_choice = (
            MultipleChoiceBuilder(table, negatives) if load_family(task.family).searches_images else None
        )
        self._epoch_order = lru_cache(maxsize=2)(self._shuffle)

    @classmethod
    def open(
        cls,
        prepared: Prepared,
        source: RegionSource,
        task: TaskSpec,
        split: Split,
        *,
        seed: int = 0,
        limit: int = 0,
        head: HeadSpec | None = None,
    ) -> TaskBatches:
        """Open a split of a prepared task, for ``train`` with its hard negatives. ``head``: by default the data's."""
        negatives = prepared.negatives(task.name) if split == "train" else None
        table, head = prepared.table(task.name, split), head or prepared.head(task.name)
        return cls(table, source, task, head, seed=seed, limit=limit, negatives=negatives)

    def __len__(self) -> int:
        """Number of examples in use."""
        return len(self.indices)

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches in which every example occurs once: the paper's n_t."""
        return -(-len(self) // self.task.batch_size)

    def batch(self, indices: Sequence[int]) -> Batch:
        """Return the examples at these indices of the table as a batch, without multiple choice for retrieval."""
        examples = [self.table[int(index)] for index in indices]
        token_ids: list[TokenIds] = [
            self.table.token_ids(int(index), pair)
            for index, example in zip(indices, examples, strict=True)
            for pair in range(len(example.pairs))
        ]
        return self.collate(examples, token_ids)

    def train_batch(self, step: int, shard: int = 0, num_shards: int = 1) -> Batch:
        """Return a shard of the batch of ``step`` (0, 1, 2 ... without end).

        A rank computes one shard, or one for each of its micro-batches. All shards, concatenated, are the whole batch.

        Raises:
            TwelvefoldError: there are more shards than examples in a batch, or an image or candidate has no features.
        """
        rows = self.shard_rows(shard, num_shards)
        indices = self.indices_for_step(step)
        if self.multiple_choice is None:
            return self.batch(indices[rows].tolist())
        uniforms = self.generator("negatives", step).random((self.task.batch_size, MultipleChoiceBuilder.NUM_UNIFORMS))
        return self._multiple_choice_batch(self.multiple_choice, indices[rows], uniforms[rows])

    def shard_rows(self, shard: int, num_shards: int) -> NDArray[np.int64]:
        """Return the rows of a training batch that belong to a shard.

        Raises:
            TwelvefoldError: there are more shards than examples in a batch.
        """
        size = self.task.batch_size
        if num_shards > size:
            raise TwelvefoldError(
                f"task {self.task.name!r}: a batch of {size} examples can't be split into {num_shards} parts "
                "(processes x gradient_accumulation_steps); raise its batch_size, or lower one of these"
            )
        return np.array_split(np.arange(size), num_shards)[shard]

    def eval_batches(self, batch_size: int = 0, shard: int = 0, num_shards: int = 1) -> Iterator[Batch]:
        """Yield the batches of a shard of all examples, in order. ``batch_size`` 0: the task's.

        Retrieval yields 4-way choices (evaluation searches the whole pool instead). Their wrong pairs depend on the
        table only, so they are the same in every run.

        Differs: the original draws new wrong pairs at each validation, and from the test fold.
        """
        shard_rows = np.array_split(np.arange(len(self)), num_shards)[shard]
        size = batch_size or self.task.batch_size
        for rows in (shard_rows[start : start + size] for start in range(0, len(shard_rows), size)):
            if self.multiple_choice is None:
                yield self.batch(self.indices[rows].tolist())
            else:
                # The numbers of these rows in one array of those of all examples, without the array.
                bits = np.random.PCG64(_VALIDATION_SEED).advance(int(rows[0]) * MultipleChoiceBuilder.NUM_UNIFORMS)
                uniforms = np.random.Generator(bits).random((len(rows), MultipleChoiceBuilder.NUM_UNIFORMS))
                yield self._multiple_choice_batch(self.multiple_choice, self.indices[rows], uniforms)

    def indices_for_step(self, step: int) -> NDArray[np.int64]:
        """Return the table indices of the whole batch of ``step``: a window on the concatenated epochs."""
        first, end, length = step * self.task.batch_size, (step + 1) * self.task.batch_size, len(self)
        epochs = range(first // length, (end - 1) // length + 1)
        parts = [self._epoch_order(e)[max(first - e * length, 0) : end - e * length] for e in epochs]
        return np.concatenate(parts, dtype=np.int64)

    def _shuffle(self, epoch: int) -> NDArray[np.int32]:
        """Return all indices in the epoch's random order; a table has fewer than 2 ** 31 rows.

        Grouping by length would save a tenth of the time but costs far more in learning per step
        (``docs/results/demo.md``), presumably because such batches hold few question types.
        """
        return self.generator("order", epoch).permutation(self.indices.astype(np.int32))

    def generator(self, purpose: str, number: int) -> np.random.Generator:
        """Return the random number generator of this task for a purpose and a step or epoch ``number``."""
        name = xxhash.xxh3_64_intdigest(f"{self.task.name}/{purpose}".encode())
        return np.random.Generator(np.random.PCG64([self.seed, name, number]))

    def _multiple_choice_batch(
        self, builder: MultipleChoiceBuilder, indices: NDArray[np.int64], uniforms: NDArray[np.float64]
    ) -> Batch:
        built = [builder.build(int(index), row) for index, row in zip(indices, uniforms, strict=True)]
        return self.collate([example for example, _ in built], [ids for _, texts in built for ids in texts])

    def collate(self, examples: Sequence[Example], token_ids: Sequence[TokenIds]) -> Batch:
        """Return any examples as a batch of this task; see :func:`twelvefold.data.collate.collate`."""
        return collate(examples, token_ids, self.source, self.task, self.head, half=self.half)


def evenly_spaced(length: int, limit: int) -> NDArray[np.int64]:
    """Return at most ``limit`` evenly spaced indices of 0 to length - 1; all of them if ``limit`` is 0."""
    if not limit or length <= limit:
        return np.arange(length)
    return np.linspace(0, length - 1, limit).round().astype(np.int64)
