"""The commands ``twelvefold clean ...``: decide what no task may learn from, and compare the original's id lists."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter
from rich.table import Table

from twelvefold.cli.from_function import Json, Output, TaskNames, first_lines, print_result
from twelvefold.config.recipe import DataConfig, Recipe
from twelvefold.datasets import paper_task_names
from twelvefold.datasets.reading.recipe_tasks import resolve_tasks
from twelvefold.splits.clean import clean, compare_id_lists
from twelvefold.splits.policy import get_policy

DataFolder = Annotated[Path, Parameter(help="A data folder; docs/data.md shows the layout.")]


@Parameter(name="*")
@dataclass(frozen=True)
class TaskSelection:
    """Which tasks are read, and how."""

    tasks: TaskNames = ()
    """Names of tasks or dotted names of datasets of your own, as gqa nlvr2 or gqa,nlvr2; default: all twelve."""
    recipe: str = ""
    """Take tasks and reader options from this recipe."""
    skip_bad: Annotated[bool, Parameter(negative="")] = False
    """Skip malformed records instead of stopping at the first."""
    processes: int = 2
    """Number of processes that read files and compare images."""

    def tasks_and_config(self) -> tuple[tuple[str, ...] | Mapping[str, Mapping[str, Any]], DataConfig]:
        """Return the tasks, with the reader options of the recipe, and its way of cleaning."""
        if not self.recipe:
            return self.tasks or paper_task_names(), DataConfig()
        recipe = resolve_tasks(Recipe.load(self.recipe))
        options = {recipe.module(task): recipe.task_config(task).options for task in recipe.tasks}
        names = [recipe.module(task) for task in self.tasks or recipe.tasks]
        return {name: options.get(name, {}) for name in names}, recipe.data


DEFAULT_OPTIONS = TaskSelection()

app = App(name="clean")


@app.default
def clean_run(
    data: DataFolder,
    out: Path,
    *,
    policy: str = "",
    max_similar: float | None = None,
    protect: Annotated[tuple[str, ...], Parameter(consume_multiple=True, negative="")] = (),
    ids: Annotated[bool, Parameter(negative="")] = False,
    reading: TaskSelection = DEFAULT_OPTIONS,
    json: Json = False,
) -> int:
    """Decide which examples no task may learn from, and why, and write OUT/clean.json, a file that recipes can pin.

    ```
    twelvefold clean data/world cleaned/world --policy paper
    twelvefold clean data/mine cleaned/mine --tasks vqav2 my.pets --ids
    ```

    Exit code 2, and nothing is written but OUT/similar.html, if more than 5 % of a split would be removed only because
    images look alike. Exit code 1 if images could not be read, and so not be compared, or malformed records were
    skipped.

    Args:
        out: Folder for clean.json and for id lists.
        policy: paper: every task's test images leave every task's train and val. strict: val images leave train too.
            exact: as paper, by ids, equal bytes and equal pixels, without similarity. ids: as paper, by publishers'
            ids alone. lists: the lists given with --protect and nothing else. Default: the recipe's policy, or paper.
        max_similar: Largest fraction of a split that may be removed because images look alike, 0 to 1; default: the
            recipe's, or 0.05. If it would be more, nothing is removed, and OUT/similar.html shows the pairs.
        protect: Lists of additional protected images, in any form that the audit reads, or folders of images:
            coco_test_ids.npy, or vg=mine.csv to name the source.
        ids: Also write lists of kept and removed ids, for each task and split, to OUT/ids.
    """
    task_options, config = reading.tasks_and_config()
    limit = config.max_similar if max_similar is None else max_similar
    summary = clean(
        data,
        out,
        policy=get_policy(policy or str(config.clean), max_similar=limit),
        protect=protect,
        ids=ids,
        skip_bad=reading.skip_bad,
        processes=reading.processes,
        tasks=task_options,
    )
    lines = [str(summary.manifest), f"policy {summary.policy}, digest {summary.digest}", *summary.limitations]
    if summary.removed_by_similarity:
        lines.append(f"removed only because their images look alike: {summary.removed_by_similarity:,} examples")
    lines += [*first_lines("unreadable", summary.unreadable), *first_lines("malformed", summary.problems)]
    exit_code = 1 if summary.unreadable or summary.problems else 0
    return print_result(summary, Output("\n".join(lines), [summary.table()], exit_code), json=json)


@app.command(name="compare")
def clean_compare(data: DataFolder, *lists: str, reading: TaskSelection = DEFAULT_OPTIONS, json: Json = False) -> int:
    """Compare id lists of the original project with the test images of these data.

    ```
    twelvefold clean compare data/world coco_test_ids.npy genome_test_ids.npy
    twelvefold clean compare data/world vg=lists/mine.npy
    ```

    Exit code 1 if a list lacks a test image or contains another image.

    Args:
        lists: Lists of ids, in any form that the audit reads. The source of the ids is in the file's name, or before
            it: vg=mine.csv.
    """
    task_options, _ = reading.tasks_and_config()
    comparisons = compare_id_lists(
        data, lists, tasks=task_options, skip_bad=reading.skip_bad, processes=reading.processes
    )
    lines = []
    table = Table("list", "source")
    for name in ("in theirs", "in ours", "in both", "only theirs", "only ours"):
        table.add_column(name, justify="right")
    for each in comparisons:
        numbers = (each.theirs, each.ours, each.both, each.only_theirs, each.only_ours)
        table.add_row(each.file, each.source, *(f"{number:,}" for number in numbers))
        by_task = ", ".join(f"{task} {count:,}" for task, count in each.only_ours_by_task.items())
        if each.only_theirs:
            lines.append(f"{each.file}: only theirs, such as {', '.join(each.some_only_theirs)}")
        if each.only_ours:
            lines.append(f"{each.file}: only ours, such as {', '.join(each.some_only_ours)}; by test set: {by_task}")
    exit_code = 1 if any(each.only_theirs or each.only_ours for each in comparisons) else 0
    return print_result(comparisons, Output("\n".join(lines), [table], exit_code), json=json)
