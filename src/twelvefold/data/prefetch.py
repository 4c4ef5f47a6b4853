"""Batches on their way to where they are computed: made ahead of time by other processes."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from itertools import count

from torch.utils.data import DataLoader, Dataset

from twelvefold.batch import Batch

Make = Callable[[int], list[Batch]]
"""What a rank computes in a step of a task: the parts of its share of the batch."""

READY = 2
"""Steps that each worker has ready."""


def ahead(make: Make, first: int, workers: int) -> Iterator[list[Batch]]:
    """``make(first)``, ``make(first + 1)`` ... without end; by ``workers`` processes, or here and when asked for."""
    if not workers:
        return map(make, count(first))
    loader = DataLoader(
        _Steps(make),
        batch_size=None,
        sampler=count(first),
        num_workers=workers,
        prefetch_factor=READY,
        worker_init_fn=_leave_interrupts,
    )
    return iter(loader)


class _Steps(Dataset[list[Batch]]):
    """Steps by their number, as a loader wants them."""

    def __init__(self, make: Make) -> None:
        self.make = make

    def __getitem__(self, step: int) -> list[Batch]:
        return self.make(step)


def _leave_interrupts(worker: int) -> None:
    """Ctrl-C reaches every process of a terminal; only the trainer shall act on it, and save first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
