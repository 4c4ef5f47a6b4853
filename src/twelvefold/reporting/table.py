"""The table of scores: each task's score, its baselines, and the paper's score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from twelvefold.evaluation.scores import Baselines, Scores, TaskBaselines, TaskScore
from twelvefold.evaluation.withheld import move_command
from twelvefold.families import family_names, load_family
from twelvefold.reporting.paper import PaperScore, paper_score
from twelvefold.schema import TaskSpec


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """One task. ``baselines``: None if they were not scored. ``paper``: None if the paper has none.

    ``unknown``: why the score is unknown; empty if it is known. ``submit``: the command that writes the server's file.
    """

    task: TaskSpec
    result: TaskScore
    baselines: TaskBaselines | None
    paper: PaperScore | None
    unknown: str = ""
    submit: str = ""

    @property
    def has_score(self) -> bool:
        return self.result.score is not None

    @property
    def notes(self) -> list[str]:
        """Return what else is to be known of a score that a server makes."""
        return self.unknown.split("; ")[1:]

    @property
    def gap(self) -> float | None:
        """Return the points between the score and the best baseline; None if one of them is unknown."""
        best = self.baselines.best if self.baselines else None
        return None if self.result.score is None or best is None else self.result.score - best

    @property
    def beats_baselines(self) -> bool | None:
        """Return whether the 95 % interval lies above all baselines; None if one of them is unknown."""
        best = self.baselines.best if self.baselines else None
        return None if self.result.ci95 is None or best is None else self.result.ci95[0] > best

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
            "unlabeled": result.unlabeled,
            "unknown": self.unknown or None,
            "submit": self.submit or None,
            "ci95": result.ci95 and list(result.ci95),
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


def make_rows(run: Path, scores: Scores, baselines: Baselines | None, tasks: Mapping[str, TaskSpec]) -> list[ScoreRow]:
    """Return a row for every evaluated task, group by group, in the order of ``tasks`` within a group."""
    order = family_names()
    by_task = baselines.tasks if baselines else {}
    return [
        ScoreRow(
            task,
            scores.tasks[name],
            by_task.get(name),
            paper_score(name),
            scores.unknown.get(name, ""),
            move_command(scores.submit.get(name, ""), run),
        )
        for name, task in sorted(tasks.items(), key=lambda item: order.index(item[1].family))
    ]
