"""The tasks of a recipe by name. A recipe lists a dataset of your own by the dotted path of its module.

The path only locates the module. Everything that is written or printed (tables, scores, predictions, a model's tasks)
has the name that the module states, ``TASK.name``.
"""

from __future__ import annotations

from twelvefold import datasets
from twelvefold.config.recipe import Recipe
from twelvefold.schema import TaskSpec, TwelvefoldError
from twelvefold.store.prepared import Prepared


def resolve_tasks(recipe: Recipe) -> Recipe:
    """Return the recipe with the names of all tasks; ``Recipe.modules`` keeps where your own datasets are.

    Raises:
        TwelvefoldError: there is no such dataset or module, it is not a dataset, two modules define one task, or
            ``per_task`` has a task that is not trained.
    """
    for name in recipe.tasks:
        if name not in recipe.modules:
            datasets.load_dataset(name)
    return recipe.with_task_names({name: datasets.task_name(name) for name in recipe.unresolved_modules})


def task_specs(recipe: Recipe, prepared: Prepared) -> list[TaskSpec]:
    """Return the specs of a resolved recipe's tasks, with the recipe's values.

    A dataset of your own has the spec that it was prepared with, so its module is not needed.

    Raises:
        TwelvefoldError: a task of your own was not prepared.
    """
    return recipe.task_specs(
        lambda name: datasets.load_dataset(name).TASK if datasets.is_built_in(name) else prepared.task(name)
    )


def check_prepared(recipe: Recipe, prepared: Prepared) -> None:
    """Check that your own datasets that ``recipe`` lists by module have the ``TASK`` that they were prepared with.

    Raises:
        TwelvefoldError: a module's ``TASK`` has changed since, or it was not prepared.
    """
    for module in recipe.unresolved_modules:
        task = datasets.load_dataset(module).TASK
        before = prepared.task(task.name)
        if task != before:
            values = ((field, getattr(before, field), getattr(task, field)) for field in TaskSpec.__slots__)
            changes = [f"{field}: {old!r} before, {new!r} now" for field, old, new in values if old != new]
            raise TwelvefoldError(
                f"{module}.TASK has changed since {prepared.folder} was prepared ({'; '.join(changes)}): "
                "run `twelvefold prepare` again"
            )
