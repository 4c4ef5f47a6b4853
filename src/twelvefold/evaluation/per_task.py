"""Run work task by task in several processes; store each result, so that a killed command resumes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import as_completed
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from twelvefold.evaluation.scores import read_scores, write_scores
from twelvefold.progress import progress_bar
from twelvefold.schema import TwelvefoldError
from twelvefold.store import worker_pool

T = TypeVar("T", bound=msgspec.Struct)


class StoredResult(msgspec.Struct, Generic[T], frozen=True):
    """A task's result and the digest of its inputs."""

    inputs_digest: str = msgspec.field(name="made_from")
    result: T


def run_per_task(
    work: Callable[..., T],
    tasks: Mapping[str, Sequence[Any]],
    *,
    type_: type[T],
    folder: Path,
    inputs_digest: str,
    processes: int,
    description: str,
) -> dict[str, T]:
    """Return ``work(*arguments)`` for every task, in the order of ``tasks``.

    Results are stored as ``folder/<task>.json``; a stored result with the same ``inputs_digest`` is reused. ``work``
    and its arguments are pickled for other processes; ``work`` sets its own number of threads. ``description`` is the
    label of the progress bar.
    """
    results = {
        name: stored
        for name in tasks
        if (stored := _read_stored(folder / f"{name}.json", type_, inputs_digest)) is not None
    }
    missing = [name for name in tasks if name not in results]
    with progress_bar(description=description, total=len(tasks)) as bar:
        bar.advance(len(results))

        def store(name: str, result: T) -> None:
            write_scores(folder / f"{name}.json", StoredResult(inputs_digest, result))
            results[name] = result
            bar.advance()

        if processes == 1 or len(missing) <= 1:
            for name in missing:
                store(name, work(*tasks[name]))
        else:
            with worker_pool.create_pool(processes) as pool:
                running = {pool.submit(work, *tasks[name]): name for name in missing}
                for future in as_completed(running):
                    store(running[future], future.result())
    return {name: results[name] for name in tasks}


def _read_stored(path: Path, type_: type[T], inputs_digest: str) -> T | None:
    if not path.exists():
        return None
    try:
        stored = read_scores(path, StoredResult[type_])  # type: ignore[valid-type]
    except TwelvefoldError:
        return None  # written by another version: computed again
    return stored.result if stored.inputs_digest == inputs_digest else None
