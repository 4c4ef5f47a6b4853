"""Progress on the console: lines without a terminal, a table with a row per task on one."""

from __future__ import annotations

import io
import time

from rich.console import Console

from twelvefold.training.console import TrainingConsole
from twelvefold.training.run_folder import Counters
from twelvefold.training.stop_and_go import StopAndGo
from twelvefold.training.waiting import WaitTimes


def train_display(console: Console, *, interval: float = 30.0, enabled: bool = True) -> TrainingConsole:
    counters, stop_and_go = Counters(steps={"vqav2": 2, "refcoco": 0}), StopAndGo(["vqav2", "refcoco"])
    display = TrainingConsole("demo", 4, counters, stop_and_go, console=console, interval=interval, enabled=enabled)
    with display:
        display.record_step("vqav2", 2.0, 8)
        display.record_step("vqav2", 1.0, 8)
        counters.scores["vqav2"] = counters.best_scores["vqav2"] = 0.5
        stop_and_go.states["refcoco"].stopped = True
        counters.iteration = 1
        display.record_iteration()
    return display


def test_without_a_terminal_it_prints_a_line_at_intervals_and_at_the_end() -> None:
    out = io.StringIO()
    train_display(Console(file=out, width=200))
    assert out.getvalue().count("\n") == 1
    assert out.getvalue().startswith("demo 1/4, 25%, average 50.0 of 1 tasks, stopped: refcoco, ")
    assert out.getvalue().rstrip().endswith(" left")
    often = io.StringIO()
    train_display(Console(file=often, width=200), interval=0.0)
    assert often.getvalue().count("\n") == 2


def test_it_shows_what_was_waited_for() -> None:
    waiting = WaitTimes(data=2.0, started=time.monotonic() - 10.0)
    assert waiting.describe() == "waiting: data 20%"
    waiting.ranks = 3.0
    assert waiting.describe() == "waiting: data 20%, other ranks 30%"
    with waiting.for_data():
        time.sleep(0.01)
    assert 2.0 < waiting.data < 3.0
    out = io.StringIO()
    train_display(Console(file=out, width=200))
    assert "examples/s, waiting: data 0%, " in out.getvalue()


def test_it_prints_nothing_when_disabled() -> None:
    out = io.StringIO()
    train_display(Console(file=out, force_terminal=True), enabled=False)
    assert out.getvalue() == ""


def test_on_a_terminal_it_shows_a_row_for_each_task() -> None:
    out = io.StringIO()
    display = train_display(Console(file=out, force_terminal=True, width=100))
    assert "iteration 1 of 4" in out.getvalue()
    rows = io.StringIO()
    Console(file=rows, width=100).print(display.table())
    vqa = next(line for line in rows.getvalue().splitlines() if "vqav2" in line)
    assert vqa.split("│")[1:-1] == [" vqav2   ", "   50.0 ", "   50.0 ", "  1.950 ", "      2 ", " go   "]
    assert "stop" in next(line for line in rows.getvalue().splitlines() if "refcoco" in line)
