"""Check that a model fits the tasks of a recipe and prepared data, before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from twelvefold.data.region_inputs import RegionSource
from twelvefold.datasets.reading.answers import compare_answer_lists
from twelvefold.model import provenance, save_load
from twelvefold.model.save_load import Description
from twelvefold.model.vocabulary import check_vocabulary
from twelvefold.model.warm_start import UNNAMED
from twelvefold.schema import HeadSpec, TaskSpec, TwelvefoldError, did_you_mean
from twelvefold.store.prepared import Prepared


def check_model(folder: Path, name: str, tasks: Sequence[TaskSpec], prepared: Prepared, regions: RegionSource) -> None:
    """Check the model in ``folder``. ``name``: of the model, for errors.

    Raises:
        TwelvefoldError: it lacks a task, has another head or answer list for one, reads region features of another
            size, or has too few word pieces for the texts; says what to do.
    """
    description = save_load.describe(folder)
    _check_tasks(description, name, tasks)
    size = description.config.feature_size
    if size != regions.feature_size:
        raise TwelvefoldError(
            f"{name} reads region features of {size:,} numbers, but those in {regions.detected.folder} have "
            f"{regions.feature_size:,}: state the regions of the detector that it was trained with (--regions)"
        )
    if provenance.read(folder) is not None:  # imported, so of any vocabulary
        check_vocabulary(description.config.vocab_size, name)
    heads, prepared_names = {head.name: head for head in description.heads}, {task.name for task in prepared.tasks}
    for task in tasks:
        if task.name in prepared_names:  # one that is not is an error when it is evaluated
            _check_outputs(heads[task.head], name, task, prepared)


def _check_tasks(description: Description, name: str, tasks: Sequence[TaskSpec]) -> None:
    model_tasks = {task.name: task for task in description.tasks}
    if missing := [task.name for task in tasks if task.name not in model_tasks]:
        raise TwelvefoldError(
            f"{name} lacks tasks of the recipe: {', '.join(missing)}; it has {', '.join(model_tasks) or 'none'}"
            f"{did_you_mean(missing[0], model_tasks)}. Write a recipe with the tasks that it has (`extends` takes the "
            "other values from this one)"
        )
    for task in tasks:
        theirs, values = model_tasks[task.name], ("family", "head", "pairs_per_example")
        if differing := [value for value in values if getattr(theirs, value) != getattr(task, value)]:
            differences = "; ".join(
                f"{value} {getattr(theirs, value)!r}, here {getattr(task, value)!r}" for value in differing
            )
            raise TwelvefoldError(f"{name} has another task {task.name!r}: {differences}")


def _check_outputs(head: HeadSpec, name: str, task: TaskSpec, prepared: Prepared) -> None:
    """Check that the head's outputs are the prepared answers or classes, in the same order.

    An imported head may have outputs without a name after them.
    """
    theirs, ours = head.outputs, prepared.head(task.name).outputs
    named = tuple(output for output in theirs if not output.startswith(UNNAMED))
    if theirs == ours or (named and named == ours):
        return
    advice = "use the data that it was trained on"
    if task.vocabulary and named:
        advice = (
            "prepare the data with the list that the model was imported or trained with (`twelvefold prepare ... "
            f"--answers {task.vocabulary}=FILE`)"
        )
    elif task.vocabulary:
        advice = f"its outputs have no names: import it with its list (--answers {task.vocabulary}=FILE)"
    raise TwelvefoldError(
        f"{task.name}: the model {name} has other answers than the prepared data {prepared.folder}, so its outputs "
        f"mean something else: {compare_answer_lists(named, ours)}; {advice}"
    )
