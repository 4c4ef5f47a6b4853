"""Dynamic batching: waiting requests are answered together and in order; late ones are dropped; none is lost."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from twelvefold.server.batching import Batcher, Job
from twelvefold.server.errors import ApiError
from twelvefold.server.image_cache import ImageCache
from twelvefold.server.metrics import Metrics


class NegateWhenReleased:
    """Record each batch, wait for ``go``, and answer with the negative of each number."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.started = threading.Event()
        self.batches: list[list[int]] = []

    def __call__(self, jobs: Sequence[Job[int, int]]) -> list[int | Exception]:
        self.batches.append([job.request for job in jobs])
        self.started.set()
        assert self.go.wait(30)
        if any(job.request == 13 for job in jobs):
            raise ValueError("the whole batch")
        return [ArithmeticError("zero") if job.request == 0 else -job.request for job in jobs]


def make_batcher(work: NegateWhenReleased, *, max_queue: int = 10, max_batch_size: int = 4) -> Batcher[int, int]:
    return Batcher(
        work, Metrics(), max_queue=max_queue, max_batch_size=max_batch_size, max_wait=0.0, num_active=lambda: 0
    )


async def wait_for_start(work: NegateWhenReleased) -> None:
    await asyncio.to_thread(work.started.wait, 30)


def test_waiting_requests_are_answered_together_and_in_order() -> None:
    async def run() -> None:
        work = NegateWhenReleased()
        batcher = make_batcher(work)
        first = asyncio.create_task(batcher.answer(1, 30))
        await wait_for_start(work)
        others = [asyncio.create_task(batcher.answer(n, 30)) for n in range(2, 8)]
        await asyncio.sleep(0)
        work.go.set()
        assert await asyncio.gather(first, *others) == [-n for n in range(1, 8)]
        assert work.batches == [[1], [2, 3, 4, 5], [6, 7]]
        batcher.close()

    asyncio.run(run())


def test_a_partial_batch_waits_only_if_more_requests_are_active() -> None:
    async def run(num_active: int) -> list[list[int]]:
        work = NegateWhenReleased()
        work.go.set()
        batcher = Batcher(work, Metrics(), max_queue=10, max_batch_size=2, max_wait=60.0, num_active=lambda: num_active)
        answers = [asyncio.create_task(batcher.answer(1, 30))]
        if num_active == 1:
            await wait_for_start(work)
        answers.append(asyncio.create_task(batcher.answer(2, 30)))
        await asyncio.gather(*answers)
        batcher.close()
        return work.batches

    assert asyncio.run(run(1)) == [[1], [2]]
    assert asyncio.run(run(2)) == [[1, 2]]


def test_an_error_fails_only_its_own_request() -> None:
    async def run() -> None:
        work = NegateWhenReleased()
        work.go.set()
        batcher = make_batcher(work)
        results = await asyncio.gather(*(batcher.answer(n, 30) for n in (5, 0, 7)), return_exceptions=True)
        assert (results[0], results[2]) == (-5, -7)
        assert isinstance(results[1], ArithmeticError)
        with pytest.raises(ValueError, match="the whole batch"):
            await batcher.answer(13, 30)
        assert await batcher.answer(1, 30) == -1
        batcher.close()

    asyncio.run(run())


def test_a_full_queue_is_503_a_late_turn_503_and_a_slow_answer_504() -> None:
    async def run() -> None:
        work = NegateWhenReleased()
        batcher = make_batcher(work, max_queue=2)
        long = asyncio.create_task(batcher.answer(1, 0.2))
        await wait_for_start(work)
        late = [asyncio.create_task(batcher.answer(n, 0.1)) for n in (2, 3)]
        await asyncio.sleep(0)
        with pytest.raises(ApiError) as too_many:
            await batcher.answer(4, 30)
        statuses = [error.status_code for error in await asyncio.gather(*late, long, return_exceptions=True)]  # type: ignore[union-attr]
        assert (too_many.value.status_code, statuses) == (503, [503, 503, 504])
        work.go.set()
        batcher.close()
        assert work.batches == [[1]]  # the late requests were dropped

    asyncio.run(run())


def test_close_answers_waiting_requests_and_accepts_no_more() -> None:
    async def run() -> None:
        work = NegateWhenReleased()
        batcher = make_batcher(work)
        waiting = [asyncio.create_task(batcher.answer(n, 30)) for n in range(1, 7)]
        await wait_for_start(work)
        closing = asyncio.create_task(asyncio.to_thread(batcher.close))
        while batcher.alive:
            await asyncio.sleep(0.01)
        with pytest.raises(ApiError):
            await batcher.answer(9, 30)
        work.go.set()
        assert await asyncio.gather(*waiting) == [-n for n in range(1, 7)]
        await closing

    asyncio.run(run())


def test_the_image_cache_evicts_the_least_recently_used_image() -> None:
    from PIL import Image

    from twelvefold.images import load_image

    images = [load_image(Image.new("RGB", (10, 10), (n, 0, 0))) for n in range(4)]  # 300 bytes each
    cache = ImageCache(900, Metrics())
    for n in range(3):
        cache.add(images[n], f"file {n}")
    assert cache.find_by_file("file 0") is images[0]  # so image 1 is the least recently used
    cache.add(images[3], "file 3")
    assert cache.find(images[0].digest) is images[0]
    assert cache.find_by_file("file 1") is None
    with pytest.raises(ApiError):
        cache.find(images[1].digest)
    same = load_image(Image.new("RGB", (10, 10), (0, 0, 0)))
    assert cache.add(same, "another file") is images[0]
