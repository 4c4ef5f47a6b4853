"""``twelvefold fetch``: the only command that uses the network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from cyclopts import Parameter
from rich.table import Table

from twelvefold.cli.from_function import Json, Output, print_result
from twelvefold.schema import TwelvefoldError

if TYPE_CHECKING:
    from twelvefold.download.catalog import Catalog

Flag = Annotated[bool, Parameter(negative="")]


def fetch(
    *names: str,
    data: Path = Path("data"),
    mirror: str = "",
    list_all: Annotated[bool, Parameter(name="--list", negative="")] = False,
    verify: Flag = False,
    json: Json = False,
) -> int:
    """Download published weights, features and annotation files. An interrupted download continues.

    ```
    twelvefold fetch --list
    twelvefold fetch multi_task_model detector --data data/real
    twelvefold fetch vqav2 nlvr2 --data data/real --mirror /mnt/copies
    ```

    No other command uses the network. Exit code 1 if --verify finds a changed file.

    Args:
        names: Names or groups shown by `--list`.
        data: The data folder; each file is stored where the dataset readers expect it.
        mirror: A folder or URL to use instead of the publishers' servers. Default: $TWELVEFOLD_MIRROR.
        list_all: List what can be fetched with size, license and path, and what must be requested by hand.
        verify: Compare every byte of the fetched files with the checksums in DATA/fetched.json.
    """
    from twelvefold.download import fetch as downloads
    from twelvefold.download.catalog import load_catalog

    if list_all:
        catalog = load_catalog()
        return print_result(msgspec.to_builtins(catalog), Output(_by_hand(catalog), [_table(catalog)]), json=json)
    if verify:
        problems = downloads.verify(data)
        text = "\n".join(problems) or "All fetched files are unchanged."
        return print_result(problems, Output(text, exit_code=1 if problems else 0), json=json)
    if not names:
        raise TwelvefoldError("no name to fetch; `twelvefold fetch --list` shows all names")
    summary = downloads.fetch(names, data, mirror=mirror)
    lines = [
        *(f"fetched {name}" for name in summary.fetched),
        *(f"already there: {name}" for name in summary.present),
        *(f"already there, but not fetched by this program and so not checked: {name}" for name in summary.unchecked),
    ]
    return print_result(summary, Output("\n".join(lines)), json=json)


def _table(catalog: Catalog) -> Table:
    table = Table("name", "groups", "content", "bytes", "license", "path")
    for item in catalog.items:
        size = f"{item.size:,}" if item.size else "not stated"
        table.add_row(item.name, ", ".join(item.groups), item.description, size, item.license, "\n".join(item.paths))
    return table


def _by_hand(catalog: Catalog) -> str:
    lines = [
        f"{item.name}: {item.description}. {item.instructions}. Put it at {item.path} ({item.license})"
        for item in catalog.by_hand
    ]
    return "\n".join(["By hand:", *lines])
