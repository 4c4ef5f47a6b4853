"""Read recipes: shipped ones by name and files by path, with ``extends`` resolved; write them as TOML.

A recipe with ``extends = "paper/multi_task"`` is that recipe with some values replaced. Each setting of the paper is
therefore a few lines (Tables 2, 3 and 6 vary one thing at a time).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from twelvefold.parsing.text import MAX_CONFIG_BYTES, read_text
from twelvefold.parsing.toml_text import parse_toml
from twelvefold.schema import TwelvefoldError, did_you_mean

SHIPPED = "twelvefold.recipes"
RUN_RECIPE = "recipe.toml"
"""Name of the file in a run's folder that holds its recipe, with all values."""


def shipped_recipes() -> list[str]:
    """Return the names of the recipes in the package, those in folders last: ``demo``, ``paper/multi_task``."""
    return sorted(_list_names(resources.files(SHIPPED), ""), key=lambda name: ("/" in name, name))


def shipped_text(name: str) -> str:
    """Return the text of a shipped recipe."""
    return resources.files(SHIPPED).joinpath(*f"{name}.toml".split("/")).read_text(encoding="utf-8")


def read_tables(
    source: str | Path, folder: Path = Path(), extended_by: tuple[str, ...] = ()
) -> tuple[dict[str, Any], str]:
    """Return the tables of a file or shipped recipe, with ``extends`` resolved, and its name for errors.

    ``folder`` is what a relative path starts from; ``extended_by`` are the recipes that extend this one.

    Raises:
        TwelvefoldError: there is no such recipe, it can't be read, is not TOML, or extends itself.
    """
    path = folder / source
    if path.suffix == ".toml":
        name, folder = str(path), path.parent
        text = read_text(path, max_bytes=MAX_CONFIG_BYTES, kind="the recipe")
    elif str(source) in shipped_recipes():
        text, name, folder = shipped_text(str(source)), f"recipe {source}", Path()
    else:
        names = shipped_recipes()
        raise TwelvefoldError(
            f"no recipe {str(source)!r}{did_you_mean(str(source), names)}; shipped: {', '.join(names)}; "
            "the path of a recipe file ends in .toml"
        )
    if name in extended_by:
        raise TwelvefoldError(f"{name} extends itself through {' and '.join(extended_by)}; remove one `extends`")
    return parse_tables(text, name, folder, (*extended_by, name)), name


def check_run(run: Path) -> None:
    """Check that a folder is one of a run, which has a recipe.

    Raises:
        TwelvefoldError: there is no such folder, or it is another one; says what it looks like.
    """
    if (run / RUN_RECIPE).is_file():
        return
    expected = f"expected the folder of a run, which `twelvefold train` writes ({RUN_RECIPE}, checkpoints)"
    if not run.is_dir():
        raise TwelvefoldError(f"{run} is {'a file' if run.exists() else 'no folder'}: {expected}")
    inner = sorted(path.name for path in run.iterdir() if (path / RUN_RECIPE).is_file())
    advice = f"; did you mean {run / inner[0]}?" if inner else ""
    if run.parent.name == "checkpoints" and (run.parent.parent / RUN_RECIPE).is_file():
        advice = f"; did you mean {run.parent.parent}?"
    elif any((run / name).is_file() for name in ("model.json", "config.json")):
        advice = f", but it holds a model; `twelvefold evaluate {run} --out RUN --recipe NAME` makes a run of it"
    raise TwelvefoldError(f"{run} is not a run, it has no {RUN_RECIPE}{advice}: {expected}")


def parse_tables(text: str, name: str, folder: Path = Path(), extended_by: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the tables of a recipe's text, with ``extends`` resolved; errors call it ``name``.

    Raises:
        TwelvefoldError: as :func:`read_tables`.
    """
    own = parse_toml(text, name)
    if "extends" not in own:
        return own
    base_name = own.pop("extends")
    if not isinstance(base_name, str):
        raise TwelvefoldError(f"{name}: extends names one recipe, such as 'paper/multi_task', got {base_name!r}")
    base, _ = read_tables(base_name, folder, extended_by)
    return _merge(_drop_untrained(base, own), own)


def to_toml(table: Mapping[str, Any], path: tuple[str, ...] = ()) -> str:
    """Return a nested mapping of plain values as TOML, without entries that are None: TOML has no null."""
    lines = [f"{_key(name)} = {_value(v)}" for name, v in table.items() if _is_plain(v)]
    if path and (lines or not table):
        lines.insert(0, f"[{'.'.join(_key(name) for name in path)}]")
    text = "\n".join(lines) + "\n" if lines else ""
    for name, value in table.items():
        if isinstance(value, Mapping):
            text += ("\n" if text else "") + to_toml(value, (*path, name))
    return text


def _value(value: Any) -> str:
    """Return a plain value as TOML, which is JSON but for the character DEL."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False).replace("\x7f", "\\u007f")


def _drop_untrained(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Remove from ``base`` the values of tasks that the extending recipe does not train."""
    tasks, modules = own.get("tasks"), base.get("modules")
    if not isinstance(tasks, list):
        return base
    modules = modules if isinstance(modules, dict) else {}
    trained = {*tasks, *(name for name, module in modules.items() if module in tasks)}
    tables = {table: base[table] for table in ("per_task", "modules") if isinstance(base.get(table), dict)}
    return base | {
        table: {name: value for name, value in values.items() if name in trained} for table, values in tables.items()
    }


def _merge(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Merge tables key by key; ``own`` takes precedence."""
    both = {name: (base[name], own[name]) for name in own if name in base}
    tables = {n: _merge(a, b) for n, (a, b) in both.items() if isinstance(a, dict) and isinstance(b, dict)}
    return base | own | tables


def _list_names(folder: Traversable, prefix: str) -> Iterator[str]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _list_names(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith(".toml"):
            yield prefix + entry.name.removesuffix(".toml")


def _is_plain(value: object) -> bool:
    return value is not None and not isinstance(value, Mapping)


def _key(name: str) -> str:
    """Quote a name where TOML requires it (``refcoco+``, dotted modules)."""
    return name if name.replace("_", "").replace("-", "").isalnum() and name.isascii() else json.dumps(name)
