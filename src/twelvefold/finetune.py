"""Fine-tune a multi-task model on one task. Paper: section 4.4, Table 2, rows 6 to 8."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec

from twelvefold.config.finetuning import FinetuneConfig
from twelvefold.config.loading import RUN_RECIPE, check_run
from twelvefold.config.recipe import Recipe, TaskConfig
from twelvefold.datasets.reading.recipe_tasks import resolve_tasks
from twelvefold.model.save_load import DESCRIPTION
from twelvefold.schema import TwelvefoldError
from twelvefold.train import train
from twelvefold.training.checkpoints import run_of
from twelvefold.training.data_folders import find_data_folders
from twelvefold.training.run_folder import TrainSummary

AS_THE_RECIPE = FinetuneConfig()


def finetune(
    start: Path,
    task: str,
    out: Path,
    *,
    prepared: Path | None = None,
    regions: Path | None = None,
    recipe: Recipe | None = None,
    options: FinetuneConfig = AS_THE_RECIPE,
) -> TrainSummary:
    """Train one task from the weights of a run of many tasks, or of a model.

    The task keeps the learning rate, batch size and epochs of the recipe. Optimizer and schedule start new, and there
    is no stop-and-go. The result is a run like any other. A batch is split over processes, those of torchrun too, and
    over micro-batches as in training; the updates are the same. Time and disk space are estimated before it starts.

    Args:
        start: Folder of the run, of a checkpoint, or of a model such as ``weights import`` writes; user/name on a hub;
            or ``shipped`` for the model of the package.
        task: One of the recipe's tasks.
        out: Folder of the new run.
        prepared: Folder of the tables that ``prepare`` wrote; default: the one that START remembers.
        regions: Folder of the regions that ``extract`` wrote; default: the one that START remembers.
        recipe: Name of a shipped recipe, or a .toml file, to train by; default: the run's own. A model folder needs
            one.
        options: What differs from the recipe.

    Raises:
        Interrupted: SIGINT or SIGTERM came; the checkpoint is saved.
        TwelvefoldError: there is no recipe, the task is not among its tasks, the recipe pretrains, or any error of
            ``train``.
    """
    base = recipe or _recipe_of(start)
    if base.pretraining is not None:
        raise TwelvefoldError(
            f"{start} is a pretraining run and has no tasks; train tasks from it with a recipe: "
            f"`twelvefold train RECIPE RUN --initial {start}`"
        )
    base = resolve_tasks(base)
    task = base.task_name(task)
    single = single_task_recipe(base, task, options).with_initial(start)
    return train(single, *find_data_folders(run_of(start) or start, prepared=prepared, regions=regions), out)


def single_task_recipe(recipe: Recipe, task: str, options: FinetuneConfig = AS_THE_RECIPE) -> Recipe:
    """Return a recipe for one task of another: as long as the task's epochs take, without stop-and-go.

    Raises:
        TwelvefoldError: ``epochs``, ``processes`` or ``accumulation_steps`` is below 1, or ``lr_factor`` is
            not a finite number above 0.
    """
    epochs, lr_factor = options.epochs, options.lr_factor
    for name in ("epochs", "processes", "accumulation_steps"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise TwelvefoldError(f"{name} must be at least 1, got {value}")
    if lr_factor is not None and not 0 < lr_factor < math.inf:
        raise TwelvefoldError(f"lr_factor must be a finite number above 0, got {lr_factor:g}")
    config = recipe.per_task.get(task, TaskConfig())
    config = config if epochs is None else msgspec.structs.replace(config, epochs=epochs)
    values = {"lr_factor": lr_factor, "processes": options.processes}
    values["gradient_accumulation_steps"] = options.accumulation_steps
    changes = {name: value for name, value in values.items() if value is not None}
    training = msgspec.structs.replace(recipe.training, iterations=0, stop_and_go=False, curriculum="none", **changes)
    return msgspec.structs.replace(
        recipe,
        name=f"{recipe.name}-{task.replace('+', '_plus')}",
        tasks=(task,),
        modules={name: module for name, module in recipe.modules.items() if name == task},
        per_task={task: config},
        training=training,
    )


def _recipe_of(start: Path) -> Recipe:
    run = run_of(start)
    if run is None:
        if start.exists() and not (start / DESCRIPTION).exists():
            check_run(start)
        raise TwelvefoldError(
            f"{start} has no {RUN_RECIPE}, so it is not a run: state a recipe, as in --recipe paper/single/gqa"
        )
    return Recipe.load_run(run)
