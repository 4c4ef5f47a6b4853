"""Batches that are made ahead are those that are made when they are asked for, in any order of tasks."""

from __future__ import annotations

import gc
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import pytest
import torch

from twelvefold.batch import Batch
from twelvefold.data.prefetch import PREFETCH_FACTOR, BatchLoader, report_killed_processes
from twelvefold.data.region_inputs import empty_features
from twelvefold.data.shared_buffers import SharedBuffers
from twelvefold.schema import TwelvefoldError

TASKS = ["a", "b", "c"]
FIRST = {"a": 0, "b": 7, "c": 3}


def make_batch(task: str, step: int, part: int) -> Batch:
    """Return a batch whose features are recognized by their numbers, as many rows as its step."""
    features = empty_features(step + 1, 4).fill_(1000 * TASKS.index(task) + 10 * step + part)
    mask = torch.ones(1, step + 1, dtype=torch.bool)
    lengths = np.array([step + 1])
    boxes = torch.zeros(1, step + 1, 4)
    tokens = torch.full((1, 2), step)
    return Batch(task, 1, [f"{task} {step}"], tokens, mask, features, boxes, boxes[0], mask, mask, None, None, lengths)


def make_step(task: str, step: int) -> list[Batch]:
    return [make_batch(task, step, part) for part in range(2)]


def round_robin(task: str | None) -> Iterator[str]:
    order = cycle(TASKS)
    while task is not None and next(order) != task:
        pass
    return order


def assert_same(batches: list[Batch], task: str, step: int) -> None:
    expected = make_step(task, step)
    assert len(batches) == 2
    for batch, other in zip(batches, expected, strict=True):
        assert (batch.task, batch.example_ids) == (task, other.example_ids)
        assert torch.equal(batch.features, other.features)
        assert torch.equal(batch.token_ids, other.token_ids)
        assert torch.equal(batch.region_mask, other.region_mask)
        assert batch.image_lengths is not None
        assert (batch.target, batch.image_lengths.tolist()) == (None, [step + 1])


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_every_task_gets_its_steps_in_order_whatever_the_order_of_tasks(num_workers: int) -> None:
    """The order is first the expected one, then another at every request, as if tasks stopped and went at will."""
    loader, steps, rng = BatchLoader(make_step, FIRST, round_robin, num_workers), dict(FIRST), random.Random(0)
    for task in TASKS * 5 + rng.choices(TASKS, weights=(8, 1, 1), k=60):
        assert_same(loader.next(task), task, steps[task])
        steps[task] += 1


def test_the_pool_makes_what_comes_next_and_nothing_twice(tmp_path: Path) -> None:
    """Each step is noted by the process that makes it. ``c`` stops after two rounds, and goes again after ten."""
    active = list(TASKS)

    def noting(task: str, step: int) -> list[Batch]:
        (tmp_path / f"{task} {step}").touch(exist_ok=False)
        return make_step(task, step)

    def tasks_after(task: str | None) -> Iterator[str]:
        names = iter(lambda: None, 0)
        position = -1 if task is None else TASKS.index(task)
        for _ in names:
            position = (position + 1) % len(TASKS)
            if TASKS[position] in active:
                yield TASKS[position]

    num_workers = 2
    loader, used = BatchLoader(noting, dict.fromkeys(TASKS, 0), tasks_after, num_workers), set[str]()
    for turn in range(14):
        active[:] = TASKS[:2] if 2 <= turn < 12 else TASKS
        for task in list(active):
            (batch, _) = loader.next(task)
            used |= set(batch.example_ids)
    made = {path.name for path in tmp_path.iterdir()}
    assert used <= made
    assert len(made - used) <= num_workers * PREFETCH_FACTOR + 1  # in work when the loop ended
    assert {f"c {step}" for step in range(4)} <= used  # also those that were ready when c stopped


def test_a_batch_keeps_its_numbers_as_long_as_it_is_used() -> None:
    loader = BatchLoader(make_step, FIRST, round_robin, 2)
    kept = [(task, FIRST[task] + turn, loader.next(task)) for turn in range(8) for task in TASKS]  # more than buffers
    for task, step, batches in kept:
        assert_same(batches, task, step)


def test_memory_is_used_again_when_no_tensor_refers_to_it() -> None:
    buffers = SharedBuffers(2)
    first, second = buffers.reserve(), buffers.reserve()
    assert first is not None
    assert {first, second} == {0, 1}
    assert buffers.reserve() is None
    tensor = torch.from_numpy(buffers.open(first)[:8].view(np.float32))
    view = tensor[1:]
    del tensor
    gc.collect()
    assert buffers.reserve() is None
    del view
    gc.collect()
    assert buffers.reserve() == first


def test_features_are_in_the_shared_memory_and_too_many_are_sent_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twelvefold.data.shared_buffers.BUFFER_BYTES", 4096)
    loader = BatchLoader(make_step, {"a": 0}, lambda task: cycle("a"), 1)
    addresses = set[int]()
    for step in range(300):  # two batches of step + 1 rows of 16 bytes: the last ones exceed the buffer
        batches = loader.next("a")
        assert_same(batches, "a", step)
        addresses.add(batches[0].features.data_ptr())
    assert len(addresses) < 200


def failing(task: str, step: int) -> list[Batch]:
    if step == 2:
        raise TwelvefoldError("image coco/7 has no features")
    return make_step(task, step)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_error_is_raised_at_its_step(num_workers: int) -> None:
    loader = BatchLoader(failing, {"a": 0}, lambda task: cycle("a"), num_workers)
    for step in range(2):
        assert_same(loader.next("a"), "a", step)
    with pytest.raises(TwelvefoldError, match=r"^image coco/7 has no features$"):
        loader.next("a")


def killed(task: str, step: int) -> list[Batch]:
    if step == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return make_step(task, step)


def test_a_killed_process_is_an_error_with_advice() -> None:
    loader = BatchLoader(killed, {"a": 0}, lambda task: cycle("a"), 1)
    with pytest.raises(TwelvefoldError, match=r"was killed.*num_workers"):
        list(islice(loader.iterate("a"), 3))


def train_with_a_killed_process() -> None:
    loader, deadline = BatchLoader(killed, {"a": 0}, lambda task: cycle("a"), 1), time.monotonic() + 20
    with report_killed_processes():
        loader.next("a")
        while time.monotonic() < deadline:
            time.sleep(0.01)


def test_a_process_that_is_killed_while_the_trainer_computes_is_an_error_with_advice() -> None:
    code = f"from {__name__} import train_with_a_killed_process as train; train()"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert re.search("TwelvefoldError: a process that makes batches was killed.*num_workers", result.stderr)
