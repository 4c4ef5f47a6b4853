"""Prefetch training batches in worker processes."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from itertools import count

from torch.utils.data import DataLoader, Dataset

from twelvefold.batch import Batch

MakeStep = Callable[[int], list[Batch]]
"""Makes a rank's batches of one step: its share of the batch, in ``gradient_accumulation_steps`` parts."""

PREFETCH_FACTOR = 2
"""Steps that each worker keeps ready."""


def prefetch(make_step: MakeStep, first_step: int, num_workers: int) -> Iterator[list[Batch]]:
    """Yield ``make_step(first_step)``, ``make_step(first_step + 1)`` ... without end.

    ``num_workers`` processes make them ahead of time; with 0 each is made here when it is requested.
    """
    if not num_workers:
        return map(make_step, count(first_step))
    loader = DataLoader(
        _Steps(make_step),
        batch_size=None,
        sampler=count(first_step),
        num_workers=num_workers,
        prefetch_factor=PREFETCH_FACTOR,
        worker_init_fn=_ignore_interrupts,
    )
    return iter(loader)


class _Steps(Dataset[list[Batch]]):
    """Steps by number, the form that ``DataLoader`` needs."""

    def __init__(self, make_step: MakeStep) -> None:
        self.make_step = make_step

    def __getitem__(self, step: int) -> list[Batch]:
        return self.make_step(step)


def _ignore_interrupts(worker: int) -> None:
    """Ctrl-C reaches every process of a terminal, but only the trainer may act on it: it saves a checkpoint first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
