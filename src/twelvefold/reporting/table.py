"""The table of scores: each task's score, its baselines, and the paper's score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from twelvefold.evaluation.scores import Baselines, Scores, TaskBaselines, TaskScore
from twelvefold.families import family_names, load_family
from twelvefold.reporting.paper import PaperScore, paper_score
from twelvefold.schema import TaskSpec


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """One task. ``baselines``: None if they were not scored. ``paper``: None if the task is not one of the twelve."""

    task: TaskSpec
    result: TaskScore
    baselines: TaskBaselines | None
    paper: PaperScore | None

    @property
    def gap(self) -> float | None:
        """Return the points between the score and the best baseline."""
        return None if self.baselines is None else self.result.score - self.baselines.best

    @property
    def beats_baselines(self) -> bool | None:
        """Return whether the 95 % interval lies above all baselines; None if they were not scored."""
        return None if self.baselines is None else self.result.ci95[0] > self.baselines.best

    def to_json(self) -> dict[str, Any]:
        """Return the task's part of ``report.json``: percentages, null for what is unknown."""
        baselines, result = self.baselines, self.result
        return {
            "title": self.task.title,
            "group": load_family(self.task.family).group,
            "metric": result.metric,
            "split": result.split,
            "score": result.score,
            "n": result.n,
            "ci95": list(result.ci95),
            "chance": baselines and baselines.chance,
            "majority": baselines and baselines.majority,
            "blind_text": baselines and baselines.text_only,
            "blind_image": baselines and baselines.image_only,
            "gap_to_best_blind": None if self.gap is None else round(self.gap, 2),
            "above_every_blind": self.beats_baselines,
            "paper": self.paper and self.paper.score,
            "paper_split": self.paper and self.paper.split,
            "by_kind": msgspec.to_builtins(result.by_question_type),
            "also": result.extra_metrics,
            "text_retrieval": msgspec.to_builtins(result.text_retrieval),
            "limitations": list(result.limitations),
            "reliability": msgspec.to_builtins(result.reliability),
        }


def make_rows(scores: Scores, baselines: Baselines | None, tasks: Mapping[str, TaskSpec]) -> list[ScoreRow]:
    """Return a row for every scored task, group by group, in the order of ``tasks`` within a group."""
    order = family_names()
    by_task = baselines.tasks if baselines else {}
    return [
        ScoreRow(task, scores.tasks[name], by_task.get(name), paper_score(name))
        for name, task in sorted(tasks.items(), key=lambda item: order.index(item[1].family))
    ]
