"""From the events of a run to lines that a page can draw: who went and who stood still, losses, scores over time.

All coordinates are percentages of a plot's width and height, y downwards as in SVG. Paper: Fig. 2 left, Fig. 4.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twelvefold.evaluation.scores import CalibrationBin

POINTS = 100
"""Points kept of a curve, and marks of a timeline: more can't be told apart on a page."""


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a task's way: from ``start`` to ``end``, in percent of the run."""

    start: float
    end: float
    goes: bool


@dataclass(frozen=True, slots=True)
class Curve:
    """A line to draw. ``path``: SVG path data; ``last`` its last point; ``top``: the value at the upper edge."""

    path: str
    last: tuple[float, float]
    top: float


@dataclass(frozen=True, slots=True)
class Lane:
    """One task over the run. ``steps``: updates it made. ``latest``, ``best``: validation scores in percent,
    None before the first. ``stops``: how often it was stopped."""

    task: str
    spans: list[Span]
    marks: list[float]
    steps: int
    stops: int
    scores: Curve | None
    losses: Curve | None
    first_loss: float | None
    last_loss: float | None
    latest: float | None
    best: float | None


@dataclass(frozen=True, slots=True)
class Course:
    """How training went. ``iterations`` were made of ``planned``; ``resumed``: where, in percent of the run;
    ``started``: the fields of the ``start`` event; ``ended``: those of ``done``, empty before."""

    iterations: int
    planned: int
    seconds: float
    lanes: dict[str, Lane]
    resumed: list[float]
    started: Mapping[str, Any]
    ended: Mapping[str, Any]

    @property
    def has_stops(self) -> bool:
        return any(lane.stops for lane in self.lanes.values())


@dataclass(slots=True)
class _Notes:
    """What the log says of one task: (iteration, value) pairs."""

    losses: list[tuple[int, float]] = field(default_factory=list)
    evaluations: list[tuple[int, float]] = field(default_factory=list)
    turns: list[tuple[int, bool]] = field(default_factory=list)


def course(events: Iterable[Mapping[str, Any]]) -> Course | None:
    """The way of a run, or None where nothing has begun."""
    notes: dict[str, _Notes] = {}
    started: Mapping[str, Any] = {}
    ended: Mapping[str, Any] = {}
    resumed: list[int] = []
    iterations, seconds = 0, 0.0
    for event in events:
        what, at = event["event"], int(event["iteration"])
        iterations, seconds = max(iterations, at), max(seconds, float(event.get("seconds", 0.0)))
        if what in ("start", "resume"):
            started = started or event
            notes = notes or {name: _Notes() for name in event["tasks"]}
            if what == "resume":
                resumed.append(at)
        elif what == "step":
            for name, loss in event["losses"].items():
                notes[name].losses.append((at, float(loss)))
        elif what == "eval":
            notes[event["task"]].evaluations.append((at, 100.0 * float(event["score"])))
        elif what in ("stop", "go"):
            notes[event["task"]].turns.append((at, what == "go"))
        elif what == "done":
            ended = event
    if not started or not iterations:
        return None
    lanes = {name: _lane(name, note, iterations) for name, note in notes.items()}
    places = [_share(at, iterations) for at in resumed]
    return Course(iterations, int(started["iterations"]), seconds, lanes, places, started, ended)


def _lane(task: str, note: _Notes, iterations: int) -> Lane:
    scores = [score for _, score in note.evaluations]
    losses = _binned(note.losses)
    return Lane(
        task=task,
        spans=_spans(note.turns, iterations),
        marks=[_share(at, iterations) for at, _ in _thinned(note.evaluations)],
        steps=len(note.losses),
        stops=sum(not goes for _, goes in note.turns),
        scores=_curve(_thinned(note.evaluations), iterations, 100.0),
        losses=_curve(losses, iterations, max((loss for _, loss in losses), default=0.0)),
        first_loss=losses[0][1] if losses else None,
        last_loss=losses[-1][1] if losses else None,
        latest=scores[-1] if scores else None,
        best=max(scores, default=None),
    )


def _spans(turns: Sequence[tuple[int, bool]], iterations: int) -> list[Span]:
    """Every task begins by going; a decision of iteration i holds from its end on."""
    spans: list[Span] = []
    start, goes = 0, True
    for at, now_goes in [*turns, (iterations, None)]:
        if now_goes == goes:
            continue
        if at > start:
            spans.append(Span(_share(start, iterations), _share(at, iterations), goes))
        start, goes = at, bool(now_goes)
    return spans


def _binned(values: Sequence[tuple[int, float]]) -> list[tuple[float, float]]:
    """Means of consecutive values, at most ``POINTS`` of them: a loss jumps from batch to batch."""
    if not values:
        return []
    parts: list[NDArray[np.float64]] = np.array_split(np.array(values, dtype=np.float64), min(POINTS, len(values)))
    means = [part.mean(axis=0) for part in parts]
    return [(float(at), float(value)) for at, value in means]


def _thinned(values: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """At most ``POINTS`` of the values, evenly apart, first and last among them."""
    if len(values) <= POINTS:
        return list(values)
    return [values[int(i)] for i in np.linspace(0, len(values) - 1, POINTS).round()]


def _curve(points: Sequence[tuple[float, float]], iterations: int, top: float) -> Curve | None:
    """Points as an SVG path in a plot from 0 to ``iterations`` and from 0 to ``top``; None without points."""
    if not points or top <= 0.0:
        return None
    places = [(_share(at, iterations), round(100.0 - 100.0 * value / top, 2)) for at, value in points]
    path = "M" + "L".join(f"{x:g} {y:g}" for x, y in places)
    return Curve(path if len(places) > 1 else path + "h0", places[-1], top)


def reliability_path(bins: Sequence[CalibrationBin]) -> str:
    """Bins as a line in a plot of score over confidence, both from 0 to 1."""
    path = "M" + "L".join(f"{100 * one.confidence:.4g} {100 - 100 * one.score:.4g}" for one in bins)
    return path if len(bins) > 1 else path + "h0"


def _share(at: float, iterations: int) -> float:
    return round(100.0 * at / iterations, 2)
