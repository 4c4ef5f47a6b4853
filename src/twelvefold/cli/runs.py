"""The commands ``demo`` and its stages (``world``, ``prepare``, ``train``, ...), and ``recipes``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from twelvefold.cli.output import SHOWN, Json, out_console, say, unreadable

if TYPE_CHECKING:
    from twelvefold.config.recipe import Recipe

PREPARED, REGIONS = "What `twelvefold prepare` left", "What `twelvefold extract` left"
Prepared = Annotated[Path | None, Parameter(help=f"{PREPARED}; RUN/prepared where left out.")]
RecipeName = Annotated[str, Parameter(help="A shipped recipe by name, or a file of your own that ends in .toml.")]
DataFolder = Annotated[Path, Parameter(help="A data folder; docs/data.md shows the layout.")]
Initial = Annotated[
    Path | None,
    Parameter(help="Start from the weights of this run or model folder, instead of the recipe's own start."),
]
Run = Annotated[Path, Parameter(help="Folder of the run.")]
Processes = Annotated[int, Parameter(help="Processes that share the tasks.")]
Regions = Annotated[Path | None, Parameter(help=f"{REGIONS}; RUN/regions where left out.")]


def prepare(
    data: DataFolder,
    regions: Path,
    out: Path,
    *,
    recipe: RecipeName = "demo",
    clean: str = "",
    manifest: Path | None = None,
    clean_digest: str = "",
    skip_bad: bool = False,
    without_regions: bool = False,
    processes: Processes = 2,
    json: Json = False,
) -> int:
    """Read the official files of a recipe's tasks, clean their splits, and write memory-mapped tables.

    ```
    twelvefold prepare data/world regions/world prepared/world --recipe demo
    ```

    Exit code 1 if malformed records were left out, or if images could not be read and therefore not be compared.

    Parameters
    ----------
    regions
        The folder that `twelvefold extract` wrote.
    out
        Folder for the tables.
    clean
        Cleaning policy instead of the recipe's: paper, strict, ids, lists, or none for full data.
    manifest
        Remove exactly the examples that this cleaning manifest lists; stop if the data differ from those it was made
        from.
    clean_digest
        Stop unless the cleaning manifest has this digest.
    skip_bad
        List malformed records and continue, instead of stopping at the first.
    without_regions
        Leave out examples whose image has no regions, instead of stopping.
    """
    from msgspec.structs import replace

    from twelvefold.preparation.prepare import prepare_recipe

    chosen = recipe_of(recipe)
    options = {"clean": clean, "manifest": str(manifest or ""), "clean_digest": clean_digest}
    switches = {"skip_bad": skip_bad, "without_regions": without_regions}
    config = replace(chosen.data, **{name: value for name, value in (options | switches).items() if value})
    summary = prepare_recipe(chosen, data, regions, out, config=config, processes=processes)
    if not json:
        out_console.print(summary.table())
    cleaned = [f"cleaned by policy {summary.policy}, digest {summary.clean_digest}"] if summary.clean_digest else []
    lines = [*cleaned, *summary.limitations, *unreadable(summary.unreadable), *summary.problems[:SHOWN]]
    say(summary, json, "\n".join(lines))
    return 1 if summary.problems or summary.unreadable else 0


def recipes(name: str = "", *, whole: bool = False, json: Json = False) -> int:
    """List the recipes that ship with the package, or print one, as a start for your own.

    ```
    twelvefold recipes demo > mine.toml
    twelvefold recipes paper/single/gqa --whole
    ```

    Parameters
    ----------
    name
        The recipe to print.
    whole
        With all that it leaves out or takes from the recipe that it extends.
    """
    from twelvefold.config.loading import shipped_recipes, shipped_text

    if name and not json:
        recipe = recipe_of(name)  # refuses an unknown name, with the closest
        sys.stdout.write(recipe.to_toml() if whole or name.endswith(".toml") else shipped_text(name))
        return 0
    say(recipe_of(name) if name else shipped_recipes(), json, "\n".join(shipped_recipes()))
    return 0


def recipe_of(name: str, initial: Path | None = None) -> Recipe:
    """The recipe of that name, with other weights to start from where they are given."""
    from twelvefold.config.recipe import Recipe

    recipe = Recipe.load(name)
    return recipe if initial is None else recipe.with_initial(initial)
