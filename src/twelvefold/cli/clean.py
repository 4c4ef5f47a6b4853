"""The commands ``twelvefold clean ...``: what no task may learn from, and how the original's id lists compare."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter
from rich.table import Table

from twelvefold.cli.output import SHOWN, Json, out_console, say, unreadable

DataFolder = Annotated[Path, Parameter(help="A data folder; docs/design.md shows the layout.")]
Tasks = Annotated[
    tuple[str, ...],
    Parameter(
        help="Some tasks by name, or datasets of your own; all twelve if none.", consume_multiple=True, negative=""
    ),
]
Lists = Annotated[tuple[str, ...], Parameter(consume_multiple=True, negative="")]
Recipe = Annotated[str, Parameter(help="Take tasks and reader options from this recipe.")]
Processes = Annotated[int, Parameter(help="Processes that share the reading.")]
SkipBad = Annotated[bool, Parameter(help="Pass over malformed records instead of stopping at the first.", negative="")]

app = App(name="clean")


@app.default
def clean_run(
    data: DataFolder,
    out: Path,
    *,
    policy: str = "",
    tasks: Tasks = (),
    recipe: Recipe = "",
    protect: Lists = (),
    ids: Annotated[bool, Parameter(negative="")] = False,
    skip_bad: SkipBad = False,
    processes: Processes = 2,
    json: Json = False,
) -> int:
    """Say which examples no task may learn from, and why, in OUT/clean.json, a file that recipes can pin.

    ```
    twelvefold clean data/world cleaned/world --policy paper
    twelvefold clean data/mine cleaned/mine --tasks vqav2 my.pets --ids
    ```

    Exit code 1 where pictures could not be read, and so not be compared, or malformed records were passed over.

    Parameters
    ----------
    out
        Folder for clean.json, and for id lists.
    policy
        paper: every task's test photographs leave every task's train and val. strict: val photographs leave train too.
        ids: as paper, by publishers' ids alone. lists: the given id lists and nothing else. The recipe's, or paper, if
        left out.
    protect
        An id list whose pictures are protected besides: coco_test_ids.npy, or vg=mine.npy for another name.
    ids
        Write plain lists of kept and removed ids too, task by task and split by split, into OUT/ids.
    """
    from twelvefold.splits.clean import clean

    named, options, recipe_policy = _asked(recipe, tasks)
    summary = clean(
        data,
        out,
        policy=policy or recipe_policy,
        protect=protect,
        ids=ids,
        skip_bad=skip_bad,
        processes=processes,
        tasks=named,
        options=options,
    )
    if not json:
        out_console.print(summary.table())
    text = f"{summary.manifest}\npolicy {summary.policy}, digest {summary.digest}"
    say(summary, json, "\n".join([text, *summary.hidden, *unreadable(summary.unreadable), *summary.problems[:SHOWN]]))
    return 1 if summary.unreadable or summary.problems else 0


@app.command(name="compare")
def clean_compare(
    data: DataFolder,
    *lists: str,
    tasks: Tasks = (),
    recipe: Recipe = "",
    skip_bad: SkipBad = False,
    processes: Processes = 2,
    json: Json = False,
) -> int:
    """Hold id lists of the original project beside the test photographs that these data have.

    ```
    twelvefold clean compare data/world coco_test_ids.npy genome_test_ids.npy
    twelvefold clean compare data/world vg=lists/mine.npy
    ```

    Exit code 1 where a list lacks a test photograph or has one more.

    Parameters
    ----------
    lists
        NumPy files of ids: whose they are is in their name, or before it.
    """
    from twelvefold.splits.clean import compare

    named, options, _ = _asked(recipe, tasks)
    found = compare(data, lists, tasks=named, options=options, skip_bad=skip_bad, processes=processes)
    lines = []
    table = Table("list", "of", *(f"{what} {who}" for what, who in (("in", "theirs"), ("in", "ours"))), "both")
    for name in ("only theirs", "only ours"):
        table.add_column(name, justify="right")
    for one in found:
        numbers = (one.theirs, one.ours, one.both, one.only_theirs, one.only_ours)
        table.add_row(one.file, one.source, *(f"{number:,}" for number in numbers))
        tasks_of = ", ".join(f"{task} {count:,}" for task, count in one.only_ours_by_task.items())
        if one.only_theirs:
            lines.append(f"{one.file}: only theirs, such as {', '.join(one.some_only_theirs)}")
        if one.only_ours:
            lines.append(f"{one.file}: only ours, such as {', '.join(one.some_only_ours)}; by test set: {tasks_of}")
    if not json:
        out_console.print(table)
    say(found, json, "\n".join(lines))
    return 1 if any(one.only_theirs or one.only_ours for one in found) else 0


def _asked(name: str, tasks: tuple[str, ...]) -> tuple[tuple[str, ...], Mapping[str, Mapping[str, Any]], str]:
    """The tasks, their reader options and the policy, by a recipe where one is named."""
    from twelvefold.datasets import task_names

    if not name:
        return tasks or task_names(), {}, "paper"
    from twelvefold.config.recipe import Recipe

    recipe = Recipe.load(name)
    options = {task: recipe.task_config(task).options for task in recipe.tasks}
    chosen = tasks or recipe.tasks
    return chosen, {task: own for task, own in options.items() if task in chosen}, str(recipe.data.clean)
