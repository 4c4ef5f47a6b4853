"""Make training batches ahead of time, for all tasks in one pool of processes.

The pool makes batches in the order in which the training loop will ask for them. Stop-and-go may change that order at
any time. Then the batches that are ready wait for their task's next turn: a batch is a function of its task and step,
and every task steps again. So nothing is made in vain, and no state of the pool has to be saved.
"""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from twelvefold.batch import Batch
from twelvefold.data.shared_buffers import SharedBuffers
from twelvefold.schema import TwelvefoldError

MakeStep = Callable[[str, int], list[Batch]]
"""Makes a rank's batches of a task's step: its share of the batch, in ``gradient_accumulation_steps`` parts."""
TasksAfter = Callable[[str | None], Iterator[str]]
"""Yields the tasks that the loop will ask for after its request for a task (None: from its first request on), without
end, as far as is known now."""

PREFETCH_FACTOR = 2
"""Steps that each worker process has in work or ready."""


class BatchLoader:
    """The training batches of all tasks, each from its own next step on.

    A batch may share memory with the pool, which uses it again when the batch is no longer referenced.
    """

    def __init__(
        self,
        make_step: MakeStep,
        first_steps: Mapping[str, int],
        tasks_after: TasksAfter,
        num_workers: int,
        *,
        pin_memory: bool = False,
    ) -> None:
        """``first_steps``: the next step of each task. ``num_workers``: processes; 0: each batch is made when it is
        asked for. ``pin_memory``: put batches into page-locked memory, from which a GPU copies while it computes."""
        self._make_step = make_step
        self._steps = dict(first_steps)
        self._early: dict[str, deque[list[Batch]]] = {task: deque() for task in first_steps}
        self._requests = _Requests(self._steps, tasks_after, 2 * PREFETCH_FACTOR * num_workers + 2)
        self._pool = self._start_pool(num_workers, pin_memory) if num_workers else None

    def iterate(self, task: str) -> Iterator[list[Batch]]:
        """Yield the batches of a task's steps, without end."""
        while True:
            yield self.next(task)

    def next(self, task: str) -> list[Batch]:
        """Return the batches of a task's next step.

        Raises:
            TwelvefoldError: an image or a candidate has no features, or a process of the pool was killed.
        """
        if self._pool is None:
            batches = self._make_step(task, self._steps[task])
        else:
            self._requests.current = task
            while not self._early[task]:
                finished = self._receive(self._pool)
                self._early[finished.task].append(finished.decode())
            batches = self._early[task].popleft()
        self._steps[task] += 1
        return batches

    def _start_pool(self, num_workers: int, pin_memory: bool) -> Iterator[_EncodedStep]:
        loader = DataLoader(
            _Steps(self._make_step, self._requests.buffers),
            batch_size=None,
            sampler=self._requests,
            num_workers=num_workers,
            prefetch_factor=PREFETCH_FACTOR,
            collate_fn=_unchanged,
            worker_init_fn=_ignore_interrupts,
            multiprocessing_context="fork",  # the mapped stores and tables are inherited, not copied
            pin_memory=pin_memory,
        )
        return iter(loader)

    def _receive(self, pool: Iterator[_EncodedStep]) -> _EncodedStep:
        with report_killed_processes():
            return next(pool)


@contextmanager
def report_killed_processes() -> Iterator[None]:
    """Turn the error about a killed process of the pool, which PyTorch raises wherever the program is, into advice.

    Raises:
        TwelvefoldError: a process of the pool was killed.
    """
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker (pid" not in str(error):
            raise
        raise TwelvefoldError(
            f"a process that makes batches was killed ({str(error).splitlines()[0]}), probably for lack of memory: "
            "lower [training] num_workers, and start the same command again to resume"
        ) from error


class _Requests(Sampler[tuple[str, int, int | None]]):
    """What the pool makes next, decided when a process is about to become free: (task, step, shared buffer or None)."""

    def __init__(self, steps: Mapping[str, int], tasks_after: TasksAfter, num_buffers: int) -> None:
        """``steps``: each task's step that the loop asks for next, kept up to date by the loader."""
        self.current: str | None = None
        self.buffers = SharedBuffers(num_buffers)
        self._steps = steps
        self._requested = dict(steps)  # the step of each task that the pool makes next
        self._tasks_after = tasks_after

    def __iter__(self) -> Iterator[tuple[str, int, int | None]]:
        while True:
            task = self._next_task()
            step = self._requested[task]
            self._requested[task] += 1
            yield task, step, self.buffers.reserve()

    def _next_task(self) -> str:
        """Return the first task for which the loop will ask a batch that is not made or in work yet."""
        steps = dict(self._steps)
        first = [] if self.current is None else [self.current]
        for task in chain(first, self._tasks_after(self.current)):
            if steps[task] == self._requested[task]:
                return task
            steps[task] += 1
        raise AssertionError("the loop never ends")


class _Steps(Dataset["_EncodedStep"]):
    """Steps by task and number, as a process of the pool makes them."""

    def __init__(self, make_step: MakeStep, buffers: SharedBuffers) -> None:
        self.make_step = make_step
        self.buffers = buffers

    def __getitem__(self, request: tuple[str, int, int | None]) -> _EncodedStep:
        task, step, buffer = request
        try:
            with self.buffers.in_use(buffer):
                batches = self.make_step(task, step)
        except TwelvefoldError as error:
            return _EncodedStep(task, self.buffers, buffer, [], str(error))
        encoded = [(type(batch), _encode(batch, self.buffers, buffer)) for batch in batches]
        return _EncodedStep(task, self.buffers, buffer, encoded)


@dataclass(slots=True)
class _EncodedStep:
    """The batches of a step on their way to the trainer: arrays in a shared buffer by their place in it, small ones by
    value, which is faster than a shared file for each."""

    task: str
    buffers: SharedBuffers
    buffer: int | None
    batches: list[tuple[type[Batch], dict[str, Any]]]
    error: str = ""
    decoded: list[Batch] | None = None

    def decode(self) -> list[Batch]:
        """Return the batches; call it once.

        Raises:
            TwelvefoldError: making them has raised it.
        """
        if self.decoded is not None:
            return self.decoded
        memory = None if self.buffer is None else self.buffers.open(self.buffer)
        if self.error:
            raise TwelvefoldError(self.error)
        return [
            type_(**{name: _decode(value, memory) for name, value in values.items()}) for type_, values in self.batches
        ]

    def pin_memory(self) -> _EncodedStep:
        """Decode the batches into page-locked memory; a thread of ``DataLoader`` calls it."""
        if not self.error:
            self.decoded = [batch.pin_memory() for batch in self.decode()]
        return self


@dataclass(slots=True)
class _Shared:
    """Place of a tensor in a shared buffer."""

    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


@dataclass(slots=True)
class _Small:
    """A tensor that is sent by value."""

    values: np.ndarray[Any, Any]


def _encode(batch: Batch, buffers: SharedBuffers, buffer: int | None) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for field in fields(batch):
        value = getattr(batch, field.name)
        if isinstance(value, Tensor):
            array = value.numpy()
            offset = None if buffer is None else buffers.offset(buffer, array)
            value = _Small(array) if offset is None else _Shared(offset, array.shape, array.dtype)
        values[field.name] = value
    return values


def _decode(value: Any, memory: np.ndarray[Any, np.dtype[np.uint8]] | None) -> Any:
    match value:
        case _Small(array):
            return torch.from_numpy(array)
        case _Shared(offset, shape, dtype) if memory is not None:
            num_bytes = int(np.prod(shape)) * dtype.itemsize
            return torch.from_numpy(memory[offset : offset + num_bytes].view(dtype).reshape(shape))
    return value


def _unchanged(step: Any) -> Any:
    """Replace the default conversion of ``DataLoader``, which would send each array as a shared file."""
    return step


def _ignore_interrupts(worker: int) -> None:
    """Ctrl-C reaches every process of a terminal, but only the trainer may act on it: it saves a checkpoint first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
