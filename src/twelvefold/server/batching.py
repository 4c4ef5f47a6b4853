"""Dynamic batching across clients: one thread owns the model and takes the waiting requests, batch by batch.

A request whose client has left, or whose time is over, before its turn is dropped without any work.
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

from twelvefold.server.errors import ApiError, overloaded_error
from twelvefold.server.metrics import Metrics

RequestT = TypeVar("RequestT")
AnswerT = TypeVar("AnswerT")


@dataclass(eq=False, slots=True)
class Job(Generic[RequestT, AnswerT]):
    """A queued request and the future of its answer. queued_at: ``time.monotonic()`` when it was queued."""

    request: RequestT
    future: Future[AnswerT] = field(default_factory=Future)
    queued_at: float = field(default_factory=time.monotonic)


class Batcher(Generic[RequestT, AnswerT]):
    """A bounded queue and the thread that answers it.

    answer_batch: returns an answer or an error for each job. max_queue: jobs that may wait. max_batch_size: jobs of a
    batch. max_wait: seconds that a partial batch waits for more jobs, if more are coming: ``num_active`` returns the
    number of requests that have arrived and are not answered.
    """

    def __init__(
        self,
        answer_batch: Callable[[Sequence[Job[RequestT, AnswerT]]], Sequence[AnswerT | Exception]],
        metrics: Metrics,
        *,
        max_queue: int,
        max_batch_size: int,
        max_wait: float,
        num_active: Callable[[], int],
    ) -> None:
        self._answer_batch, self._metrics, self._max_batch_size = answer_batch, metrics, max_batch_size
        self._max_wait, self._num_active = max_wait, num_active
        self._queue: queue.Queue[Job[RequestT, AnswerT] | None] = queue.Queue(max_queue + 1)  # one more for the end
        self._max_queue = max_queue
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)
        self._closing = False
        metrics.waiting.set_function(self._queue.qsize)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Return whether the thread runs and accepts jobs."""
        return self._thread.is_alive() and not self._closing

    async def answer(self, request: RequestT, seconds: float) -> AnswerT:
        """Queue a request and wait at most ``seconds`` for its answer.

        Raises:
            ApiError: 503 if the queue is full or the request's turn did not come in time; 504 if the model took too
                long.
        """
        job: Job[RequestT, AnswerT] = Job(request)
        if not self.alive or self._queue.qsize() >= self._max_queue:
            raise overloaded_error("too many requests are waiting for the model")
        self._queue.put_nowait(job)
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.wrap_future(job.future)
        except TimeoutError:
            if job.future.cancel():  # the model has not started on it
                raise overloaded_error(f"the model was busy with other requests for {seconds:g} s") from None
            message = f"the model took longer than {seconds:g} s; send fewer or smaller images"
            raise ApiError(504, message) from None

    def close(self) -> None:
        """Answer the waiting jobs, accept no more, and end the thread."""
        self._closing = True
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        more = True
        while more:
            jobs, more = self._next_batch()
            live = [job for job in jobs if job.future.set_running_or_notify_cancel()]
            self._metrics.abandoned.inc(len(jobs) - len(live))
            if not live:
                continue
            self._metrics.batches.observe(len(live))
            try:
                answers = self._answer_batch(live)
            except Exception as error:  # noqa: BLE001 - the thread must survive any error of a batch
                answers = [error] * len(live)
            for job, answer in zip(live, answers, strict=True):
                if isinstance(answer, Exception):
                    job.future.set_exception(answer)
                else:
                    job.future.set_result(answer)

    def _next_batch(self) -> tuple[list[Job[RequestT, AnswerT]], bool]:
        """Wait for the next batch, and return whether more may follow."""
        jobs: list[Job[RequestT, AnswerT]] = []
        job = self._queue.get()
        deadline = time.monotonic() + self._max_wait
        while job is not None:
            jobs.append(job)
            if len(jobs) == self._max_batch_size:
                return jobs, True
            wait = max(0.0, deadline - time.monotonic()) if self._num_active() > len(jobs) else 0.0
            try:
                job = self._queue.get(timeout=wait)
            except queue.Empty:
                return jobs, True
        return jobs, False
