"""Progress bars with an estimate for everything that takes longer than a breath; silent where nobody looks."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

T = TypeVar("T")

console = Console(stderr=True)


def bars() -> Progress:
    """A rich Progress in the house's layout on standard error, disabled when that is not a terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        disable=not sys.stderr.isatty(),
        transient=False,
    )


def track(items: Iterable[T], *, what: str, total: int | None = None) -> Iterator[T]:
    """Yield ``items``, showing how far along they are. ``total`` where ``items`` has no length."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    with bars() as progress:
        yield from progress.track(items, total=total, description=what)


@contextmanager
def counting(*, what: str, total: int | None) -> Iterator[Counter]:
    """A bar to advance by hand: ``with counting(what="pictures", total=n) as bar: bar.advance(8)``."""
    with bars() as progress:
        yield Counter(progress, progress.add_task(what, total=total))


class Counter:
    """One bar that is advanced by hand."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def advance(self, by: int = 1) -> None:
        self._progress.advance(self._task, by)
