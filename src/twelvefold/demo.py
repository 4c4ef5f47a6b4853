"""The whole job in one call: a world, its regions, tables, one model on twelve tasks, scores, report."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from twelvefold.config.recipe import Recipe
from twelvefold.evaluate import evaluate
from twelvefold.evaluation.baselines import blind
from twelvefold.evaluation.calibrate import calibrate
from twelvefold.features.extract import extract
from twelvefold.preparation.from_recipe import prepare_recipe
from twelvefold.progress import console
from twelvefold.reporting.report import report
from twelvefold.schema import TwelvefoldError
from twelvefold.store import atomic_files
from twelvefold.train import train
from twelvefold.world.write import world

T = TypeVar("T")

STAGES = "stages.json"
"""Seconds of each stage's first, whole call; a later call that finds the stage done does not change them."""


@dataclass(frozen=True, slots=True)
class DemoSummary:
    """Where the report lies, and test scores in percent. ``seconds``: by stage."""

    html: Path
    json: Path
    average: float
    scores: Mapping[str, float]
    seconds: Mapping[str, float]


def demo(out: Path, *, recipe: Recipe) -> DemoSummary:
    """Build the recipe's world in ``out``, look at it, train, evaluate, and write a report. Done stages are kept.

    Raises:
        TwelvefoldError: the recipe has no [world] table or pretrains, or a stage failed; it says which and why.
    """
    if recipe.world is None:
        raise TwelvefoldError(
            f"recipe {recipe.name!r} has no [world] table; for data of your own run "
            "extract, prepare, train, evaluate, blind and report one after the other"
        )
    if recipe.pretraining is not None:
        raise TwelvefoldError(f"recipe {recipe.name!r} pretrains, and a demo trains tasks: see docs/pretraining.md")
    made, regions, prepared = out / "world", out / "regions", out / "prepared"
    choice, workers = recipe.world, recipe.training.processes
    clock = _Clock(out / STAGES)
    clock("world", lambda: world(made, images=choice.images, seed=choice.seed))
    weights = Path(recipe.extract.detector) if recipe.extract.detector else None
    clock(
        "extract",
        lambda: extract(
            made,
            regions,
            processes=workers,
            weights=weights,
            tasks={name: recipe.choice(name).options for name in recipe.tasks},
            max_regions=recipe.extract.max_regions,
        ),
    )
    clock("prepare", lambda: prepare_recipe(recipe, made, regions, prepared))
    clock("train", lambda: train(recipe, prepared, regions, out))
    clock("calibrate", lambda: calibrate(out, processes=workers))
    scores = clock("evaluate", lambda: evaluate(out, processes=workers))
    clock("blind", lambda: blind(out, processes=workers))
    pages = clock("report", lambda: report(out))
    return DemoSummary(
        pages.html, pages.json, scores.average, {name: s.score for name, s in scores.tasks.items()}, clock.seconds
    )


class _Clock:
    """Runs stages one after the other, saying which; keeps how long each took when it was first done."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seconds: dict[str, float] = atomic_files.read_json(path) if path.exists() else {}

    def __call__(self, stage: str, work: Callable[[], T]) -> T:
        console.print(f"[bold]{stage}[/bold]")
        began = time.monotonic()
        result = work()
        if stage not in self.seconds:
            self.seconds[stage] = round(time.monotonic() - began, 1)
            atomic_files.write_json(self.path, self.seconds)
        return result
