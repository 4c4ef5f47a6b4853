"""``twelvefold fetch``: the one command that opens the network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from cyclopts import Parameter
from rich.table import Table

from twelvefold.cli.output import Json, out_console, say
from twelvefold.schema import TwelvefoldError

if TYPE_CHECKING:
    from twelvefold.download.catalog import Catalogue

Off = Annotated[bool, Parameter(negative="")]


def fetch(
    *names: str,
    data: Path = Path("data"),
    mirror: str = "",
    list_all: Annotated[bool, Parameter(name="--list", negative="")] = False,
    verify: Off = False,
    json: Json = False,
) -> int:
    """Get published weights, features and annotation files; a download that was stopped goes on.

    ```
    twelvefold fetch --list
    twelvefold fetch multi_task_model detector --data data/real
    twelvefold fetch vqav2 nlvr2 --data data/real --mirror /mnt/copies
    ```

    No other command opens the network. Exit code 1 where --verify finds a file that was changed.

    Parameters
    ----------
    names
        Names or groups of `--list`.
    data
        The data folder; every file goes where the readers look for it.
    mirror
        A folder of copies or an address, in place of the publishers'; $TWELVEFOLD_MIRROR where left out.
    list_all
        Say what there is: size, licence, place, and what must be asked for by hand.
    verify
        Compare every byte of what was fetched with the checksums in DATA/fetched.json.
    """
    from twelvefold.download import fetch as work
    from twelvefold.download.catalog import shipped

    if list_all:
        catalogue = shipped()
        if not json:
            out_console.print(_table(catalogue))
        say(msgspec.to_builtins(catalogue), json, _by_hand(catalogue))
        return 0
    if verify:
        problems = work.verify(data)
        say(problems, json, "\n".join(problems) or "Everything is as it was fetched.")
        return 1 if problems else 0
    if not names:
        raise TwelvefoldError("nothing named to fetch; `twelvefold fetch --list` says what there is")
    summary = work.fetch(names, data, mirror=mirror)
    lines = [
        *(f"fetched {name}" for name in summary.fetched),
        *(f"already there: {name}" for name in summary.there),
        *(f"already there, not fetched by this program and so not checked: {name}" for name in summary.unchecked),
    ]
    say(summary, json, "\n".join(lines))
    return 0


def _table(catalogue: Catalogue) -> Table:
    table = Table("name", "groups", "what", "bytes", "licence", "goes to")
    for item in catalogue.item:
        size = f"{item.size:,}" if item.size else "not stated"
        table.add_row(item.name, ", ".join(item.groups), item.what, size, item.licence, "\n".join(item.places))
    return table


def _by_hand(catalogue: Catalogue) -> str:
    lines = [f"{one.name}: {one.what}. {one.how}. Put it at {one.to} ({one.licence})" for one in catalogue.by_hand]
    return "\n".join(["By hand:", *lines])
