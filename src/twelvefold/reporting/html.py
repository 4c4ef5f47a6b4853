"""The page itself: what a report shows, and the templates that show it. One file, no network, escaped throughout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from twelvefold.evaluation.scores import QuestionTypeScore
from twelvefold.reporting import paper
from twelvefold.reporting.curves import Course, reliability_path
from twelvefold.reporting.examples import Shown
from twelvefold.reporting.table import Row
from twelvefold.reporting.template import fill
from twelvefold.store.prepared import Counts

KINDS = 10
"""Kinds of question shown per task, the commonest; ``report.json`` has all."""


@dataclass(frozen=True, slots=True)
class View:
    """All that the page shows. What is missing is None or empty, and its section says so in a sentence.

    ``examples``: by task, or why a task has none; ``no_examples``: why no task has any. ``pictures_missing``: why
    they show no pictures. ``counts``: by task, then split. ``facts``: names and values for "What was run".
    ``stages``: seconds by stage.
    """

    name: str
    lead: str
    rows: Sequence[Row]
    average: float
    course: Course | None = None
    examples: Mapping[str, list[Shown] | str] = field(default_factory=dict)
    no_examples: str = ""
    pictures_missing: str = ""
    counts: Mapping[str, Mapping[str, Counts]] = field(default_factory=dict)
    clean: bool = True
    left_out: Sequence[str] = ()
    facts: Sequence[tuple[str, str]] = ()
    stages: Mapping[str, float] = field(default_factory=dict)
    recipe: str = ""
    paper_source: str = paper.SOURCE

    @property
    def has_blind(self) -> bool:
        return any(row.blind for row in self.rows)

    @property
    def unclear(self) -> list[str] | None:
        """Titles of the tasks that don't stand clear of their blind figures; None where some weren't measured."""
        if not all(row.blind for row in self.rows):
            return None
        return [row.task.title for row in self.rows if not row.is_clear]

    @property
    def is_calibrated(self) -> bool:
        """Whether any task has a temperature of its own."""
        return any(row.found.reliability and row.found.reliability.temperature != 1.0 for row in self.rows)

    @property
    def groups(self) -> list[tuple[str, str, list[Row]]]:
        """Code, meaning and rows of every group that has rows."""
        return [(*paper.GROUPS[name], list(rows)) for name, rows in groupby(self.rows, lambda row: row.task.family)]

    @property
    def paper_average(self) -> float | None:
        """The paper's average, where the very same twelve tasks are shown."""
        return paper.AVERAGE if {row.task.name for row in self.rows} == set(paper.ALL_TASKS) else None


def render(view: View) -> str:
    """The page as HTML."""
    return fill("report.html.jinja", FILTERS, view=view)


def one_decimal(value: float) -> str:
    """A percentage, or gigabytes: ``63.2``."""
    return f"{value:.1f}"


def duration(seconds: float) -> str:
    """``48 s``, ``9 min 12 s`` or ``1 h 31 min``."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 1:
        return f"{seconds:.1f} s" if seconds < 10 else f"{rest} s"
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def share(part: int, whole: int) -> str:
    """``120 (11.2 %)``, or a dash where nothing was removed."""
    return f"{part:,} ({100.0 * part / whole:.1f} %)" if part and whole else "–"


def kinds(row: Row) -> list[tuple[str, QuestionTypeScore]]:
    """The commonest kinds of question of a task, weakest first."""
    commonest = sorted(row.found.by_question_type.items(), key=lambda item: (-item[1].n, item[0]))[:KINDS]
    return sorted(commonest, key=lambda item: (item[1].score, item[0]))


FILTERS: dict[str, Any] = {
    "score": one_decimal,
    "signed": lambda value: f"{value:+.1f}".replace("-", "−"),
    "whole": lambda value: f"{value:.0f}",
    "loss": lambda value: f"{value:.2f}",
    "count": lambda value: f"{value:,}",
    "duration": duration,
    "share": share,
    "called": paper.called,
    "reliable": reliability_path,
    "kinds": kinds,
}
