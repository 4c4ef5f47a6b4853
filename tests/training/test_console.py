"""Progress: plain lines where nobody has a terminal, a row per task where somebody does."""

from __future__ import annotations

import io

from rich.console import Console

from twelvefold.training.console import Progress


def trained(console: Console, *, every: float = 30.0, enabled: bool = True) -> Progress:
    with Progress("demo", ["vqav2", "refcoco"], 4, console=console, every=every, enabled=enabled) as progress:
        progress.stepped("vqav2", 2.0, 8)
        progress.stepped("vqav2", 1.0, 8)
        progress.rows["vqav2"].score = progress.rows["vqav2"].best = 0.5
        progress.rows["refcoco"].stopped = True
        progress.iterated(1)
    return progress


def test_without_a_terminal_it_writes_a_line_now_and_then_and_at_the_end() -> None:
    out = io.StringIO()
    trained(Console(file=out, width=200))
    assert out.getvalue().count("\n") == 1
    assert out.getvalue().startswith("demo 1/4, 25%, average 50.0 of 1 tasks, stopped: refcoco, ")
    assert out.getvalue().rstrip().endswith(" left")
    often = io.StringIO()
    trained(Console(file=often, width=200), every=0.0)
    assert often.getvalue().count("\n") == 2


def test_a_rank_that_does_not_write_is_silent() -> None:
    out = io.StringIO()
    trained(Console(file=out, force_terminal=True), enabled=False)
    assert out.getvalue() == ""


def test_on_a_terminal_it_shows_a_row_for_each_task() -> None:
    out = io.StringIO()
    progress = trained(Console(file=out, force_terminal=True, width=100))
    assert "iteration 1 of 4" in out.getvalue()
    rows = io.StringIO()
    Console(file=rows, width=100).print(progress.table())
    vqa = next(line for line in rows.getvalue().splitlines() if "vqav2" in line)
    assert vqa.split("│")[1:-1] == [" vqav2   ", "   50.0 ", "   50.0 ", "  1.950 ", "      2 ", " go   "]
    assert "stop" in next(line for line in rows.getvalue().splitlines() if "refcoco" in line)
