"""``twelvefold datasets`` and ``twelvefold doctor``: what belongs into a data folder, and what is there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.table import Table

from twelvefold.cli.output import Json, out_console, say

if TYPE_CHECKING:
    from twelvefold.datasets.reading.cards import Published
    from twelvefold.doctor import Health

DataFolder = Annotated[Path, Parameter(help="A data folder; docs/design.md shows the layout.")]


def datasets(name: str = "", *, json: Json = False) -> int:
    """List the twelve datasets: what files, where from, where to put them, licences, how many examples.

    ```
    twelvefold datasets
    twelvefold datasets vqav2
    ```

    Parameters
    ----------
    name
        One of the twelve, with every file.
    """
    from twelvefold.datasets.reading.cards import PICTURES, PUBLISHED, published

    if name:
        one = published(name)
        value = {"name": name, **one._asdict(), "pictures": {source: PICTURES[source] for source in one.pictures}}
        say(_plain(value), json, _page(name, one))
        return 0
    if not json:
        table = Table("name", "dataset", "train", "val", "test", "pictures", "from")
        for key, one in PUBLISHED.items():
            table.add_row(key, one.title, *(f"{n:,}" for n in one.examples.values()), ", ".join(one.pictures), one.home)
        out_console.print(table)
    everything = {key: _plain(one._asdict()) for key, one in PUBLISHED.items()}
    pictures = {key: _plain(one) for key, one in PICTURES.items()}
    say({"datasets": everything, "pictures": pictures}, json, "twelvefold datasets NAME lists every file of one")
    return 0


def doctor(
    data: DataFolder,
    *,
    tasks: Annotated[tuple[str, ...], Parameter(consume_multiple=True, negative="")] = (),
    json: Json = False,
) -> int:
    """Say of each dataset what is in a data folder, what is missing or malformed, and what to do next.

    ```
    twelvefold doctor data/real
    twelvefold doctor data/real --tasks vqav2 gqa
    ```

    Exit code 1 where something is missing or wrong.

    Parameters
    ----------
    tasks
        Some of the tasks, or datasets of your own; all twelve if none.
    """
    from twelvefold.doctor import doctor as work

    health = work(data, tasks=tasks)
    if not json:
        out_console.print(_table(health))
    steps = [f"{name}, {step}" for name, task in health.tasks.items() for step in task.next]
    say(health, json, "\n".join([*steps, *health.hidden]) or "All is well.")
    return 0 if health.well else 1


def _table(health: Health) -> Table:
    table = Table("task", "state", "train", "val", "test", "malformed", "pictures missing", title=str(health.data))
    for name, task in health.tasks.items():
        cells = [
            f"{split.examples:,}" + ("" if split.count_is_right else f" of {split.expected:,}")
            for split in task.splits.values()
        ]
        malformed = sum(split.malformed for split in task.splits.values())
        lost = sum(split.pictures_missing for split in task.splits.values())
        table.add_row(name, task.state, *cells, f"{malformed:,}", f"{lost:,}")
    return table


def _page(name: str, one: Published) -> str:
    from twelvefold.datasets.reading.cards import PICTURES

    lines = [f"{one.title} ({name})", f"from       {one.home}", f"licence    {one.licence}"]
    for part in one.files:
        more = [f"size {part.size}" if part.size else "", f"md5 {part.md5}" if part.md5 else ""]
        lines.append(f"file       {part.path}: {', '.join([part.holds, *filter(None, more)])}")
    for source in one.pictures:
        pictures = PICTURES[source]
        size = f", {pictures.size}" if pictures.size else ""
        lines.append(f"pictures   {pictures.folder}: from {pictures.home}{size}; {pictures.licence}")
    if one.by_hand:
        lines.append(f"by hand    {one.by_hand} must be asked for")
    return "\n".join([*lines, "examples   " + ", ".join(f"{split} {n:,}" for split, n in one.examples.items())])


def _plain(value: object) -> object:
    """Named tuples as JSON objects."""
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value
