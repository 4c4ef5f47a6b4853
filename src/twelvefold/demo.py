"""Run the whole job in one call: a world, its regions, tables, one model on twelve tasks, scores, and a report."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from twelvefold.config.recipe import Recipe
from twelvefold.datasets.reading.recipe_tasks import resolve_tasks
from twelvefold.evaluate import evaluate
from twelvefold.evaluation.baselines import baselines
from twelvefold.evaluation.calibrate import calibrate
from twelvefold.features.extract import extract
from twelvefold.preparation.prepare import prepare_recipe
from twelvefold.progress import console
from twelvefold.reporting.contents import read_stages
from twelvefold.reporting.report import report
from twelvefold.schema import TwelvefoldError
from twelvefold.store import atomic_files
from twelvefold.train import train
from twelvefold.world.write import make_world

T = TypeVar("T")

STAGES = "stages.json"
"""Seconds of each stage when it was first completed; a later call that finds the stage done does not change them."""


@dataclass(frozen=True, slots=True)
class DemoSummary:
    """Files of the report, test scores in percent of the tasks that have one, and seconds by stage."""

    html: Path
    json: Path
    average: float | None
    scores: Mapping[str, float]
    seconds: Mapping[str, float]


def demo(out: Path = Path("runs/demo"), *, recipe: Recipe | None = None) -> DemoSummary:
    """Write the recipe's world, extract regions, prepare, train, calibrate, evaluate, and report.

    Completed stages are kept, so a stopped demo resumes.

    Args:
        out: Folder of the run; the world, regions and tables are written there too.
        recipe: A recipe with a ``[world]`` table: the name of a shipped one or a .toml file; default: demo.

    Raises:
        TwelvefoldError: the recipe has no ``[world]`` table or is a pretraining recipe, or a stage failed.
    """
    recipe = resolve_tasks(recipe or Recipe.load("demo"))
    if recipe.world is None:
        raise TwelvefoldError(
            f"recipe {recipe.name!r} has no [world] table; for your own data run "
            "extract, prepare, train, evaluate, baselines and report one after the other"
        )
    if recipe.pretraining is not None:
        raise TwelvefoldError(f"recipe {recipe.name!r} pretrains, but a demo trains tasks: see docs/pretraining.md")
    data, regions, prepared = out / "world", out / "regions", out / "prepared"
    choice, processes = recipe.world, recipe.training.processes
    run_stage = _StageTimer(out / STAGES)
    run_stage("world", lambda: make_world(data, images=choice.images, seed=choice.seed))
    run_stage(
        "extract",
        lambda: extract(
            data,
            regions,
            recipe.extract,
            processes=processes,
            tasks={recipe.module(name): recipe.task_config(name).options for name in recipe.tasks},
        ),
    )
    run_stage("prepare", lambda: prepare_recipe(recipe, data, regions, prepared))
    run_stage("train", lambda: train(recipe, prepared, regions, out))
    run_stage("calibrate", lambda: calibrate(out, processes=processes))
    scores = run_stage("evaluate", lambda: evaluate(out, processes=processes))
    run_stage("blind", lambda: baselines(out, processes=processes))
    summary = run_stage("report", lambda: report(out))
    return DemoSummary(summary.html, summary.json, scores.average, scores.known, run_stage.seconds)


class _StageTimer:
    """Run stages, print their names, and store how long each took when it was first completed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seconds: dict[str, float] = read_stages(path)

    def __call__(self, stage: str, work: Callable[[], T]) -> T:
        console.print(f"[bold]{stage}[/bold]")
        started = time.monotonic()
        result = work()
        if stage not in self.seconds:
            self.seconds[stage] = round(time.monotonic() - started, 1)
            atomic_files.write_json(self.path, self.seconds)
        return result
