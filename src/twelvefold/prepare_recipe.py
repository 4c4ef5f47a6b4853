"""Prepare data as a recipe says: its tasks, cleaning, answer counts, limits and reader options."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twelvefold.prepare import PrepareSummary, prepare
from twelvefold.store import files
from twelvefold.training.recipe import Recipe


def prepare_recipe(
    recipe: Recipe, data: Path, regions: Path, out: Path, *, skip_bad: bool = False, without_regions: bool = False
) -> PrepareSummary:
    """``prepare`` with a recipe's tasks and values; a world's own reader options where the recipe sets none."""
    options = {name: {**world_options(data).get(name, {}), **recipe.choice(name).options} for name in recipe.tasks}
    limits = {name: limit for name in recipe.tasks if (limit := recipe.choice(name).max_examples) is not None}
    return prepare(
        data,
        regions,
        out,
        tasks=recipe.tasks,
        clean=recipe.data.clean,
        min_count=recipe.data.min_count,
        reader_options=options,
        max_examples=limits,
        skip_bad=skip_bad or recipe.data.skip_bad,
        without_regions=without_regions,
        processes=recipe.training.processes,
    )


def world_options(data: Path) -> Mapping[str, Mapping[str, Any]]:
    """The reader options that a world states for itself: how long its held-out tails are. None for real data."""
    about = data / "world.json"
    return files.read_json(about)["reader_options"] if about.exists() else {}
