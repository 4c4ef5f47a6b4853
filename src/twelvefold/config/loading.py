"""Where recipes come from: shipped ones by name, files of one's own, and what ``extends`` makes of two.

A recipe that says ``extends = "paper/multi_task"`` is that recipe with its own values in place of some. So a setting of
the paper is a few lines (Tables 2, 3 and 6 vary one thing at a time), and so is a change of yours to any of them.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from twelvefold.schema import TwelvefoldError, did_you_mean

SHIPPED = "twelvefold.recipes"


def shipped() -> list[str]:
    """Names of the recipes that come with the package, those of folders last: ``demo``, ``paper/multi_task``."""
    return sorted(_names(resources.files(SHIPPED), ""), key=lambda name: ("/" in name, name))


def text_of(name: str) -> str:
    """A shipped recipe as it was written."""
    return resources.files(SHIPPED).joinpath(*f"{name}.toml".split("/")).read_text(encoding="utf-8")


def read(source: str | Path) -> tuple[dict[str, Any], str]:
    """The tables of a file or of a shipped recipe, what it extends included, and how to call it in errors.

    Raises:
        TwelvefoldError: there is no such recipe, it can't be read, is not TOML, or extends itself.
    """
    return _read(source, Path(), ())


def parse(text: str, where: str) -> dict[str, Any]:
    """The tables of a recipe's text, what it extends included; ``where`` names it in errors.

    Raises:
        TwelvefoldError: as :func:`read`.
    """
    return _whole(text, where, Path(), ())


def _read(source: str | Path, beside: Path, above: tuple[str, ...]) -> tuple[dict[str, Any], str]:
    """``beside``: the folder that a relative path starts from. ``above``: the recipes that extend this one."""
    path = beside / source
    if path.suffix == ".toml":
        where, folder = str(path), path.parent
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise TwelvefoldError(f"can't read the recipe {path}: {error}") from error
    elif str(source) in shipped():
        text, where, folder = text_of(str(source)), f"recipe {source}", Path()
    else:
        raise TwelvefoldError(
            f"no recipe {str(source)!r}{did_you_mean(str(source), shipped())}; shipped: {', '.join(shipped())}; "
            "a file of your own ends in .toml"
        )
    if where in above:
        raise TwelvefoldError(f"{where} extends itself, by way of {' and '.join(above)}; one of them must stand alone")
    return _whole(text, where, folder, (*above, where)), where


def _whole(text: str, where: str, beside: Path, above: tuple[str, ...]) -> dict[str, Any]:
    try:
        own = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise TwelvefoldError(f"{where} is not TOML: {error}") from error
    if "extends" not in own:
        return own
    extended = own.pop("extends")
    if not isinstance(extended, str):
        raise TwelvefoldError(f"{where}: extends names one recipe, such as 'paper/multi_task', got {extended!r}")
    first, _ = _read(extended, beside, above)
    return _joined(_without_untrained(first, own), own)


def _without_untrained(first: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """An extended recipe without its numbers of tasks that the one which extends it doesn't train."""
    numbers, tasks = first.get("per_task"), own.get("tasks")
    if not isinstance(numbers, dict) or not isinstance(tasks, list):
        return first
    return first | {"per_task": {name: table for name, table in numbers.items() if name in tasks}}


def _joined(first: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Tables are joined name by name; of everything else the recipe's own value stands."""
    both = {name: (first[name], own[name]) for name in own if name in first}
    tables = {n: _joined(a, b) for n, (a, b) in both.items() if isinstance(a, dict) and isinstance(b, dict)}
    return first | own | tables


def _names(folder: Traversable, before: str) -> Iterator[str]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _names(entry, f"{before}{entry.name}/")
        elif entry.name.endswith(".toml"):
            yield before + entry.name.removesuffix(".toml")
