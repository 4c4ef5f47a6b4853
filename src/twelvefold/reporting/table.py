"""The table of scores: each task's figure between what it gives away for nothing and what the paper reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from twelvefold.evaluation.scores import Baselines, Scores, TaskBaselines, TaskScore
from twelvefold.reporting.paper import ALL_TASKS, GROUPS, Reported
from twelvefold.schema import TaskSpec


@dataclass(frozen=True, slots=True)
class Row:
    """One task: what was found, what it gives away (None where that wasn't measured), what the paper says (None for
    a task that is not one of the twelve)."""

    task: TaskSpec
    found: TaskScore
    blind: TaskBaselines | None
    paper: Reported | None

    @property
    def gap(self) -> float | None:
        """Points between the score and the best figure of all that see half or nothing."""
        return None if self.blind is None else self.found.score - self.blind.best

    @property
    def is_clear(self) -> bool | None:
        """Whether the whole interval lies above every blind figure; None where those weren't measured."""
        return None if self.blind is None else self.found.ci95[0] > self.blind.best

    def to_json(self) -> dict[str, Any]:
        """The task's part of ``report.json``; percentages, null for what isn't known."""
        blind, found = self.blind, self.found
        return {
            "title": self.task.title,
            "group": GROUPS[self.task.family][0],
            "metric": found.metric,
            "split": found.split,
            "score": found.score,
            "n": found.n,
            "ci95": list(found.ci95),
            "chance": blind and blind.chance,
            "majority": blind and blind.majority,
            "blind_text": blind and blind.text_only,
            "blind_image": blind and blind.image_only,
            "gap_to_best_blind": None if self.gap is None else round(self.gap, 2),
            "above_every_blind": self.is_clear,
            "paper": self.paper and self.paper.score,
            "paper_split": self.paper and self.paper.split,
            "by_kind": msgspec.to_builtins(found.by_question_type),
            "also": found.extra_metrics,
            "reliability": msgspec.to_builtins(found.reliability),
        }


def rows(scores: Scores, blind: Baselines | None, specs: Mapping[str, TaskSpec]) -> list[Row]:
    """A row for every scored task, group by group, in the order of ``specs`` within each."""
    order = list(GROUPS)
    names = sorted((name for name in specs if name in scores.tasks), key=lambda name: order.index(specs[name].family))
    given = blind.tasks if blind else {}
    return [Row(specs[name], scores.tasks[name], given.get(name), ALL_TASKS.get(name)) for name in names]
