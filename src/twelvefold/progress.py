"""Show progress bars on standard error; they are disabled when it is not a terminal."""

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


def track(items: Iterable[T], *, description: str, total: int | None = None) -> Iterator[T]:
    """Yield ``items`` and advance a bar by one for each; ``total`` is needed when ``items`` has no length."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    with _progress() as progress:
        yield from progress.track(items, total=total, description=description)


@contextmanager
def progress_bar(*, description: str, total: int | None) -> Iterator[ProgressBar]:
    """Open a bar that the caller advances: ``with progress_bar(description="images", total=n) as bar``."""
    with _progress() as progress:
        yield ProgressBar(progress, progress.add_task(description, total=total))


class ProgressBar:
    """One bar that the caller advances."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def advance(self, by: int = 1) -> None:
        """Move the bar on by ``by`` steps."""
        self._progress.advance(self._task, by)


def _progress() -> Progress:
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
