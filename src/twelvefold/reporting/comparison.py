"""Write a comparison of runs as a page: one HTML file that needs no network, with the interval of every task."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from twelvefold.evaluation.compare_runs import Difference, RunComparison
from twelvefold.reporting.template import render_template
from twelvefold.store import atomic_files


def render_comparison(result: RunComparison, verdicts: Sequence[str], sentences: Sequence[str]) -> str:
    """Return the page as HTML. ``verdicts``: sentences above the table, of which the first begins with the title;
    ``sentences``: those below it."""
    rows: dict[str, Difference] = {**result.tasks}
    if result.average is not None:
        rows["average"] = result.average
    return render_template(
        "comparison.html.jinja",
        {
            "count": lambda number: f"{number:,}",
            "score": lambda value: f"{value:.1f}",
            "signed": lambda value: f"{value:+.1f}",
            "p": lambda value: "<0.001" if value < 0.001 else f"{value:.3f}",
        },
        result=result,
        rows=rows,
        title=verdicts[0].partition(":")[0].rstrip("."),
        verdicts=verdicts,
        sentences=sentences,
        limit=axis_limit(list(rows.values()), result.tolerance),
    )


def axis_limit(rows: Sequence[Difference], tolerance: float) -> float:
    """Return the points on either side of 0 that the axis shows: every interval and the tolerance are within it."""
    largest = max([1.0, tolerance, *(abs(end) for row in rows for end in row.ci95)])
    steps = (1, 2, 5, 10, 15, 20, 30, 40, 60, 80, 100)
    return float(next((step for step in steps if step >= largest), largest))


def write_comparison(path: Path, result: RunComparison, verdicts: Sequence[str], sentences: Sequence[str]) -> None:
    """Write the page of :func:`render_comparison`, atomically."""
    atomic_files.write_text(path, render_comparison(result, verdicts, sentences))
