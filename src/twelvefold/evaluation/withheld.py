"""Tasks whose labels are withheld: why their score is unknown, and the command that writes their server's file."""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twelvefold.config.recipe import Recipe
from twelvefold.datasets import Dataset, load_dataset
from twelvefold.datasets.reading.options import reader_options
from twelvefold.datasets.reading.submissions import Submission
from twelvefold.evaluation.scores import SCORED_BY_SERVER
from twelvefold.schema import Split, TwelvefoldError
from twelvefold.training.data_folders import find_data_folder

SUBMISSIONS = "submissions"
"""Folder in a run's for the files that the commands write."""


@dataclass(frozen=True, slots=True)
class UnknownScore:
    """Why a score is unknown, in a sentence, and the command that writes its submission file; empty without one."""

    reason: str
    command: str = ""


@dataclass(frozen=True, slots=True)
class ServerPart:
    """The part of a test set whose predictions are submitted. ``option``: that of ``submit``. ``note``: what else its
    server expects, in words; empty if nothing."""

    name: str
    option: str
    note: str = ""


def explain_unknown_scores(
    run: Path, recipe: Recipe, tasks: Iterable[str], split: Split, *, prepared: Path | None = None
) -> dict[str, UnknownScore]:
    """Return, for tasks without any label in ``split``, why their score is unknown and how to submit their predictions.

    ``prepared``: folder of the tables; None: the one that the run remembers.
    """
    return {task: _explain(run, recipe, task, split, find_data_folder(run, prepared)) for task in tasks}


def server_part(dataset: Dataset, options: Mapping[str, Any]) -> ServerPart:
    """Return the part of the test set that reader options select, as ``submit`` names it."""
    submission: Submission | None = getattr(dataset, "SUBMISSION", None)
    if submission is None:
        return ServerPart("test", "")
    parameters = inspect.signature(dataset.read).parameters
    defaults = {name: p.default for name, p in parameters.items() if p.default is not p.empty}
    options = defaults | dict(options)

    def selects(part: Mapping[str, str]) -> bool:
        return all(options.get(name) == value for name, value in part.items())

    names = sorted(submission.parts, key=lambda name: name != submission.server)  # the server's first
    note = ""
    if submission.server and not selects(submission.parts[submission.server]):
        expected = " and ".join(f'options.{k} = "{v}"' for k, v in submission.parts[submission.server].items())
        note = (
            f"its server expects every question of another part: prepare and evaluate with {expected} under "
            f"[per_task.{dataset.TASK.name}]"
        )
    for name in names:
        if selects(submission.parts[name]):
            return ServerPart(name, f" --split {name}", note)
    for name, own in submission.own_parts.items():
        if selects(own):
            return ServerPart(f"{name}-only", f" --split {name} --split-only", note)
    return ServerPart("test", "", note)


def _explain(run: Path, recipe: Recipe, task: str, split: Split, data: Path) -> UnknownScore:
    withheld = f"{SCORED_BY_SERVER}: the labels of its {split} split are withheld"
    module = recipe.module(task)
    try:
        dataset = load_dataset(module)
        options = reader_options(data, [module], {module: recipe.task_config(task).options})[module]
    except TwelvefoldError as error:  # a module of your own that is not on Python's path, a broken world.json
        return UnknownScore(f"{withheld} ({error})")
    submission: Submission | None = getattr(dataset, "SUBMISSION", None)
    if submission is None or split == "train":
        return UnknownScore(f"{withheld}, and there is no submission format; its predictions are written")
    part = server_part(dataset, options) if split == "test" else ServerPart(split, f" --split {split}")
    suffix = "" if part.name == "test" else f"-{part.name}"
    file = run / SUBMISSIONS / f"{task}{suffix}.{submission.publishers.container}"
    folder = (
        f" --data {shlex.quote(str(data)) if data.is_dir() else 'DATA'}"
        if data != run / "world" or not data.is_dir()
        else ""
    )
    command = (
        f"twelvefold submit {shlex.quote(str(run))} --task {task}{part.option}{folder} --out {shlex.quote(str(file))}"
    )
    return UnknownScore(f"{withheld}; {part.note}" if part.note else withheld, command)
