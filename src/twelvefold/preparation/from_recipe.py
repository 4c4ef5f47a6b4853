"""Prepare data as a recipe says: its tasks, cleaning, answer counts, limits and reader options."""

from __future__ import annotations

from pathlib import Path

from twelvefold.config.recipe import Recipe
from twelvefold.data.negatives import NUM_NEIGHBORS
from twelvefold.datasets.reading.options import reader_options
from twelvefold.preparation.prepare import PrepareSummary, prepare


def prepare_recipe(
    recipe: Recipe,
    data: Path,
    regions: Path | None,
    out: Path,
    *,
    skip_bad: bool = False,
    without_regions: bool = False,
    clean: str = "",
    manifest: Path | None = None,
    clean_digest: str = "",
    processes: int = 0,
) -> PrepareSummary:
    """``prepare`` with a recipe's tasks and values; a world's own reader options where the recipe sets none.

    ``clean``, ``manifest``, ``clean_digest`` and ``processes`` go before the recipe's own where they are given.
    """
    options = reader_options(data, recipe.tasks, {name: recipe.task_config(name).options for name in recipe.tasks})
    limits = {name: limit for name in recipe.tasks if (limit := recipe.task_config(name).max_examples) is not None}
    return prepare(
        data,
        regions,
        out,
        tasks=recipe.tasks,
        clean=clean or recipe.data.clean,
        clean_manifest=manifest or (Path(recipe.data.manifest) if recipe.data.manifest else None),
        clean_digest=clean_digest or recipe.data.clean_digest,
        min_count=recipe.data.min_count,
        reader_options=options,
        max_examples=limits,
        skip_bad=skip_bad or recipe.data.skip_bad,
        without_regions=without_regions or recipe.data.without_regions,
        negatives=NUM_NEIGHBORS if recipe.pretraining is None else 0,  # any other picture's caption will do there
        processes=processes or recipe.training.processes,
    )
