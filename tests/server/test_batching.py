"""Micro-batches: what waits goes together, in order; who is late or gone is dropped; nothing is lost or mixed up."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from twelvefold.server.batching import Batcher, Job
from twelvefold.server.errors import Refusal
from twelvefold.server.memory import KeptPictures
from twelvefold.server.metrics import Metrics


class Slow:
    """Work that waits to be let go on, keeps what it was given, and answers with the negative of each number."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.begun = threading.Event()
        self.batches: list[list[int]] = []

    def __call__(self, jobs: Sequence[Job[int, int]]) -> list[int | Exception]:
        self.batches.append([job.asked for job in jobs])
        self.begun.set()
        assert self.go.wait(30)
        if any(job.asked == 13 for job in jobs):
            raise ValueError("the whole batch")
        return [ArithmeticError("zero") if job.asked == 0 else -job.asked for job in jobs]


def batcher(work: Slow, *, room: int = 10, most: int = 4) -> Batcher[int, int]:
    return Batcher(work, Metrics(), room=room, most=most, linger=0.0, under_way=lambda: 0)


async def begun(work: Slow) -> None:
    await asyncio.to_thread(work.begun.wait, 30)


def test_what_waits_is_answered_together_and_in_order() -> None:
    async def run() -> None:
        work = Slow()
        batches = batcher(work)
        first = asyncio.create_task(batches.answer(1, 30))
        await begun(work)
        others = [asyncio.create_task(batches.answer(n, 30)) for n in range(2, 8)]
        await asyncio.sleep(0)
        work.go.set()
        assert await asyncio.gather(first, *others) == [-n for n in range(1, 8)]
        assert work.batches == [[1], [2, 3, 4, 5], [6, 7]]
        batches.close()

    asyncio.run(run())


def test_one_that_is_alone_waits_for_nobody_and_one_that_is_not_does() -> None:
    async def run(under_way: int) -> list[list[int]]:
        work = Slow()
        work.go.set()
        batches = Batcher(work, Metrics(), room=10, most=2, linger=60.0, under_way=lambda: under_way)
        answers = [asyncio.create_task(batches.answer(1, 30))]
        if under_way == 1:
            await begun(work)
        answers.append(asyncio.create_task(batches.answer(2, 30)))
        await asyncio.gather(*answers)
        batches.close()
        return work.batches

    assert asyncio.run(run(1)) == [[1], [2]]
    assert asyncio.run(run(2)) == [[1, 2]]


def test_an_error_is_its_own_requests_and_the_thread_lives_on() -> None:
    async def run() -> None:
        work = Slow()
        work.go.set()
        batches = batcher(work)
        came = await asyncio.gather(*(batches.answer(n, 30) for n in (5, 0, 7)), return_exceptions=True)
        assert (came[0], came[2]) == (-5, -7)
        assert isinstance(came[1], ArithmeticError)
        with pytest.raises(ValueError, match="the whole batch"):
            await batches.answer(13, 30)
        assert await batches.answer(1, 30) == -1
        batches.close()

    asyncio.run(run())


def test_too_many_too_late_and_too_long() -> None:
    async def run() -> None:
        work = Slow()
        batches = batcher(work, room=2)
        long = asyncio.create_task(batches.answer(1, 0.2))
        await begun(work)
        late = [asyncio.create_task(batches.answer(n, 0.1)) for n in (2, 3)]
        await asyncio.sleep(0)
        with pytest.raises(Refusal) as too_many:
            await batches.answer(4, 30)
        statuses = [one.status_code for one in await asyncio.gather(*late, long, return_exceptions=True)]  # type: ignore[union-attr]
        assert (too_many.value.status_code, statuses) == (503, [503, 503, 504])
        work.go.set()
        batches.close()
        assert work.batches == [[1]]  # those that were late cost nothing

    asyncio.run(run())


def test_closing_answers_what_waits_and_takes_no_more() -> None:
    async def run() -> None:
        work = Slow()
        batches = batcher(work)
        asked = [asyncio.create_task(batches.answer(n, 30)) for n in range(1, 7)]
        await begun(work)
        closing = asyncio.create_task(asyncio.to_thread(batches.close))
        while batches.alive:
            await asyncio.sleep(0.01)
        with pytest.raises(Refusal):
            await batches.answer(9, 30)
        work.go.set()
        assert await asyncio.gather(*asked) == [-n for n in range(1, 7)]
        await closing

    asyncio.run(run())


def test_the_longest_unused_picture_is_forgotten_first() -> None:
    from PIL import Image

    from twelvefold.serving.images import load_image

    pictures = [load_image(Image.new("RGB", (10, 10), (n, 0, 0))) for n in range(4)]  # 300 bytes each
    kept = KeptPictures(900, Metrics())
    for n in range(3):
        kept.keep(pictures[n], f"file {n}")
    assert kept.of_file("file 0") is pictures[0]  # used again, so 1 is the longest unused
    kept.keep(pictures[3], "file 3")
    assert kept.find(pictures[0].digest) is pictures[0]
    assert kept.of_file("file 1") is None
    with pytest.raises(Refusal):
        kept.find(pictures[1].digest)
    same = load_image(Image.new("RGB", (10, 10), (0, 0, 0)))
    assert kept.keep(same, "another file") is pictures[0]
