"""What a person sees while a run trains: a table of its tasks on a terminal, a line now and then elsewhere."""

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
"""Share of the newest loss in the loss that is shown: some twenty steps count."""


@dataclass(slots=True)
class Row:
    """One task as shown. ``score`` and ``best`` in 0..1, None before the first validation."""

    loss: float | None = None
    steps: int = 0
    score: float | None = None
    best: float | None = None
    stopped: bool = False


class Progress:
    """Shows the tasks of a run; on a terminal as a live table, else as a line every ``every`` seconds.

    ``done``: iterations that an earlier start has made. ``enabled`` is off on every rank but the first.
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
        every: float = 30.0,
    ) -> None:
        self.rows = {task: Row() for task in tasks}
        self._name = name
        self._iterations = iterations
        self._started_at, self._iteration = done, done
        self._console = console or progress.console
        self._enabled = enabled
        self._every = every
        self._examples = 0
        self._began = self._said = time.monotonic()
        self._live = Live(console=self._console, refresh_per_second=2, get_renderable=self.table, transient=False)

    def __enter__(self) -> Self:
        if self._enabled and self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._live.is_started:
            self._live.stop()
        elif self._enabled and self._iteration > self._started_at:
            self._console.print(self.line(), highlight=False)

    def stepped(self, task: str, loss: float, examples: int) -> None:
        """A task has made an update."""
        row = self.rows[task]
        row.loss = loss if row.loss is None else row.loss + SMOOTHING * (loss - row.loss)
        row.steps += 1
        self._examples += examples

    def iterated(self, iteration: int) -> None:
        """All tasks have had their turn."""
        self._iteration = iteration
        now = time.monotonic()
        if self._enabled and not self._live.is_started and now - self._said >= self._every:
            self._said = now
            self._console.print(self.line(), highlight=False)

    def line(self) -> str:
        """The run in one line: ``demo 120/600, 20 %, average 51.3, 1240 examples/s, 0:04:10 left``."""
        return f"{self._name} {self._iteration}/{self._iterations}, {self._state()}"

    def table(self) -> Table:
        """The run as a table, a row per task."""
        table = Table(title=f"{self._name}: iteration {self._iteration} of {self._iterations}", caption=self._state())
        table.add_column("task")
        for column in ("score", "best", "loss", "steps"):
            table.add_column(column, justify="right", min_width=6)
        table.add_column("")
        for task, row in self.rows.items():
            mode = "[yellow]stop[/]" if row.stopped else "[green]go[/]"
            loss = "" if row.loss is None else f"{row.loss:.3f}"
            table.add_row(task, _percent(row.score), _percent(row.best), loss, str(row.steps), mode)
        return table

    def _state(self) -> str:
        took = max(time.monotonic() - self._began, 1e-9)
        made = self._iteration - self._started_at
        left = "estimating" if not made else _clock((self._iterations - self._iteration) * took / made) + " left"
        scores = [row.score for row in self.rows.values() if row.score is not None]
        average = f"average {_percent(sum(scores) / len(scores))} of {len(scores)} tasks, " if scores else ""
        stopped = [task for task, row in self.rows.items() if row.stopped]
        resting = f"stopped: {' '.join(stopped)}, " if stopped else ""
        rate = f"{self._examples / took:.0f} examples/s"
        return f"{self._iteration / self._iterations:.0%}, {average}{resting}{rate}, {left}"


def _percent(score: float | None) -> str:
    return "" if score is None else f"{100 * score:.1f}"


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
