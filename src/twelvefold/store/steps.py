"""Run the steps of a long command, in one process or several, so that a killed command resumes where it stopped.

A step is a call of one function. Its result is stored as soon as the step is done, and a step with a stored result is
not run again. The results do not depend on the number of processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from concurrent.futures import FIRST_COMPLETED, Executor, Future, as_completed, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from twelvefold.progress import progress_bar
from twelvefold.schema import TwelvefoldError
from twelvefold.store import atomic_files
from twelvefold.store.worker_pool import create_pool

HINT = "Finished work is kept: run the same command again to resume, with fewer processes if necessary"

Result = TypeVar("Result")
Record = TypeVar("Record", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True)
class Step:
    """One call of the function. ``name``: unique. ``arguments``: positional; they are pickled if another process runs
    the step. ``size``: how far the step moves the progress bar."""

    name: str
    arguments: tuple[Any, ...] = ()
    size: int = 1


class StepStore(Protocol[Result]):
    """Stores the results of steps."""

    def load(self, name: str, /) -> Result | None:
        """Return the result of the step of that name if it is done and still valid, else None."""
        ...

    def save(self, name: str, result: Result, /) -> None:
        """Write the result of a step to disk."""
        ...


class StepCache(Generic[Record]):
    """Stores the result of each step in a JSON file ``folder/<step>.json``.

    The file is written when the step is done, so a killed process leaves no file of an unfinished step.
    ``is_valid(name, record)`` decides whether a stored record is still valid, usually by a digest of the step's inputs.
    A file that cannot be read is ignored.
    """

    def __init__(
        self,
        folder: Path,
        record_type: type[Record],
        is_valid: Callable[[str, Record], bool] = lambda name, record: True,
    ) -> None:
        self.folder = folder
        self._decoder = msgspec.json.Decoder(record_type)
        self._is_valid = is_valid

    def path(self, name: str) -> Path:
        """Return the file of a step."""
        return self.folder / f"{name}.json"

    def load(self, name: str, /) -> Record | None:
        try:
            record = self._decoder.decode(self.path(name).read_bytes())
        except (FileNotFoundError, ValueError, RecursionError):
            return None
        return record if self._is_valid(name, record) else None

    def save(self, name: str, result: Record, /) -> None:
        atomic_files.write_json(self.path(name), msgspec.to_builtins(result, str_keys=True))


def block_steps(items: Sequence[Any], block_size: int) -> list[Step]:
    """Return steps whose only argument is a block of at most ``block_size`` items."""
    blocks = [items[start : start + block_size] for start in range(0, len(items), block_size)]
    return [Step(f"{number:06d}", (block,), len(block)) for number, block in enumerate(blocks)]


def check_processes(processes: int) -> None:
    """Raises: TwelvefoldError if the number of processes is below 1."""
    if processes < 1:
        raise TwelvefoldError(f"work needs 1 process or more, got {processes}")


def run_steps(
    function: Callable[..., Result],
    steps: Iterable[Step],
    *,
    description: str,
    store: StepStore[Result] | None = None,
    processes: int = 1,
    executor: Executor | None = None,
    total: int | None = None,
) -> dict[str, Result]:
    """Return ``function(*step.arguments)`` by the name of the step, in the order of ``steps``.

    Args:
        function: A module-level function, if ``processes`` is more than one.
        steps: May be a generator that reads the next step while ``executor`` runs the previous one.
        description: Label of the progress bar.
        store: Has the results of steps that are done, and gets each new result at once.
        processes: Number of worker processes; 1 runs all steps in this process.
        executor: Runs the steps instead of new worker processes: a thread, or a pool that is used several times.
        total: Length of the progress bar, if ``steps`` is a generator.

    Raises:
        TwelvefoldError: ``processes`` is below 1, or a worker process was killed; finished steps are stored.
    """
    check_processes(processes)
    names: list[str] = []
    results: dict[str, Result] = {}
    if total is None and isinstance(steps, Sized):
        total = sum(step.size for step in steps)
    with progress_bar(description=description, total=total) as bar, ExitStack() as stack:

        def finish(step: Step, result: Result, *, is_new: bool = True) -> None:
            if is_new and store is not None:
                store.save(step.name, result)
            results[step.name] = result
            bar.advance(step.size)

        def missing_steps() -> Iterator[Step]:
            for step in steps:
                names.append(step.name)
                stored = None if store is None else store.load(step.name)
                if stored is None:
                    yield step
                else:
                    finish(step, stored, is_new=False)

        missing: Iterable[Step] = missing_steps()
        if processes > 1 and executor is None:
            missing = list(missing)
            if (processes := min(processes, len(missing))) > 1:
                executor = stack.enter_context(create_pool(processes))
        if executor is None:
            for step in missing:
                finish(step, function(*step.arguments))
        else:
            try:
                _run_in_executor(executor, function, missing, finish, max_pending=2 * processes - 1)
            except BrokenProcessPool as error:
                raise TwelvefoldError(f"a worker process was killed ({description}; out of memory?). {HINT}") from error
    return {name: results[name] for name in names}


def _run_in_executor(
    executor: Executor,
    function: Callable[..., Result],
    steps: Iterable[Step],
    finish: Callable[[Step, Result], None],
    max_pending: int,
) -> None:
    """Run the steps with at most ``max_pending`` of them submitted; call ``finish`` in this thread for each result."""
    pending: dict[Future[Result], Step] = {}
    try:
        for step in steps:
            if len(pending) >= max_pending:
                for future in wait(pending, return_when=FIRST_COMPLETED).done:
                    finish(pending.pop(future), future.result())
            pending[executor.submit(function, *step.arguments)] = step
        while pending:
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                finish(pending.pop(future), future.result())
    except BaseException:
        # Steps that are already running cannot be stopped, so wait for them and keep their results.
        for future in as_completed([future for future in pending if not future.cancel()]):
            if future.exception() is None:
                with suppress(TwelvefoldError):  # a second error while storing must not hide the first
                    finish(pending[future], future.result())
        raise
