"""Micro-batches across clients: one thread owns the model and takes what waits, a few milliseconds' worth at a time.

A client that leaves, or runs out of time, before its turn costs nothing: its job is dropped when it comes up.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from twelvefold.server.errors import Refusal, full
from twelvefold.server.metrics import Metrics

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


@dataclass(eq=False, slots=True)
class Job(Generic[Asked, Answer]):
    """Something asked, and where its answer, or what went wrong, will be. ``since``: when it began to wait."""

    asked: Asked
    answer: Future[Answer] = field(default_factory=Future)
    since: float = field(default_factory=time.monotonic)


class Batcher(Generic[Asked, Answer]):
    """A bounded queue and the one thread that empties it.

    ``work`` answers a batch: it gives, for each thing asked, its answer or the error that it ends with. ``room``: most
    that wait; ``most``: of a batch; ``linger``: seconds that a batch which isn't full waits for more, where more may
    come: ``under_way`` says how many have and are not answered.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Job[Asked, Answer]]], Sequence[Answer | Exception]],
        metrics: Metrics,
        *,
        room: int,
        most: int,
        linger: float,
        under_way: Callable[[], int],
    ) -> None:
        self._work, self._metrics, self._most = work, metrics, most
        self._linger, self._under_way = linger, under_way
        self._waiting: queue.Queue[Job[Asked, Answer] | None] = queue.Queue(room + 1)  # the 1: for the end
        self._room = room
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)
        self._ending = False
        metrics.waiting.set_function(self._waiting.qsize)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread runs and takes more."""
        return self._thread.is_alive() and not self._ending

    async def answer(self, asked: Asked, seconds: float) -> Answer:
        """Wait for the answer of one thing asked, at most ``seconds``.

        Raises:
            Refusal: 503 where the queue is full or its turn didn't come in time; 504 where the model took too long.
        """
        job: Job[Asked, Answer] = Job(asked)
        if not self.alive or self._waiting.qsize() >= self._room:
            raise full("too many requests wait for the model")
        self._waiting.put_nowait(job)
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.wrap_future(job.answer)
        except TimeoutError:
            if job.answer.cancel():  # its turn had not come
                raise full(f"the model had no time for this within {seconds:g} s") from None
            raise Refusal(
                504, f"the model took longer than {seconds:g} s; ask about fewer or smaller pictures"
            ) from None

    def close(self) -> None:
        """Answer what waits, take no more, and end the thread."""
        self._ending = True
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        going = True
        while going:
            jobs, going = self._gather()
            live = [job for job in jobs if job.answer.set_running_or_notify_cancel()]
            self._metrics.abandoned.inc(len(jobs) - len(live))
            if not live:
                continue
            self._metrics.batches.observe(len(live))
            try:
                answers = self._work(live)
            except Exception as error:  # noqa: BLE001 - the thread must outlive whatever one batch runs into
                answers = [error] * len(live)
            for job, answer in zip(live, answers, strict=True):
                if isinstance(answer, Exception):
                    job.answer.set_exception(answer)
                else:
                    job.answer.set_result(answer)

    def _gather(self) -> tuple[list[Job[Asked, Answer]], bool]:
        """The next batch, and whether there may be more after it."""
        jobs: list[Job[Asked, Answer]] = []
        first = self._waiting.get()
        until = time.monotonic() + self._linger
        while first is not None:
            jobs.append(first)
            if len(jobs) == self._most:
                return jobs, True
            patience = max(0.0, until - time.monotonic()) if self._under_way() > len(jobs) else 0.0
            try:
                first = self._waiting.get(timeout=patience)
            except queue.Empty:
                return jobs, True
        return jobs, False
