"""``twelvefold datasets`` and ``twelvefold doctor``: which files a data folder needs, and what is wrong with one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from cyclopts import Parameter
from rich.table import Table

from twelvefold.cli.output import Json, out_console, say

if TYPE_CHECKING:
    from twelvefold.datasets.reading.cards import DatasetCard
    from twelvefold.doctor import DataCheck

DataFolder = Annotated[Path, Parameter(help="A data folder; docs/data.md shows the layout.")]


def datasets(name: str = "", *, json: Json = False) -> int:
    """List the built-in datasets: their files, publishers, licenses and numbers of examples.

    ```
    twelvefold datasets
    twelvefold datasets vqav2
    ```

    Parameters
    ----------
    name
        One dataset, to list each of its files.
    """
    from twelvefold.datasets.reading.cards import IMAGE_SOURCES, dataset_card, dataset_cards

    if name:
        card = dataset_card(name)
        sources = {source: IMAGE_SOURCES[source] for source in card.image_sources}
        say({"name": name, **msgspec.to_builtins(card), "pictures": sources}, json, _page(name, card))
        return 0
    cards = dataset_cards()
    if not json:
        table = Table("name", "dataset", "train", "val", "test", "images", "from")
        for key, card in cards.items():
            counts = (f"{n:,}" for n in card.examples.values())
            table.add_row(key, card.title, *counts, ", ".join(card.image_sources), card.publisher)
        out_console.print(table)
    say({"datasets": cards, "pictures": IMAGE_SOURCES}, json, "twelvefold datasets NAME lists every file of a dataset")
    return 0


def doctor(
    data: DataFolder,
    *,
    tasks: Annotated[tuple[str, ...], Parameter(consume_multiple=True, negative="")] = (),
    prepared: Path | None = None,
    json: Json = False,
) -> int:
    """Report for each dataset what is in a data folder, what is missing or malformed, and what to do next.

    ```
    twelvefold doctor data/real
    twelvefold doctor data/real --tasks vqav2 gqa
    ```

    Exit code 1 if something is missing or wrong.

    Parameters
    ----------
    tasks
        Names of tasks, or dotted paths of your own datasets; the paper's twelve tasks if left out.
    prepared
        A folder that `twelvefold prepare` wrote from these data: its tables are read instead of the files, if those
        have not changed.
    """
    from twelvefold.doctor import doctor as check_data

    check = check_data(data, tasks=tasks, prepared=prepared)
    if not json:
        out_console.print(_table(check))
    steps = [f"{name}, {step}" for name, task in check.tasks.items() for step in task.next]
    say(check, json, "\n".join([*steps, *check.limitations]) or "All is well.")
    return 0 if check.is_complete else 1


def _table(check: DataCheck) -> Table:
    table = Table("task", "state", "train", "val", "test", "malformed", "images missing", title=str(check.data))
    for name, task in check.tasks.items():
        counts = [
            f"{split.examples:,}" + ("" if split.count_is_right else f" of {split.expected:,}")
            for split in task.splits.values()
        ]
        malformed = sum(split.num_malformed for split in task.splits.values())
        missing = sum(split.num_images_missing for split in task.splits.values())
        table.add_row(name, task.state, *counts, f"{malformed:,}", f"{missing:,}")
    return table


def _page(name: str, card: DatasetCard) -> str:
    from twelvefold.datasets.reading.cards import IMAGE_SOURCES

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
