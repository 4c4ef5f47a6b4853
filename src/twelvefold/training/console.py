"""Show a run's progress: a live table of its tasks on a terminal, otherwise a line at intervals."""

from __future__ import annotations

import time
from datetime import timedelta
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from twelvefold import progress
from twelvefold.training.run_folder import Counters
from twelvefold.training.stop_and_go import StopAndGo
from twelvefold.training.waiting import WaitTimes

SMOOTHING = 0.05
"""Weight of the newest loss in the exponential moving average that is shown."""


class TrainingConsole:
    """Show the tasks of a run: as a live table on a terminal, otherwise as a line every ``interval`` seconds.

    ``counters``, ``stop_and_go`` and ``waiting`` are those of the training loop. ``enabled`` is false
    on all ranks but rank 0.
    """

    def __init__(
        self,
        name: str,
        iterations: int,
        counters: Counters,
        stop_and_go: StopAndGo,
        *,
        waiting: WaitTimes | None = None,
        console: Console | None = None,
        enabled: bool = True,
        interval: float = 30.0,
    ) -> None:
        self._name, self._iterations = name, iterations
        self._counters, self._stop_and_go = counters, stop_and_go
        self._first_iteration = counters.iteration
        self._waiting = waiting or WaitTimes()
        self._console = console or progress.console
        self._enabled = enabled
        self._interval = interval
        self._losses: dict[str, float] = {}
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
        elif self._enabled and self._counters.iteration > self._first_iteration:
            self._console.print(self.line(), highlight=False)

    def note(self, text: str) -> None:
        """Print a remark about the run."""
        if self._enabled:
            self._console.print(text, highlight=False, markup=False)

    def record_step(self, task: str, loss: float, examples: int) -> None:
        """Average the loss of a task, and count the examples of its step."""
        average = self._losses.get(task, loss)
        self._losses[task] = average + SMOOTHING * (loss - average)
        self._examples += examples

    def record_iteration(self) -> None:
        """Print a line after an iteration, if it is time for one."""
        now = time.monotonic()
        if self._enabled and not self._live.is_started and now - self._last_print >= self._interval:
            self._last_print = now
            self._console.print(self.line(), highlight=False)

    def line(self) -> str:
        """Return the state as a line: ``demo 120/600, 20%, average 51.3 of 12 tasks, 99 examples/s,
        waiting: data 3%, other ranks 5%, 0:04:10 left``."""
        return f"{self._name} {self._counters.iteration}/{self._iterations}, {self._state()}"

    def table(self) -> Table:
        """Return the state as a table with a row per task."""
        counters = self._counters
        title = f"{self._name}: iteration {counters.iteration} of {self._iterations}"
        table = Table(title=title, caption=self._state())
        table.add_column("task")
        for column in ("score", "best", "loss", "steps"):
            table.add_column(column, justify="right", min_width=6)
        table.add_column("")
        for task, state in self._stop_and_go.states.items():
            mode = "[yellow]stop[/]" if state.stopped else "[green]go[/]"
            score, best = _percent(counters.scores.get(task)), _percent(counters.best_scores.get(task))
            loss = f"{self._losses[task]:.3f}" if task in self._losses else ""
            table.add_row(task, score, best, loss, str(counters.steps[task]), mode)
        return table

    def _state(self) -> str:
        counters, states = self._counters, self._stop_and_go.states
        elapsed = max(time.monotonic() - self._start_time, 1e-9)
        completed = counters.iteration - self._first_iteration
        seconds_left = (self._iterations - counters.iteration) * elapsed / completed if completed else None
        left = "estimating" if seconds_left is None else f"{timedelta(seconds=round(seconds_left))} left"
        scores = [counters.scores[task] for task in states if task in counters.scores]
        average = f"average {_percent(sum(scores) / len(scores))} of {len(scores)} tasks, " if scores else ""
        stopped = [task for task, state in states.items() if state.stopped]
        stopped_tasks = f"stopped: {' '.join(stopped)}, " if stopped else ""
        rate = f"{self._examples / elapsed:.0f} examples/s"
        waiting = self._waiting.describe()
        return f"{counters.iteration / self._iterations:.0%}, {average}{stopped_tasks}{rate}, {waiting}, {left}"


def _percent(score: float | None) -> str:
    return "" if score is None else f"{100 * score:.1f}"
