"""Pretrain on captioned images: masked tokens, masked regions, alignment. Paper: section 3.1.

Loop, checkpoints, event log and exact resume are those of :func:`twelvefold.train.train`; a caption set takes turns as
a task does. The model has no tasks: a recipe whose ``[model] initial`` names the run starts from its weights.
``pretraining.json`` in the run's folder holds the validation metrics.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from twelvefold.config.recipe import Recipe
from twelvefold.schema import TwelvefoldError
from twelvefold.store import atomic_files
from twelvefold.train import train_recipe
from twelvefold.training.checkpoints import Checkpoints

SUMMARY = "pretraining.json"


@dataclass(frozen=True, slots=True)
class PretrainSummary:
    """A finished pretraining run. ``steps``: updates by caption set.

    ``metrics``: of each caption set's last validation, in 0..1, the accuracies ``words``, ``regions`` and
    ``alignment``, and ``recall_at_1``, ``_5`` and ``_10`` of zero-shot image retrieval.
    """

    run: Path
    checkpoint: Path
    iterations: int
    seconds: float
    steps: Mapping[str, int]
    metrics: Mapping[str, Mapping[str, float]]


def pretrain(
    recipe: Recipe,
    prepared: Path | None,
    regions: Path | None,
    run: Path,
    *,
    initial: Path | None = None,
    iterations: int | None = None,
    resume: bool = True,
) -> PretrainSummary:
    """Pretrain a model on the captions of a recipe's tasks. An interrupted run resumes exactly where it stopped.

    A finished run is only summarized, unless ``iterations`` is now higher: then it is trained for longer, as
    ``twelvefold train --help`` explains.

    Args:
        recipe: What to pretrain on and how, with a table ``[pretraining]``: the name of a shipped recipe or a .toml
            file.
        prepared: Folder of the tables that ``prepare`` wrote; default: the one that the run remembers.
        regions: Folder of the regions that ``extract`` or ``features import`` wrote, with class probabilities;
            default: the one that the run remembers.
        run: Folder of the run: recipe, events, checkpoints, ``pretraining.json``.
        initial: Start from the weights of this run or model folder, instead of what the recipe says.
        iterations: Iterations in total, instead of what the recipe says.
        resume: Resume the run that the folder holds; if false, a folder that holds a run is refused.

    Raises:
        Interrupted: SIGINT or SIGTERM came; the checkpoint is saved.
        TwelvefoldError: the recipe has no ``[pretraining]``, a task has no captions or its regions no class
            probabilities, or any error of ``train``.
    """
    if recipe.pretraining is None:
        raise TwelvefoldError(
            f"recipe {recipe.name} trains tasks: use `twelvefold train`, or add a table [pretraining] to it"
        )
    recipe = recipe if initial is None else recipe.with_initial(initial)
    recipe = recipe if iterations is None else recipe.with_iterations(iterations)
    trained = train_recipe(recipe, prepared, regions, run, resume)
    state = Checkpoints(run / "checkpoints").read_state() or {}
    summary = PretrainSummary(
        run=run,
        checkpoint=trained.checkpoint,
        iterations=trained.iterations,
        seconds=trained.seconds,
        steps=trained.steps,
        metrics=state["metrics"],
    )
    if os.environ.get("RANK", "0") == "0":
        content = dataclasses.asdict(summary) | {"run": str(run), "checkpoint": str(summary.checkpoint)}
        config = msgspec.to_builtins(recipe.pretraining)
        atomic_files.write_json(run / SUMMARY, content | {"pretraining": config})
    return summary
