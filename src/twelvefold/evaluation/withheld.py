"""Tasks whose labels are withheld: why their score is unknown, and the command that writes their server's file."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from twelvefold.config.recipe import Recipe
from twelvefold.datasets import load_dataset
from twelvefold.datasets.reading.submissions import SCORED_BY_SERVER, ServerPart, Submission, server_part
from twelvefold.evaluation.predictions import predictions_path
from twelvefold.evaluation.scores import TaskScore
from twelvefold.schema import Split, TwelvefoldError
from twelvefold.training.data_folders import TableOrigin, find_table_origin

SUBMISSIONS = "submissions"
"""Folder in a run's for the files that the commands write."""


@dataclass(frozen=True, slots=True)
class UnknownScore:
    """Why a score is unknown, in a sentence, and the command that writes its submission file; empty without one."""

    reason: str
    command: str = ""


def explain_unknown_scores(
    run: Path, recipe: Recipe, tasks: Mapping[str, TaskScore], split: Split, *, prepared: Path | None = None
) -> dict[str, UnknownScore]:
    """Return, for each task without a score, why it has none and how to submit its predictions.

    ``prepared``: folder of the tables; None: the one that the run remembers.
    """
    origin = find_table_origin(run, prepared)
    return {
        name: _explain(run, recipe, name, result, split, origin)
        for name, result in tasks.items()
        if result.score is None
    }


def move_command(command: str, run: Path) -> str:
    """Return a command of :func:`explain_unknown_scores` for where the run is now."""
    if not command:
        return ""
    words = shlex.split(command)
    worlds = [str(Path(words[2]) / "world"), str(run / "world")]
    words = [worlds[1] if word == worlds[0] else word for word in words]
    words[2], words[-1] = str(run), str(run / SUBMISSIONS / Path(words[-1]).name)
    return shlex.join(words)


def _explain(
    run: Path, recipe: Recipe, task: str, result: TaskScore, split: Split, origin: TableOrigin
) -> UnknownScore:
    reason = f"{SCORED_BY_SERVER}: the labels of its {split} split are withheld"
    try:
        dataset = load_dataset(recipe.module(task))
    except TwelvefoldError as error:  # a module of your own that is not on Python's path
        return UnknownScore(f"{reason}; {error}")
    submission: Submission | None = getattr(dataset, "SUBMISSION", None)
    if submission is None or split == "train":
        return UnknownScore(f"{reason}; {predictions_path(run, task, split)} has its predictions")
    options = origin.reader_options.get(task, recipe.task_config(task).options)
    part = server_part(dataset, options) if split == "test" else ServerPart(split, f" --split {split}")
    limit = recipe.evaluation.max_examples
    limited = (
        f"only {limit:,} of its questions are predicted: in the run's recipe.toml, set max_examples = 0 under "
        "[evaluation], and evaluate again"
    )
    notes = [part.note] * bool(part.note) + [limited] * (0 < limit <= result.unlabeled)
    reason = "; ".join([reason, *notes])
    if not part.name:
        return UnknownScore(reason)
    suffix = "" if part.name == "test" else f"-{part.name}"
    file = run / SUBMISSIONS / f"{task}{suffix}.{submission.publishers.container}"
    data = shlex.quote(str(origin.data)) if origin.data.is_dir() else "DATA"
    command = f"twelvefold submit {shlex.quote(str(run))} --task {task}{part.option}"
    return UnknownScore(reason, f"{command} --data {data} --out {shlex.quote(str(file))}")
