"""How every command says what came of it: a few lines for a person, or JSON for a program."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter
from rich.console import Console

Json = Annotated[bool, Parameter(help="Print what came of it as JSON.", negative="")]

out_console = Console()


SHOWN = 20
"""Lines of a long list that a person is shown; the JSON has all."""


def unreadable(pictures: Mapping[Any, str]) -> list[str]:
    """A line for each of the first pictures that could not be read, with the reason."""
    return [f"unreadable: {key}: {reason}" for key, reason in pictures.items()][:SHOWN]


def say(summary: Any, as_json: bool, text: str) -> None:
    if as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(summary, enc_hook=str), indent=1).decode() + "\n")
    elif text:
        out_console.print(text, markup=False, highlight=False, soft_wrap=True)
