"""Turn the events of a run into plots: active spans, validation scores and losses of every task.

Coordinates are percentages of a plot's width and height, y downwards as in SVG. Paper: Fig. 2 left, Fig. 4.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from twelvefold.evaluation.scores import CalibrationBin

X = TypeVar("X", int, float)

MAX_POINTS = 100
"""Points of a curve and dots of a timeline; a page has no room to tell more apart."""
MAX_LABELS = 25
"""Points of a curve whose values appear under the pointer: at least a finger's width apart on a wide page."""


@dataclass(frozen=True, slots=True)
class Span:
    """A part of the run, from ``start`` to ``end`` in percent, in which a task is active or stopped."""

    start: float
    end: float
    is_active: bool


@dataclass(frozen=True, slots=True)
class PointLabel:
    """Values of a point of a line, shown while the pointer is nearer to it than to others.

    area: where that is. x: of the point; both in the plot's coordinates. text: the values.
    """

    x: float
    area: tuple[float, float]
    text: str

    @property
    def style(self) -> str:
        """Return the CSS of the area, with the point's position inside it as ``--at``."""
        left, right = self.area
        width = max(right - left, 0.01)
        return f"left:{left:g}%;width:{width:g}%;--at:{100 * (self.x - left) / width:.4g}%"


def label_points(points: Sequence[tuple[float, str]]) -> list[PointLabel]:
    """Return the labels of points (x in percent, text) in ascending order of x."""
    middles = [round((a + b) / 2, 2) for (a, _), (b, _) in pairwise(points)]
    return [PointLabel(x, area, text) for (x, text), area in zip(points, pairwise([0.0, *middles, 100.0]), strict=True)]


@dataclass(frozen=True, slots=True)
class PlotLine:
    """A line to draw. ``path``: SVG path data. ``last``: the last point (x, y). ``top``: value at the axis's end."""

    path: str
    last: tuple[float, float]
    top: float
    labels: list[PointLabel]


@dataclass(frozen=True, slots=True)
class TaskCurve:
    """One task over the run. ``validated_at``: in percent of the run. Scores are percentages; None without any."""

    spans: list[Span]
    validated_at: list[float]
    num_updates: int
    num_stops: int
    scores: PlotLine | None
    losses: PlotLine | None
    first_loss: float | None
    last_loss: float | None
    latest_score: float | None
    best_score: float | None


@dataclass(frozen=True, slots=True)
class TrainingCurves:
    """Training of all tasks.

    resumed_at: in percent of the run. start_event: fields of the ``start`` event. planned_iterations: of the last
    ``start`` or ``resume``, as a finished run may be trained for longer. done_event: fields of the ``done``
    event; empty if training is not finished.
    """

    iterations: int
    planned_iterations: int
    seconds: float
    tasks: dict[str, TaskCurve]
    learning_rate: PlotLine | None
    resumed_at: list[float]
    start_event: Mapping[str, Any]
    done_event: Mapping[str, Any]

    @property
    def has_stops(self) -> bool:
        return any(task.num_stops for task in self.tasks.values())


@dataclass(slots=True)
class _TaskEvents:
    """Events of one task as (iteration, value) pairs; ``turns``: whether the task is active from then on."""

    losses: list[tuple[int, float]] = field(default_factory=list)
    scores: list[tuple[int, float]] = field(default_factory=list)
    turns: list[tuple[int, bool]] = field(default_factory=list)


def make_curves(events: Iterable[Mapping[str, Any]]) -> TrainingCurves | None:
    """Return the curves of a run; None if it has no iteration yet."""
    tasks: dict[str, _TaskEvents] = {}
    start_event: Mapping[str, Any] = {}
    done_event: Mapping[str, Any] = {}
    resumed: list[int] = []
    rates: list[tuple[int, float]] = []
    iterations, planned_iterations, seconds = 0, 0, 0.0
    for event in events:
        name, iteration = event["event"], int(event["iteration"])
        iterations, seconds = max(iterations, iteration), max(seconds, float(event.get("seconds", 0.0)))
        if name in ("start", "resume"):
            start_event = start_event or event
            tasks = tasks or {task: _TaskEvents() for task in event["tasks"]}
            planned_iterations, done_event = int(event["iterations"]), {}
            if name == "resume":
                resumed.append(iteration)
        elif name == "step":
            rates += [(iteration, float(event["lr"]))] if "lr" in event else []
            for task, loss in event["losses"].items():
                tasks[task].losses.append((iteration, float(loss)))
        elif name == "eval":
            tasks[event["task"]].scores.append((iteration, 100.0 * float(event["score"])))
        elif name in ("stop", "go"):
            tasks[event["task"]].turns.append((iteration, name == "go"))
        elif name == "done":
            done_event = event
    if not start_event or not iterations:
        return None
    return TrainingCurves(
        iterations=iterations,
        planned_iterations=planned_iterations,
        seconds=seconds,
        tasks={task: _task_curve(task_events, iterations) for task, task_events in tasks.items()},
        learning_rate=_plot_line(_thin_out(rates), iterations, max((rate for _, rate in rates), default=0.0), "{:.2g}"),
        resumed_at=[_percent(iteration, iterations) for iteration in resumed],
        start_event=start_event,
        done_event=done_event,
    )


def _task_curve(events: _TaskEvents, iterations: int) -> TaskCurve:
    all_scores = [score for _, score in events.scores]
    scores, losses = _thin_out(events.scores), _average(events.losses)
    return TaskCurve(
        spans=_spans(events.turns, iterations),
        validated_at=[_percent(iteration, iterations) for iteration, _ in scores],
        num_updates=len(events.losses),
        num_stops=sum(not is_active for _, is_active in events.turns),
        scores=_plot_line(scores, iterations, 100.0, "{:.1f} %"),
        losses=_plot_line(losses, iterations, max((loss for _, loss in losses), default=0.0), "{:.2f}"),
        first_loss=losses[0][1] if losses else None,
        last_loss=losses[-1][1] if losses else None,
        latest_score=all_scores[-1] if all_scores else None,
        best_score=max(all_scores, default=None),
    )


def _spans(turns: Sequence[tuple[int, bool]], iterations: int) -> list[Span]:
    """Return alternating spans; a task starts active, and a decision holds from the end of its iteration on."""
    spans: list[Span] = []
    start, is_active = 0, True
    for end, next_active in [*turns, (iterations, None)]:
        if next_active == is_active:
            continue
        if end > start:
            spans.append(Span(_percent(start, iterations), _percent(end, iterations), is_active))
        start, is_active = end, bool(next_active)
    return spans


def _average(values: Sequence[tuple[int, float]]) -> list[tuple[float, float]]:
    """Return means of at most ``MAX_POINTS`` blocks of consecutive values, because losses are noisy."""
    if not values:
        return []
    blocks: list[NDArray[np.float64]] = np.array_split(np.array(values, dtype=np.float64), min(MAX_POINTS, len(values)))
    means = [block.mean(axis=0) for block in blocks]
    return [(float(iteration), float(value)) for iteration, value in means]


def _thin_out(values: Sequence[tuple[X, float]], limit: int = MAX_POINTS) -> list[tuple[X, float]]:
    """Return at most ``limit`` evenly spaced values, with the first and the last."""
    if len(values) <= limit:
        return list(values)
    return [values[int(i)] for i in np.linspace(0, len(values) - 1, limit).round()]


def _plot_line(points: Sequence[tuple[float, float]], iterations: int, top: float, unit_format: str) -> PlotLine | None:
    """Return a line in a plot of x from 0 to ``iterations`` and y from 0 to ``top``; None without points.

    ``unit_format``: of a value with its unit, such as ``{:.1f} %``.
    """
    if not points or top <= 0.0:
        return None
    line = [(_percent(iteration, iterations), round(100.0 - 100.0 * value / top, 2)) for iteration, value in points]
    labels = label_points(
        [
            (_percent(iteration, iterations), f"{unit_format.format(value)} at iteration {round(iteration):,}")
            for iteration, value in _thin_out(points, MAX_LABELS)
        ]
    )
    return PlotLine(_svg_path(f"{x:g} {y:g}" for x, y in line), line[-1], top, labels)


def reliability_path(bins: Sequence[CalibrationBin]) -> str:
    """Return SVG path data in a plot of score over confidence, both from 0 to 1."""
    return _svg_path(f"{100 * b.confidence:.4g} {100 - 100 * b.score:.4g}" for b in bins)


def reliability_labels(bins: Sequence[CalibrationBin]) -> list[PointLabel]:
    """Return the labels of a reliability diagram's points."""
    points = [
        (
            round(100 * b.confidence, 2),
            f"stated {100 * b.confidence:.0f} %, right {100 * b.score:.0f} % ({b.n:,} answers)",
        )
        for b in bins
    ]
    return label_points(points)


def _svg_path(points: Iterable[str]) -> str:
    path = "M" + "L".join(points)
    return path if "L" in path else path + "h0"  # a single point is drawn as a dot


def _percent(iteration: float, iterations: int) -> float:
    return round(100.0 * iteration / iterations, 2)
