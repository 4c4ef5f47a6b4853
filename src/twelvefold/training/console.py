"""Show a run's progress: a live table of its tasks on a terminal, otherwise a line at intervals."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from twelvefold import progress

SMOOTHING = 0.05
"""Weight of the newest loss in the exponential moving average that is shown."""


@dataclass(slots=True)
class TaskRow:
    """What is shown of one task. Scores are in 0..1, None before the first validation."""

    loss: float | None = None
    steps: int = 0
    score: float | None = None
    best_score: float | None = None
    stopped: bool = False


class TrainingConsole:
    """Show the tasks of a run: as a live table on a terminal, otherwise as a line every ``interval`` seconds.

    ``done``: iterations completed before a resume. ``enabled`` is false on all ranks but rank 0.
    """

    def __init__(
        self,
        name: str,
        tasks: list[str],
        iterations: int,
        *,
        done: int = 0,
        console: Console | None = None,
        enabled: bool = True,
        interval: float = 30.0,
    ) -> None:
        self.rows = {task: TaskRow() for task in tasks}
        self._name = name
        self._iterations = iterations
        self._first_iteration, self._iteration = done, done
        self._console = console or progress.console
        self._enabled = enabled
        self._interval = interval
        self._examples = 0
        self._start_time = self._last_print = time.monotonic()
        self._live = Live(console=self._console, refresh_per_second=2, get_renderable=self.table, transient=False)

    def __enter__(self) -> Self:
        if self._enabled and self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._live.is_started:
            self._live.stop()
        elif self._enabled and self._iteration > self._first_iteration:
            self._console.print(self.line(), highlight=False)

    def record_step(self, task: str, loss: float, examples: int) -> None:
        """Count an update of a task and average its loss."""
        row = self.rows[task]
        row.loss = loss if row.loss is None else row.loss + SMOOTHING * (loss - row.loss)
        row.steps += 1
        self._examples += examples

    def record_iteration(self, iteration: int) -> None:
        """Set the iteration that is complete, and print a line if it is time for one."""
        self._iteration = iteration
        now = time.monotonic()
        if self._enabled and not self._live.is_started and now - self._last_print >= self._interval:
            self._last_print = now
            self._console.print(self.line(), highlight=False)

    def line(self) -> str:
        """Return the state as a line: ``demo 120/600, 20%, average 51.3 of 12 tasks, 99 examples/s, 0:04:10 left``."""
        return f"{self._name} {self._iteration}/{self._iterations}, {self._state()}"

    def table(self) -> Table:
        """Return the state as a table with a row per task."""
        table = Table(title=f"{self._name}: iteration {self._iteration} of {self._iterations}", caption=self._state())
        table.add_column("task")
        for column in ("score", "best", "loss", "steps"):
            table.add_column(column, justify="right", min_width=6)
        table.add_column("")
        for task, row in self.rows.items():
            mode = "[yellow]stop[/]" if row.stopped else "[green]go[/]"
            loss = "" if row.loss is None else f"{row.loss:.3f}"
            table.add_row(task, _percent(row.score), _percent(row.best_score), loss, str(row.steps), mode)
        return table

    def _state(self) -> str:
        elapsed = max(time.monotonic() - self._start_time, 1e-9)
        completed = self._iteration - self._first_iteration
        seconds_left = (self._iterations - self._iteration) * elapsed / completed if completed else None
        left = "estimating" if seconds_left is None else f"{timedelta(seconds=round(seconds_left))} left"
        scores = [row.score for row in self.rows.values() if row.score is not None]
        average = f"average {_percent(sum(scores) / len(scores))} of {len(scores)} tasks, " if scores else ""
        stopped = [task for task, row in self.rows.items() if row.stopped]
        stopped_tasks = f"stopped: {' '.join(stopped)}, " if stopped else ""
        rate = f"{self._examples / elapsed:.0f} examples/s"
        return f"{self._iteration / self._iterations:.0%}, {average}{stopped_tasks}{rate}, {left}"


def _percent(score: float | None) -> str:
    return "" if score is None else f"{100 * score:.1f}"
