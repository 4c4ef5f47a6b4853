"""The command that compares runs: compare-runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from rich.table import Table

from twelvefold.cli.from_function import Output, command
from twelvefold.evaluation.compare_runs import Difference, RunComparison, TaskDifference
from twelvefold.evaluation.compare_runs import compare_runs as compare
from twelvefold.reporting.comparison import write_comparison


def _write_page(path: Path, result: RunComparison) -> None:
    write_comparison(path, result, describe_verdicts(result), describe(result))


VERDICTS = {"better": "better", "worse": "worse", "no significant difference": "unclear"}


@command(
    compare,
    example="""
        twelvefold compare-runs runs/demo runs/new
        twelvefold compare-runs runs/demo runs/new --tasks gqa nlvr2 --tolerance 0.5
        twelvefold compare-runs runs/five-seeds runs/other-five-seeds --json
        twelvefold compare-runs runs/a0 runs/b0 --more-baseline runs/a1 --more-other runs/b1""",
    problem="the other run is significantly worse than the baseline, on a task or on average, by more than the "
    "tolerance",
    writes_page=_write_page,
)
def compare_runs(result: RunComparison, arguments: Mapping[str, Any]) -> Output:
    table = Table("task", "baseline", "other", "change", "95 % interval", "p", "p (Holm)", "detectable")
    table.add_column("n / images")
    table.add_column("verdict")
    seeds = f", {' and '.join(map(str, result.units))} seeds" if result.unit == "seed" else ""
    table.title = f"{arguments['other']} against {arguments['baseline']}, {result.split}{seeds}"
    for name, row in result.tasks.items():
        table.add_row(name, *_cells(row), f"{row.n:,} / {row.images:,}", _verdict(row))
    if result.average is not None:
        table.add_section()
        table.add_row("average", *_cells(result.average), "", _verdict(result.average))
    content = msgspec.to_builtins(result) | {"worse": result.worse}
    return Output(
        "\n".join([*describe_verdicts(result), *describe(result)]), [table], exit_code=result.exit_code, json=content
    )


def describe(result: RunComparison) -> list[str]:
    """Return the sentences about the unit, the columns, and what was not compared."""
    return [
        _describe_unit(result),
        *_explain_unclear(result),
        "detectable: the smallest change that such a test finds in 80 % of cases (two-sided 5 %, before the correction "
        "for the number of tasks).",
        *(f"not compared: {task}: {reason}" for task, reason in result.not_compared.items()),
        *_describe_unmatched(result),
        *(f"note: {note}" for note in result.notes),
    ]


def describe_verdicts(result: RunComparison) -> list[str]:
    """Return the sentences about what is worse or better."""
    count = len(result.tasks)
    by_verdict = {
        verdict: [f"{name} ({row.difference:+.1f})" for name, row in result.tasks.items() if row.verdict == verdict]
        for verdict in ("worse", "better")
    }
    lines = [
        f"Significantly {verdict} on {len(names)} of {count} tasks: {', '.join(names)}."
        for verdict, names in by_verdict.items()
        if names
    ]
    if not lines:
        lines = [f"No significant difference on any of {count} tasks." if count > 1 else "No significant difference."]
    if (average := result.average) is not None:
        change = f"{average.difference:+.2f} points, 95 % interval {_interval(average)}, p {_p(average.p, equals='= ')}"
        lines.append(f"The average over {count} tasks: {average.verdict} ({change}).")
    if accepted := [
        name
        for name, row in {**result.tasks, "average": average}.items()
        if row is not None and not row.beyond_tolerance
    ]:
        lines.append(f"Accepted, as they lose at most {result.tolerance:g} points: {', '.join(accepted)}.")
    return lines


def _explain_unclear(result: RunComparison) -> list[str]:
    unclear = any(row.verdict not in ("better", "worse") for row in result.tasks.values())
    return ["unclear: no significant difference, which is not evidence that there is none."] if unclear else []


def _describe_unit(result: RunComparison) -> str:
    if result.unit == "image":
        return (
            f"Unit: the image ({result.units[0]:,} images; {result.test}, interval by bootstrap). This is about these "
            "two trained models; to compare recipes, train several seeds of each."
        )
    counts = " and ".join(str(count) for count in result.units)
    return f"Unit: the seed ({counts} runs; {result.test}), on these test examples."


def _describe_unmatched(result: RunComparison) -> list[str]:
    return [
        f"not compared: {task}: {count:,} scored examples that only the {side} has, such as {', '.join(ids)}"
        for task, each in result.unmatched.items()
        for side, count, ids in (
            ("baseline", each.only_baseline, each.baseline_ids),
            ("other side", each.only_other, each.other_ids),
        )
        if count
    ]


def _cells(row: Difference | TaskDifference) -> tuple[str, ...]:
    detectable = "" if row.detectable is None else f"{row.detectable:.1f}"
    corrected = "" if row.p_corrected is None else _p(row.p_corrected)
    scores = (f"{row.baseline:.1f}", f"{row.other:.1f}", f"{row.difference:+.1f}")
    return (*scores, _interval(row), _p(row.p), corrected, detectable)


def _verdict(row: Difference) -> str:
    return VERDICTS[row.verdict] + ("" if row.beyond_tolerance else ", tolerated")


def _interval(row: Difference) -> str:
    return f"{row.ci95[0]:+.1f} to {row.ci95[1]:+.1f}"


def _p(value: float, *, equals: str = "") -> str:
    return f"{equals.replace('=', '<') or '<'}0.001" if value < 0.001 else f"{equals}{value:.3f}"
