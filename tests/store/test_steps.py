"""Steps run once, in any number of processes with the same results, and a killed command resumes."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from twelvefold.schema import TwelvefoldError
from twelvefold.store.steps import Step, StepCache, block_steps, run_steps


class Square(msgspec.Struct):
    digest: str
    value: int


def compute_square(number: int, folder: Path) -> Square:
    """Return a square, and leave a file that shows that this step was run."""
    with (folder / f"run-{number}").open("a") as file:
        file.write("x")
    return Square("d", number * number)


def fail_at_three(number: int, folder: Path) -> Square:
    if number == 3:
        raise ValueError("three")
    return compute_square(number, folder)


def kill_at_three(number: int, folder: Path) -> Square:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return compute_square(number, folder)


def steps(folder: Path, count: int = 6) -> list[Step]:
    return [Step(f"step-{n}", (n, folder)) for n in range(count)]


def open_cache(folder: Path, digest: str = "d") -> StepCache[Square]:
    return StepCache(folder / "made", Square, lambda step, record: record.digest == digest)


def run_counts(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in folder.glob("run-*")}


@pytest.mark.parametrize("processes", [1, 2])
def test_every_step_runs_once_and_its_result_is_reused(tmp_path: Path, processes: int) -> None:
    expected = {f"step-{n}": Square("d", n * n) for n in range(6)}
    for _ in range(2):
        cache = open_cache(tmp_path)
        results = run_steps(compute_square, steps(tmp_path), description="squares", store=cache, processes=processes)
        assert list(results.items()) == list(expected.items())
    assert set(run_counts(tmp_path).values()) == {1}


@pytest.mark.parametrize("content", [b"", b"{", b'{"digest": "d"}', b'{"digest": "old", "value": 9}'])
def test_a_step_with_an_unreadable_or_outdated_result_runs_again(tmp_path: Path, content: bytes) -> None:
    cache = open_cache(tmp_path)
    run_steps(compute_square, steps(tmp_path, 2), description="squares", store=cache)
    cache.path("step-1").write_bytes(content)
    results = run_steps(compute_square, steps(tmp_path, 2), description="squares", store=cache)
    assert results["step-1"] == Square("d", 1)
    assert run_counts(tmp_path) == {"run-0": 1, "run-1": 2}


def test_finished_steps_are_kept_when_a_step_fails(tmp_path: Path) -> None:
    cache = open_cache(tmp_path)
    with pytest.raises(ValueError, match="three"):
        run_steps(fail_at_three, steps(tmp_path), description="squares", store=cache)
    assert [cache.load(f"step-{n}") is not None for n in range(6)] == [True, True, True, False, False, False]
    results = run_steps(compute_square, steps(tmp_path), description="squares", store=cache)
    assert results["step-3"].value == 9
    assert set(run_counts(tmp_path).values()) == {1}


def test_a_killed_worker_process_is_reported_and_the_next_call_resumes(tmp_path: Path) -> None:
    cache = open_cache(tmp_path)
    with pytest.raises(TwelvefoldError, match=r"worker process was killed \(squares;.*run the same command again"):
        run_steps(kill_at_three, steps(tmp_path), description="squares", store=cache, processes=2)
    stored = [n for n in range(6) if cache.load(f"step-{n}") is not None]
    assert stored
    assert 3 not in stored
    results = run_steps(compute_square, steps(tmp_path), description="squares", store=cache, processes=2)
    assert [results[f"step-{n}"].value for n in range(6)] == [0, 1, 4, 9, 16, 25]
    assert all(run_counts(tmp_path)[f"run-{n}"] == 1 for n in stored)


def test_an_executor_runs_a_step_while_the_next_one_is_generated(tmp_path: Path) -> None:
    generated = threading.Event()

    def generate() -> Iterator[Step]:
        yield Step("first", (0,))
        generated.set()
        yield Step("second", (1,))

    def wait_for_the_next(number: int) -> int:
        assert generated.wait(10)
        return number

    with ThreadPoolExecutor(1) as executor:
        results = run_steps(wait_for_the_next, generate(), description="steps", executor=executor, total=2)
    assert results == {"first": 0, "second": 1}


def test_a_submitted_step_is_kept_when_the_generator_fails(tmp_path: Path) -> None:
    cache = open_cache(tmp_path)

    def generate() -> Iterator[Step]:
        yield Step("step-0", (0, tmp_path))
        raise ValueError("unreadable")

    with ThreadPoolExecutor(1) as executor, pytest.raises(ValueError, match="unreadable"):
        run_steps(compute_square, generate(), description="squares", store=cache, executor=executor)
    assert cache.load("step-0") == Square("d", 0)


def test_blocks_cover_all_items_in_order() -> None:
    blocks = block_steps(range(10), 4)
    assert [list(step.arguments[0]) for step in blocks] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert [step.size for step in blocks] == [4, 4, 2]
    assert block_steps([], 4) == []


@pytest.mark.parametrize("processes", [0, -2])
def test_a_number_of_processes_below_one_is_an_error(processes: int) -> None:
    with pytest.raises(TwelvefoldError, match=f"1 process or more, got {processes}"):
        run_steps(abs, [Step("a", (1,))], description="", processes=processes)
