"""Run work task by task in several processes; store each result, so that a killed command resumes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from twelvefold.store.steps import Step, StepCache, run_steps

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
    store = StepCache(
        folder,
        StoredResult[type_],  # type: ignore[valid-type]
        lambda _, stored: stored.inputs_digest == inputs_digest,
    )
    steps = [Step(task, (work, inputs_digest, *arguments)) for task, arguments in tasks.items()]
    stored = run_steps(_run_task, steps, description=description, store=store, processes=processes)
    return {task: each.result for task, each in stored.items()}


def read_stored(folder: Path, type_: type[T], tasks: Iterable[str]) -> dict[str, StoredResult[T]]:
    """Return the stored result of each task that has one, whatever its inputs were."""
    store = StepCache(folder, StoredResult[type_])  # type: ignore[valid-type]
    return {task: result for task in tasks if (result := store.load(task)) is not None}


def _run_task(work: Callable[..., T], inputs_digest: str, *arguments: Any) -> StoredResult[T]:
    return StoredResult(inputs_digest, work(*arguments))
