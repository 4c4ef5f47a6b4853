"""Score one model on the test sets of all its tasks, with the publishers' metrics. Paper: section 4, Table 2."""

from __future__ import annotations

import resource
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from twelvefold import datasets
from twelvefold.config.recipe import EvaluationConfig, Recipe
from twelvefold.data.region_inputs import RegionSource
from twelvefold.data.task_loader import TaskBatches
from twelvefold.device import select_device
from twelvefold.evaluation import predictions
from twelvefold.evaluation import scores as score_files
from twelvefold.evaluation.per_task import made_from, per_task
from twelvefold.evaluation.placed import Placed
from twelvefold.evaluation.score import score_task
from twelvefold.evaluation.scores import Scores, TaskScore
from twelvefold.model import Model, card
from twelvefold.schema import Split, TaskSpec, TwelvefoldError, did_you_mean
from twelvefold.store import atomic_files
from twelvefold.store.prepared import Prepared
from twelvefold.training.checkpoints import checkpoint_of

COSTLY = ("retrieval", "verification")
"""Families that take longest to score: a whole pool for every caption, two pictures for every statement."""


def evaluate(
    run: Path,
    *,
    prepared: Path | None = None,
    regions: Path | None = None,
    checkpoint: str = "latest",
    split: Split = "test",
    tasks: Sequence[str] = (),
    processes: int = 2,
) -> Scores:
    """Score the run's model on ``split`` of its tasks and leave ``scores.json`` and ``predictions/<task>.jsonl``.

    Other splits than test have files of their own beside them (``scores-val.json``, ``predictions-val``).

    ``prepared`` and ``regions`` default to the folders of those names inside the run. ``checkpoint``: ``latest``
    (the paper reports the end of training), ``best`` or a kept one. ``tasks``: some of the recipe's, whose figures
    then leave ``scores.json`` as it is; all where empty. Limits, pool sizes and the device are the recipe's. A task
    that was scored with this checkpoint and its temperatures already is not scored again, so an interrupted evaluation
    goes on.

    Raises:
        TwelvefoldError: no such run or checkpoint, or the data are not those that the model was trained on.
    """
    started = time.monotonic()
    prepared, regions = prepared or run / "prepared", regions or run / "regions"
    folder = checkpoint_of(run, checkpoint)
    recipe = Recipe.load(run / "recipe.toml")
    if recipe.pretraining is not None:
        raise TwelvefoldError(f"{run} was pretrained and has no tasks to score; what it learnt: {run}/pretraining.json")
    chosen = _chosen(recipe, tasks)
    # Families that take longest start first, so that no process is left with one of them at the end.
    order = sorted(chosen, key=lambda spec: spec.family not in COSTLY)
    found = per_task(
        score_one,
        {
            spec.name: (folder, prepared, regions, run, spec.name, split, recipe.evaluation, recipe.training.device)
            for spec in order
        },
        kind=TaskScore,
        folder=run / "scores" / split,
        made_from=_scores_made_from(folder, prepared, regions, recipe.evaluation),
        processes=processes,
        what=f"tasks scored on {split}",
    )
    everyone = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    scores = Scores(
        tasks={spec.name: found[spec.name] for spec in chosen},
        checkpoint=checkpoint,
        seconds=round(time.monotonic() - started, 1),
        peak_memory_gb=round(sum(resource.getrusage(who).ru_maxrss for who in everyone) / 2**20, 2),
    )
    if not tasks:
        score_files.write(run / ("scores.json" if split == "test" else f"scores-{split}.json"), scores)
    return scores


def _scores_made_from(checkpoint: Path, prepared: Path, regions: Path, limits: EvaluationConfig) -> str:
    """What scores depend on: where nothing of it changed, a task is not scored again."""
    temperatures = card.read(checkpoint).temperatures
    return made_from(
        prepared,
        regions,
        atomic_files.digest_file(checkpoint / "model.safetensors"),
        limits.max_examples,
        limits.pool,
        *([atomic_files.digest_value(temperatures)] if temperatures else []),
    )


def score_one(
    checkpoint: Path,
    prepared: Path,
    regions: Path,
    run: Path,
    name: str,
    split: Split,
    limits: EvaluationConfig,
    device: str = "auto",
) -> TaskScore:
    """Score one task and write its predictions; runs in a process of its own."""
    torch.set_num_threads(1)
    model = Placed(Model.load(checkpoint), select_device(device))
    opened = Prepared.open(prepared)
    data = TaskBatches.open(opened, RegionSource.open(regions), model.model.tasks[name], split)
    outcome = score_task(
        model,
        data,
        max_examples=limits.max_examples,
        pool=limits.pool,
        batch_size=limits.batch_size,
        temperature=card.read(checkpoint).temperatures.get(name, 1.0),
    )
    predictions.write(predictions.file_of(run, name, split), outcome.lines)
    return outcome.task_score(split, resamples=limits.bootstrap)


def _chosen(recipe: Recipe, tasks: Sequence[str]) -> list[TaskSpec]:
    """The tasks named, or all of the recipe's, in the recipe's order."""
    specs = recipe.specs(lambda name: datasets.load(name).TASK)
    names = [spec.name for spec in specs]
    for name in tasks:
        if name not in names:
            raise TwelvefoldError(f"the run has no task {name!r}; it has {', '.join(names)}{did_you_mean(name, names)}")
    return [spec for spec in specs if not tasks or spec.name in tasks]
