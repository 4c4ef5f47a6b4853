"""Render the report's page: one HTML file that needs no network, with everything escaped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from twelvefold.datasets.reading.submissions import SCORED_BY_SERVER
from twelvefold.evaluation.machine import describe_machine
from twelvefold.evaluation.scores import QuestionTypeScore
from twelvefold.families import load_family
from twelvefold.reporting import paper
from twelvefold.reporting.contents import RunContents
from twelvefold.reporting.curves import reliability_labels, reliability_path
from twelvefold.reporting.examples import ReportExample
from twelvefold.reporting.table import ScoreRow
from twelvefold.reporting.template import render_template
from twelvefold.schema import TaskSpec
from twelvefold.splits.policy import NO_CLEANING, describe_cleaning

MAX_QUESTION_TYPES = 10
"""Question types shown per task, the most frequent; ``report.json`` has all."""

DEVICE_NAMES = {"cpu": "the CPU", "cuda": "a GPU"}


@dataclass(frozen=True, slots=True)
class ReportPage:
    """What the page shows.

    examples: by task; a sentence instead of examples says why a task has none. no_examples: why there are no examples
    at all. no_images: why the examples have no images.
    """

    contents: RunContents
    examples: Mapping[str, list[ReportExample] | str]
    no_examples: str = ""
    no_images: str = ""

    @property
    def has_baselines(self) -> bool:
        return any(row.baselines for row in self.contents.rows)

    @property
    def cleaning(self) -> str:
        """Return what cleaning removed from the data that the model was trained on; empty if there is no such data."""
        if self.contents.prepared is None:
            return ""
        manifest = self.contents.prepared.manifest
        return describe_cleaning(manifest.policy if manifest.clean else NO_CLEANING)

    @property
    def is_calibrated(self) -> bool:
        """Return whether any task has a fitted temperature."""
        reliabilities = (row.result.reliability for row in self.contents.rows)
        return any(reliability and reliability.temperature != 1.0 for reliability in reliabilities)

    @property
    def date(self) -> str:
        """Return the day of the evaluation, or else of training; empty if neither was recorded."""
        invocation = self.contents.scores.invocation or self.contents.trained
        return invocation.date.partition(" ")[0] if invocation else ""

    @property
    def independent(self) -> list[TaskSpec]:
        """Return the tasks whose answers have a probability each."""
        tasks = [row.task for row in self.contents.rows]
        return [task for task in tasks if load_family(task.family).independent]

    @property
    def groups(self) -> list[tuple[str, str, list[ScoreRow]]]:
        """Return code, title and rows of every group that has rows."""
        by_family = groupby(self.contents.rows, lambda row: row.task.family)
        families = ((load_family(name), list(rows)) for name, rows in by_family)
        return [(family.group, family.title, rows) for family, rows in families]

    @property
    def lead(self) -> str:
        """Return a summary of the run in a few sentences."""
        contents, curves, sentences = self.contents, self.contents.curves, []
        if contents.parameters:
            sentences.append(f"A model with {contents.parameters / 1e6:.1f} million parameters.")
        if curves:
            processes, device = curves.start_event["processes"], curves.start_event["device"]
            sentences.append(
                f"Trained jointly for {curves.iterations:,} iterations over all tasks in "
                f"{format_duration(curves.seconds)} ({processes} process{'es' if processes > 1 else ''} on "
                f"{DEVICE_NAMES.get(device, device)})."
            )
            if not curves.done_event and curves.iterations < curves.planned_iterations:
                sentences.append(f"Training is not finished: {curves.planned_iterations:,} iterations are planned.")
        if contents.stages:
            stages = [stage_title(name) for name in contents.stages]
            sentences.append(f"All stages, from {stages[0]} to {stages[-1]}, took {format_duration(contents.seconds)}.")
        return " ".join(sentences)

    @property
    def left_out(self) -> list[str]:
        """Return sentences about examples that were left out for other reasons than cleaning."""
        reasons = {
            "malformed": "malformed records",
            "without_regions": "examples whose image has no regions",
            "beyond_limit": "examples beyond the recipe's limit",
        }
        sentences = []
        for field, reason in reasons.items():
            by_task = {
                name: sum(getattr(counts, field) for counts in by_split.values())
                for name, by_split in self.contents.counts.items()
            }
            if any(by_task.values()):
                rows = self.contents.rows
                tasks = ", ".join(f"{row.task.title} {n:,}" for row in rows if (n := by_task.get(row.task.name)))
                sentences.append(f"Also left out: {reason} ({tasks}).")
        return sentences

    @property
    def facts(self) -> list[tuple[str, str]]:
        """Return names and values of what was run."""
        contents, recipe, curves = self.contents, self.contents.recipe, self.contents.curves
        facts: list[tuple[str, str]] = []
        if recipe:
            model = ", ".join(f"{name} {value}" for name, value in recipe.model.items()) or "vilbert_base"
            facts += [("Recipe", recipe.name), ("Seed", str(recipe.seed))]
            facts.append(("Model", model))
        if contents.card.trained_on:
            facts.append(("Trained on", contents.card.trained_on))
        if contents.test_data:
            facts.append(("Test data", contents.test_data))
        if contents.parameters:
            facts.append(("Parameters", f"{contents.parameters:,}"))
        facts.append(("Checkpoint", contents.checkpoint))
        if curves:
            start = curves.start_event
            facts += [
                ("Iterations", f"{curves.iterations:,} of {curves.planned_iterations:,}"),
                ("Processes", f"{start['processes']}, {start['device']}"),
                ("Versions", ", ".join(f"{name} {version}" for name, version in start["versions"].items())),
                ("Training", format_duration(curves.seconds)),
            ]
        for name, invocation in (("Trained", contents.trained), ("Evaluated", contents.scores.invocation)):
            if invocation:
                facts += [(name, invocation.date), ("Command", invocation.command), ("Code", invocation.code)]
        facts.append(("Evaluation", format_duration(contents.scores.seconds)))
        if contents.baselines:
            facts.append(("Baselines", format_duration(contents.baselines.seconds)))
        facts.append(("Peak memory", f"{contents.peak_memory_gb:.1f} GB"))
        machine = curves.start_event.get("machine") if curves else None
        facts.append(("Machine", str(machine)) if machine else ("Report made on", describe_machine()))
        return facts


def render_page(page: ReportPage) -> str:
    """Return the page as HTML."""
    names = {"paper_source": paper.SOURCE, "scored_by_server": SCORED_BY_SERVER}
    return render_template("report.html.jinja", FILTERS, page=page, run=page.contents, **names)


def stage_title(name: str) -> str:
    """Return the name of a stage for the page; files call the baselines by their former name."""
    return "baselines" if name == "blind" else name


def format_duration(seconds: float) -> str:
    """Return ``4.8 s``, ``48 s``, ``9 min 12 s`` or ``1 h 31 min``."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 1:
        return f"{seconds:.1f} s" if seconds < 10 else f"{rest} s"
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def format_removed(removed: int, total: int) -> str:
    """Return ``120 (11.2 %)``, or a dash if nothing was removed."""
    return f"{removed:,} ({100.0 * removed / total:.1f} %)" if removed and total else "–"


def weakest_question_types(row: ScoreRow) -> list[tuple[str, QuestionTypeScore]]:
    """Return the most frequent question types of a task, the weakest first."""
    by_count = sorted(row.result.by_question_type.items(), key=lambda item: (-item[1].n, item[0]))
    return sorted(by_count[:MAX_QUESTION_TYPES], key=lambda item: (item[1].score, item[0]))


FILTERS: dict[str, Any] = {
    "score": lambda value: f"{value:.1f}",
    "signed": lambda value: f"{value:+.1f}".replace("-", "−"),
    "whole": lambda value: f"{value:.0f}",
    "loss": lambda value: f"{value:.2f}",
    "rate": lambda value: f"{value:.2g}",
    "count": lambda value: f"{value:,}",
    "duration": format_duration,
    "removed": format_removed,
    "stage_title": stage_title,
    "metric_title": paper.metric_title,
    "reliability_labels": reliability_labels,
    "reliability_path": reliability_path,
    "question_types": weakest_question_types,
}
