"""Read everything in a run's folder that its report shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from twelvefold import datasets
from twelvefold.config.loading import check_run
from twelvefold.config.recipe import Recipe
from twelvefold.evaluation.scores import Baselines, Invocation, Scores, read_scores
from twelvefold.model import card
from twelvefold.model.card import Card
from twelvefold.model.tensor_files import count_parameters
from twelvefold.reporting.curves import TrainingCurves, make_curves
from twelvefold.reporting.paper import PAPER_AVERAGE
from twelvefold.reporting.table import ScoreRow, make_rows
from twelvefold.schema import TaskSpec, TwelvefoldError
from twelvefold.store import atomic_files
from twelvefold.store.prepared import ExampleCounts, Prepared
from twelvefold.training.event_log import read_events


@dataclass(frozen=True, slots=True)
class RunContents:
    """What a run's folder holds; None or empty for what is missing.

    stages: seconds by stage, of a demo. card: of the evaluated checkpoint. parameters: their number in it.
    """

    run: Path
    scores: Scores
    baselines: Baselines | None
    curves: TrainingCurves | None
    recipe: Recipe | None
    recipe_text: str
    stages: dict[str, float]
    prepared: Prepared | None
    rows: list[ScoreRow]
    card: Card
    parameters: int | None

    @property
    def name(self) -> str:
        """Return the name of the recipe, or else of the folder."""
        return self.recipe.name if self.recipe else self.run.resolve().name

    @property
    def checkpoint(self) -> str:
        return Path(self.scores.checkpoint).name

    @property
    def trained(self) -> Invocation | None:
        """Return the date, command and code of the run's start; None if they were not recorded."""
        recorded = self.curves.start_event.get("invocation") if self.curves else None
        return msgspec.convert(recorded, Invocation) if recorded else None

    @property
    def test_data(self) -> str:
        """Return the data that the scores are for, in words; empty if it was not recorded."""
        source = self.prepared.manifest.source if self.prepared else None
        return source.describe() if source else ""

    @property
    def not_calibrated(self) -> list[ScoreRow]:
        """Return the tasks whose temperature was fitted but not kept."""
        calibrations = self.card.calibrations
        return [row for row in self.rows if (each := calibrations.get(row.task.name)) and each.n_fit and not each.kept]

    @property
    def not_fitted(self) -> list[ScoreRow]:
        """Return the tasks without a temperature, because no validation label is known."""
        calibrations = self.card.calibrations
        return [row for row in self.rows if (each := calibrations.get(row.task.name)) and not each.n_fit]

    @property
    def counts(self) -> Mapping[str, Mapping[str, ExampleCounts]]:
        """Return the numbers of examples by task, then split."""
        return self.prepared.counts if self.prepared else {}

    @property
    def seconds(self) -> float:
        """Return the seconds of all stages; without stages, of training, evaluation and baselines."""
        if self.stages:
            return sum(self.stages.values())
        return sum(part.seconds for part in (self.curves, self.scores, self.baselines) if part is not None)

    @property
    def peak_memory_gb(self) -> float:
        """Return the peak memory of training and evaluation."""
        training = float(self.curves.done_event.get("peak_memory_gb", 0.0)) if self.curves else 0.0
        return max(training, self.scores.peak_memory_gb)

    @property
    def paper_average(self) -> float | None:
        """Return the paper's average over the tasks that have a score here; None if one of them is not the paper's."""
        scored = [row for row in self.rows if row.has_score]
        if {row.task.name for row in scored} == set(datasets.paper_task_names()):
            return PAPER_AVERAGE
        papers = [row.paper.score for row in scored if row.paper and not row.paper.table]
        return round(sum(papers) / len(papers), 2) if scored and len(papers) == len(scored) else None

    @property
    def tasks_not_above_baselines(self) -> list[TaskSpec] | None:
        """Return the tasks whose 95 % interval does not lie above all baselines; None if some were not scored.

        Tasks without a score are not among them.
        """
        scored = [row for row in self.rows if row.has_score]
        if not scored or not all(row.baselines for row in scored):
            return None
        return [row.task for row in scored if not row.beats_baselines]

    @property
    def num_tasks(self) -> int:
        """Return the number of the run's tasks, also of those that were not evaluated with this model."""
        return len(self.scores.tasks) + len(self.scores.missing)

    @property
    def is_partial(self) -> bool:
        """Return whether the average is not of all tasks."""
        return len(self.scores.known) < self.num_tasks

    @property
    def unknown(self) -> list[ScoreRow]:
        """Return the tasks whose score is unknown."""
        return [row for row in self.rows if not row.has_score]


def read_run(run: Path, prepared: Path) -> RunContents:
    """Read a run's folder.

    Raises:
        TwelvefoldError: there are no scores, or a file is damaged.
    """
    path = run / "scores.json"
    if not path.exists():
        check_run(run)
        raise TwelvefoldError(
            f"{run} has no scores to report: {path} is missing. Run `twelvefold evaluate {run}` first"
        )
    scores = read_scores(path, Scores)
    if not scores.tasks:
        raise TwelvefoldError(f"{path} has no tasks; run `twelvefold evaluate {run}` again")
    baselines_path, events, recipe = run / "blind.json", run / "events.jsonl", run / "recipe.toml"
    baselines = read_scores(baselines_path, Baselines) if baselines_path.exists() else None
    opened = Prepared.open(prepared) if prepared.is_dir() else None
    loaded = Recipe.load_run(run) if recipe.exists() else None
    checkpoint = run / "checkpoints" / Path(scores.checkpoint).name
    weights = checkpoint / "model.safetensors"
    return RunContents(
        run=run,
        scores=scores,
        baselines=baselines,
        curves=make_curves(read_events(events)) if events.exists() else None,
        recipe=loaded,
        recipe_text=recipe.read_text(encoding="utf-8") if recipe.exists() else "",
        stages=read_stages(run / "stages.json"),
        prepared=opened,
        rows=make_rows(run, scores, baselines, _scored_tasks(scores, opened, loaded)),
        card=card.read(checkpoint),
        parameters=count_parameters(weights) if weights.exists() else None,
    )


def read_stages(path: Path) -> dict[str, float]:
    """Return seconds by stage, which ``demo`` writes; empty if there is no such file."""
    if not path.exists():
        return {}
    return atomic_files.convert_json(path, atomic_files.read_json(path), dict[str, float], remedy="remove it")


def _scored_tasks(scores: Scores, prepared: Prepared | None, recipe: Recipe | None) -> dict[str, TaskSpec]:
    """Return the TaskSpec of every scored task: the twelve in the paper's order, then other tasks."""
    prepared_tasks = {task.name: task for task in prepared.tasks} if prepared else {}
    modules = recipe.modules if recipe else {}
    names = dict.fromkeys(name for name in (*datasets.task_names(), *scores.tasks) if name in scores.tasks)
    return {name: prepared_tasks.get(name) or datasets.load_dataset(modules.get(name, name)).TASK for name in names}
