"""Commands for data folders and recipes: datasets, doctor, prepare, recipes."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter
from msgspec.structs import replace
from rich.table import Table

from twelvefold.cli.from_function import ANSWER_FILES, Json, Output, command, first_lines, print_result
from twelvefold.config.loading import shipped_recipes, shipped_text
from twelvefold.config.recipe import Recipe
from twelvefold.datasets.reading.cards import IMAGE_SOURCES, DatasetCard, dataset_card, dataset_cards
from twelvefold.doctor import DataCheck
from twelvefold.doctor import doctor as check_data
from twelvefold.image_folder import skipped_lines
from twelvefold.splits.policy import describe_cleaning

RecipeName = Annotated[str, Parameter(help="Name of a shipped recipe (`twelvefold recipes`), or a .toml file.")]
Flag = Annotated[bool, Parameter(negative="")]


@Parameter(name="*")
@dataclass(frozen=True)
class DataOverrides:
    """What a call changes of a recipe's ``[data]``."""

    clean: str = ""
    """Cleaning policy instead of the recipe's: paper, strict, exact, ids, lists, or none for full data."""
    manifest: str = ""
    """Remove exactly the examples that this cleaning manifest lists, and refuse other data."""
    clean_digest: str = ""
    """Refuse a cleaning manifest with another digest."""
    max_similar: float | None = None
    """Largest fraction of a split that cleaning may remove because images look alike, 0 to 1; default: the recipe's,
    0.05. If it would remove more, it stops and shows the pairs."""
    skip_bad: Flag = False
    """List malformed records and continue, instead of stopping at the first."""
    without_regions: Flag = False
    """Leave out examples whose image has no regions, instead of stopping."""
    scale_boxes: Flag = False
    """Use images that are resized copies of those that the annotations describe, with boxes scaled to match."""


NO_OVERRIDES = DataOverrides()


def datasets(name: str = "", *, json: Json = False) -> int:
    """List the built-in datasets: their files, publishers, licenses and numbers of examples.

    ```
    twelvefold datasets
    twelvefold datasets vqav2
    ```

    Args:
        name: A dataset, to list each of its files.
    """
    if name:
        card = dataset_card(name)
        sources = {source: IMAGE_SOURCES[source] for source in card.image_sources}
        content = {"name": name, **msgspec.to_builtins(card), "pictures": sources}
        return print_result(content, Output(_page(name, card)), json=json)
    table = Table("name", "dataset", "train", "val", "test", "images", "from")
    for key, card in dataset_cards().items():
        counts = (f"{n:,}" for n in card.examples.values())
        table.add_row(key, card.title, *counts, ", ".join(card.image_sources), card.publisher)
    content = {"datasets": dataset_cards(), "pictures": IMAGE_SOURCES}
    return print_result(content, Output("twelvefold datasets NAME lists every file of a dataset", [table]), json=json)


@command(
    check_data,
    example="""
        twelvefold doctor data/real
        twelvefold doctor data/real --tasks vqav2 gqa
        twelvefold doctor data/real --recipe server.toml""",
    problem="something is missing or wrong",
)
def doctor(check: DataCheck, arguments: Mapping[str, Any]) -> Output:
    steps = [f"{name}, {step}" for name, task in check.tasks.items() for step in task.next]
    lines = [*steps, *check.limitations] or ["All is well."]
    lines += [f"{name}, {sentence}" for name, sentence in check.server_tasks.items()]
    lines += first_lines(
        "note", [n for task in check.tasks.values() for split in task.splits.values() for n in split.notes]
    )
    text = "\n".join([*lines, *skipped_lines(check.skipped)])
    return Output(text, [_table(check)], exit_code=0 if check.is_complete else 1)


def prepare(
    data: Path,
    regions: Path,
    out: Path,
    *,
    recipe: RecipeName = "demo",
    answers: Annotated[dict[str, Path] | None, ANSWER_FILES] = None,
    overrides: DataOverrides = NO_OVERRIDES,
    processes: int = 2,
    json: Json = False,
) -> int:
    """Read the official files of a recipe's tasks, clean their splits, and write memory-mapped tables.

    ```
    twelvefold prepare data/world regions/world prepared/world --recipe demo
    twelvefold prepare data/real regions/real prepared/real --recipe paper/multi_task \\
        --answers vqav2=vqa_label2ans.pkl gqa=gqa_label2ans.pkl
    ```

    Exit code 1 if malformed records were left out, if images have another size than the annotations state, or if images
    could not be read and therefore not be compared. Exit code 2 if cleaning would remove more than 5 % of a split only
    because images look alike; OUT/similar.html then shows the pairs.

    Args:
        data: A data folder; docs/data.md shows the layout.
        regions: Folder that `twelvefold extract` wrote.
        out: Folder for the tables.
        answers: Answer lists (pickle, JSON, or text with an answer on each line) to use instead of counting answers, by
            task: vqav2, gqa. A list that a model was imported with makes the data fit the model.
        processes: Number of tables made at the same time.
    """
    from twelvefold.preparation.prepare import prepare_recipe  # here, because it imports torch

    chosen = Recipe.load(recipe)
    changes = {name: value for name, value in asdict(overrides).items() if value or isinstance(value, float)}
    config = replace(chosen.data, **changes)
    summary = prepare_recipe(chosen, data, regions, out, config=config, answer_lists=answers, processes=processes)
    lines = [describe_cleaning(summary.policy) + (f" Digest {summary.clean_digest}." if summary.clean_digest else "")]
    if summary.removed_by_similarity:
        lines.append(f"removed only because their images look alike: {summary.removed_by_similarity:,} examples")
    lines += [*summary.limitations, *first_lines("unreadable", summary.unreadable)]
    lines += [use.describe(owner) for owner, use in summary.answer_lists.items()]
    lines += first_lines("malformed", summary.problems) + first_lines("note", summary.notes)
    lines += [f"{summary.num_scaled:,} images are resized copies: boxes are scaled"] if summary.num_scaled else []
    if summary.other_sizes:
        count = sum(split.other_size for splits in summary.counts.values() for split in splits.values())
        lines.append(f"{len(summary.other_sizes):,} images do not fit their boxes: {count:,} examples are left out")
        lines += first_lines("other size", summary.other_sizes)
    if summary.changed_files:
        what = f"{len(summary.changed_files):,} image files have another size"
        lines.append(
            f"{what} than the images that the regions come from: extract again, or use --scale-boxes for copies"
        )
        lines += first_lines("changed file", summary.changed_files)
    exit_code = 1 if summary.problems or summary.unreadable or summary.other_sizes or summary.changed_files else 0
    tables = [summary.table(), *([summary.original_counts.table()] if summary.original_counts.rows else [])]
    lines += summary.original_counts.skipped
    return print_result(summary, Output("\n".join(lines), tables, exit_code), json=json)


def recipes(name: str = "", *, whole: Flag = False, json: Json = False) -> int:
    """List the recipes that ship with the package, or print one, as a start for your own.

    ```
    twelvefold recipes demo > mine.toml
    twelvefold recipes paper/single/gqa --whole
    ```

    Args:
        name: The recipe to print.
        whole: Print all values, also defaults and those of the recipe that it extends.
    """
    if not name:
        return print_result(shipped_recipes(), Output("\n".join(shipped_recipes())), json=json)
    recipe = Recipe.load(name)  # refuses an unknown name, with the closest
    if json:
        return print_result(recipe, Output(), json=True)
    sys.stdout.write(recipe.to_toml() if whole or name.endswith(".toml") else shipped_text(name))
    return 0


def _table(check: DataCheck) -> Table:
    table = Table("task", "state", "train", "val", "test", "malformed", "images missing", title=str(check.data))
    for name, task in check.tasks.items():
        counts = [
            f"{split.examples:,}"
            + ("" if split.count_is_right else f" of {split.expected:,}")
            + (" (no labels)" if split.unlabeled and split.unlabeled == split.examples else "")
            for split in task.splits.values()
        ]
        malformed = sum(split.num_malformed for split in task.splits.values())
        missing = sum(split.num_images_missing for split in task.splits.values())
        table.add_row(name, task.state, *counts, f"{malformed:,}", f"{missing:,}")
    return table


def _page(name: str, card: DatasetCard) -> str:
    lines = [f"{card.title} ({name})", f"from       {card.publisher}", f"license    {card.license}"]
    for file in card.files:
        details = [f"size {file.size}" if file.size else "", f"md5 {file.md5}" if file.md5 else ""]
        lines.append(f"file       {file.path}: {', '.join([file.content, *filter(None, details)])}")
    for key in card.image_sources:
        source = IMAGE_SOURCES[key]
        size = f", {source.size}" if source.size else ""
        lines.append(f"images     {source.folder}: from {source.publisher}{size}; {source.license}")
    if card.on_request:
        lines.append(f"by hand    {card.on_request}: request them from the publisher")
    return "\n".join([*lines, "examples   " + ", ".join(f"{split} {n:,}" for split, n in card.examples.items())])
