"""Curves made from events: spans cover the run, and long curves are thinned out."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twelvefold.reporting.curves import MAX_POINTS, Span, TaskCurve, make_curves

START = {"event": "start", "iteration": 0, "tasks": ["gqa"], "iterations": 100}
Event = dict[str, Any]


def steps(last: int) -> list[Event]:
    return [{"event": "step", "iteration": i, "losses": {"gqa": 100.0 / i}, "seconds": i} for i in range(1, last + 1)]


def task_event(event: str, iteration: int) -> Event:
    return {"event": event, "iteration": iteration, "task": "gqa", "score": 0.5}


def gqa_curve(events: list[Event]) -> TaskCurve:
    curves = make_curves([START, *events])
    assert curves
    return curves.tasks["gqa"]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 100), unique=True, max_size=8))
def test_spans_alternate_and_cover_the_run(iterations: list[int]) -> None:
    turns = [task_event("stop" if n % 2 == 0 else "go", i) for n, i in enumerate(sorted(iterations))]
    spans = gqa_curve(sorted([*steps(100), *turns], key=lambda event: event["iteration"])).spans
    assert (spans[0].start, spans[-1].end) == (0.0, 100.0)
    assert all(a.end == b.start and a.is_active != b.is_active for a, b in pairwise(spans))
    stops = [float(i) for i in sorted(iterations)[::2] if i < 100]
    assert [span.start for span in spans if not span.is_active] == stops


def test_a_task_that_never_stops_has_one_span() -> None:
    curves = make_curves([START, *steps(50)])
    assert curves
    assert curves.tasks["gqa"].spans == [Span(0.0, 100.0, True)]
    assert (curves.iterations, curves.planned_iterations, curves.seconds) == (50, 100, 50.0)
    assert curves.tasks["gqa"].scores is None


def test_long_curves_are_thinned_out_and_keep_their_ends() -> None:
    evaluations = [task_event("eval", i) | {"score": i / 1000} for i in range(1, 1001)]
    task = gqa_curve([*steps(1000), *evaluations])
    assert task.scores
    assert task.losses
    assert task.scores.path.count("L") == task.losses.path.count("L") == MAX_POINTS - 1
    assert task.scores.path.startswith("M0.1 99.9L")
    assert task.scores.last == (100.0, 0.0)
    assert (task.latest_score, task.best_score, len(task.validated_at)) == (100.0, 100.0, MAX_POINTS)
    assert task.first_loss == pytest.approx(np.mean([100.0 / i for i in range(1, 11)]))


def test_a_run_without_iterations_has_no_curves() -> None:
    assert make_curves([]) is None
    assert make_curves([START]) is None
