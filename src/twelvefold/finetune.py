"""One task, from a model of many: the multi-task model as pretraining. Paper: section 4.2, Table 2, rows 6 to 8."""

from __future__ import annotations

from pathlib import Path

import msgspec

from twelvefold.config.recipe import Recipe, TaskConfig
from twelvefold.schema import TwelvefoldError, did_you_mean
from twelvefold.train import train
from twelvefold.training.run_folder import TrainSummary


def finetune(
    start: Path,
    task: str,
    out: Path,
    *,
    prepared: Path | None = None,
    regions: Path | None = None,
    recipe: Recipe | None = None,
    epochs: int | None = None,
    lr_factor: float | None = None,
) -> TrainSummary:
    """Train ``task`` alone, from the weights of the run or model in ``start``; ``out`` is a run like any other.

    The task keeps its own learning rate, batch size and epochs as the recipe of ``start`` (or ``recipe``, which a
    model folder needs) has them; optimiser and schedule begin anew. ``prepared`` and ``regions`` are those of
    ``start`` where left out. ``epochs`` and ``lr_factor`` go before the recipe's.

    Raises:
        TwelvefoldError: there is no recipe, the task is not among its tasks, the recipe pretrains; what ``train``
            refuses.
    """
    chosen = recipe or _recipe_of(start)
    if chosen.pretraining is not None:
        raise TwelvefoldError(
            f"{start} was pretrained and has no tasks; train from it by a recipe of tasks: "
            f"`twelvefold train RECIPE RUN --initial {start}`"
        )
    if task not in chosen.tasks:
        raise TwelvefoldError(
            f"recipe {chosen.name} has no task {task!r}{did_you_mean(task, chosen.tasks)}; "
            f"it has {', '.join(chosen.tasks)}"
        )
    alone = only(chosen, task, epochs=epochs, lr_factor=lr_factor).with_initial(start)
    return train(alone, prepared or start / "prepared", regions or start / "regions", out)


def only(recipe: Recipe, task: str, *, epochs: int | None = None, lr_factor: float | None = None) -> Recipe:
    """A recipe for one task of another: as many iterations as its epochs take, and nobody to stop and go for."""
    own = recipe.per_task.get(task, TaskConfig())
    own = own if epochs is None else msgspec.structs.replace(own, epochs=epochs)
    training = msgspec.structs.replace(
        recipe.training,
        iterations=0,
        lr_factor=recipe.training.lr_factor if lr_factor is None else lr_factor,
        stop_and_go=False,
        curriculum="none",
    )
    return msgspec.structs.replace(
        recipe,
        name=f"{recipe.name}-{task.replace('+', '_plus')}",
        tasks=(task,),
        per_task={task: own},
        training=training,
    )


def _recipe_of(start: Path) -> Recipe:
    path = start / "recipe.toml"
    if not path.exists():
        raise TwelvefoldError(
            f"{start} has no recipe.toml, so it is no run: say by which one to train, as in --recipe paper/single/gqa"
        )
    return Recipe.load_run(start)
