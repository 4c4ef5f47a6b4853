"""Score one model on the test sets of all its tasks, with the publishers' metrics. Paper: section 4, Table 2."""

from __future__ import annotations

import resource
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from twelvefold.batches.regions import RegionSource
from twelvefold.batches.tasks import TaskBatches
from twelvefold.model import Model
from twelvefold.results import predictions
from twelvefold.results import scores as score_files
from twelvefold.results.per_task import per_task
from twelvefold.results.scores import Scores, TaskScore
from twelvefold.results.scoring import score_task
from twelvefold.schema import Split, TwelvefoldError
from twelvefold.store import files
from twelvefold.store.prepared import Prepared
from twelvefold.training.recipe import EvaluationChoice, Recipe, closest

COSTLY = ("retrieval", "verification")
"""Families that take longest to score, first to start, so that no process is left with one of them at the end."""


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

    ``prepared`` and ``regions`` default to the folders of those names inside the run. ``checkpoint``: ``latest``
    (the paper reports the end of training), ``best`` or a kept one. ``tasks``: some of the recipe's; all where
    empty. Limits and pool sizes are the recipe's. A task that was scored with this checkpoint already is not scored
    again, so an interrupted evaluation goes on.

    Raises:
        TwelvefoldError: no such run or checkpoint, or the data are not those that the model was trained on.
    """
    started = time.monotonic()
    prepared, regions = prepared or run / "prepared", regions or run / "regions"
    folder = run / "checkpoints" / checkpoint
    if not folder.exists():
        there = sorted(p.name for p in folder.parent.glob("*")) if folder.parent.exists() else []
        raise TwelvefoldError(
            f"{folder} is not there; {'checkpoints: ' + ', '.join(there) if there else 'train first: twelvefold train'}"
        )
    recipe = Recipe.load(run / "recipe.toml")
    chosen = list(tasks) or list(recipe.tasks)
    for name in chosen:
        if name not in recipe.tasks:
            raise TwelvefoldError(
                f"the run has no task {name!r}{closest(name, recipe.tasks)}; it has {', '.join(recipe.tasks)}"
            )
    found = per_task(
        score_one,
        {
            name: (folder, prepared, regions, run, name, split, recipe.evaluation)
            for name in _costly_first(prepared, chosen)
        },
        kind=TaskScore,
        folder=run / "scores" / split,
        made_from=files.digest_value(
            [
                files.digest_file(folder / "model.safetensors"),
                Prepared.open(prepared).digest,
                RegionSource.open(regions).detected.digest,
                recipe.evaluation.max_examples,
                recipe.evaluation.pool,
            ]
        ),
        processes=1 if torch.cuda.is_available() else processes,
        what=f"tasks scored on {split}",
    )
    everyone = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    scores = Scores(
        tasks={name: found[name] for name in chosen},
        checkpoint=checkpoint,
        seconds=round(time.monotonic() - started, 1),
        peak_memory_gb=round(sum(resource.getrusage(who).ru_maxrss for who in everyone) / 2**20, 2),
    )
    score_files.write(run / ("scores.json" if split == "test" else f"scores-{split}.json"), scores)
    return scores


def score_one(
    checkpoint: Path, prepared: Path, regions: Path, run: Path, name: str, split: Split, limits: EvaluationChoice
) -> TaskScore:
    """Score one task and write its predictions; runs in a process of its own."""
    if not torch.cuda.is_available():
        torch.set_num_threads(1)
    model = Model.load(checkpoint)
    opened = Prepared.open(prepared)
    data = TaskBatches.open(opened, RegionSource.open(regions), model.tasks[name], split)
    outcome = score_task(model, data, max_examples=limits.max_examples, pool=limits.pool, batch_size=limits.batch_size)
    predictions.write(run / "predictions" / f"{name}.jsonl", outcome.lines)
    return outcome.task_score(split, resamples=limits.bootstrap)


def _costly_first(prepared: Path, names: Sequence[str]) -> list[str]:
    opened = Prepared.open(prepared)
    return sorted(names, key=lambda name: opened.task(name).family not in COSTLY)
