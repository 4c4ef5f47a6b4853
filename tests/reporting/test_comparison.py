"""The page of a comparison shows every interval on one axis, escapes names, and needs no network."""

from __future__ import annotations

import re

import pytest

from twelvefold.evaluation.compare_runs import Difference, RunComparison, TaskDifference, Verdict
from twelvefold.reporting.comparison import axis_limit, render_comparison


def make_row(ci95: tuple[float, float], verdict: Verdict = "worse", *, beyond: bool = True) -> TaskDifference:
    return TaskDifference(
        baseline=60.0,
        other=57.0,
        difference=sum(ci95) / 2,
        ci95=ci95,
        p=0.0001,
        p_corrected=0.0002,
        detectable=2.5,
        verdict=verdict,
        beyond_tolerance=beyond,
        metric="accuracy",
        n=1200,
        images=300,
    )


def make_comparison(tasks: dict[str, TaskDifference], baseline: str = "runs/a") -> RunComparison:
    return RunComparison(
        baseline=(baseline,),
        other=("runs/b",),
        split="test",
        unit="image",
        units=(300,),
        test="sign flips of images",
        tolerance=1.0,
        tasks=tasks,
        average=None,
        not_compared={},
        unmatched={},
    )


def test_every_interval_is_within_the_axis_and_at_its_value() -> None:
    rows = {"first": make_row((-7.0, -3.0)), "second": make_row((-1.0, 4.0), "no significant difference")}
    assert axis_limit(list(rows.values()), 1.0) == 10.0
    page = render_comparison(make_comparison(rows), ["Significantly worse."], [])
    rectangles = re.findall(r'<rect x="([\d.]+)" y="5" width="([\d.]+)"', page)
    assert [(float(x), float(width)) for x, width in rectangles] == [(15.0, 20.0), (45.0, 25.0)]
    assert page.count('class="tolerance"') == 2


@pytest.mark.parametrize("largest", [0.2, 3.0, 12.6, 55.0, 100.0])
def test_the_axis_is_as_long_as_the_longest_interval_needs(largest: float) -> None:
    row: Difference = make_row((-largest, largest))
    assert largest <= axis_limit([row], 0.0) <= max(1.0, 2.5 * largest)


def test_names_are_escaped_and_nothing_is_loaded() -> None:
    page = render_comparison(
        make_comparison({"<b>": make_row((-7.0, -3.0), beyond=False)}, baseline="runs/<script>"),
        ["Significantly worse on 1 of 1 tasks: <b> (-5.0)."],
        ["unit: the image"],
    )
    assert "<script>" not in page
    assert "<b>" not in page
    assert "worse, tolerated" in page
    assert "<h1>Significantly worse on 1 of 1 tasks</h1>" in page
    assert re.findall(r"(?:src|href)=|url\(|https?://", page) == []
