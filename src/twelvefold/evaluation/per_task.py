"""Work that falls apart into tasks: some at a time, each task's result kept, so that a killed command goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import as_completed
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from twelvefold.data.region_inputs import RegionSource
from twelvefold.evaluation import scores
from twelvefold.progress import progress_bar
from twelvefold.schema import TwelvefoldError
from twelvefold.store import atomic_files, worker_pool
from twelvefold.store.prepared import Prepared

T = TypeVar("T", bound=msgspec.Struct)


class Kept(msgspec.Struct, Generic[T], frozen=True):
    """A task's result and the digest of all that it was made from."""

    made_from: str
    result: T


def made_from(prepared: Path, regions: Path, *others: str | int) -> str:
    """A digest of all that tasks' figures depend on: tables, regions, and ``others`` such as a model and limits."""
    return atomic_files.digest_value(
        [Prepared.open(prepared).digest, RegionSource.open(regions).detected.digest, *others]
    )


def per_task(
    work: Callable[..., T],
    tasks: Mapping[str, Sequence[Any]],
    *,
    kind: type[T],
    folder: Path,
    made_from: str,
    processes: int,
    what: str,
) -> dict[str, T]:
    """``work(*arguments)`` for every task, in ``tasks``' order; results kept as ``folder/<task>.json``.

    A result that is there already and was made from the same things is not made again. ``work`` and its arguments
    go to other processes, so they must pickle; it sets its own number of threads.
    """
    done = {name: kept for name in tasks if (kept := _kept(folder / f"{name}.json", kind, made_from)) is not None}
    missing = [name for name in tasks if name not in done]
    with progress_bar(description=what, total=len(tasks)) as bar:
        bar.advance(len(done))

        def keep(name: str, result: T) -> None:
            scores.write(folder / f"{name}.json", Kept(made_from, result))
            done[name] = result
            bar.advance()

        if processes == 1 or len(missing) <= 1:
            for name in missing:
                keep(name, work(*tasks[name]))
        else:
            with worker_pool.pool(processes) as pool:
                running = {pool.submit(work, *tasks[name]): name for name in missing}
                for future in as_completed(running):
                    keep(running[future], future.result())
    return {name: done[name] for name in tasks}


def _kept(path: Path, kind: type[T], made_from: str) -> T | None:
    if not path.exists():
        return None
    try:
        kept = scores.read(path, Kept[kind])  # type: ignore[valid-type]
    except TwelvefoldError:
        return None  # of an older version, or not ours: made again
    return kept.result if kept.made_from == made_from else None
