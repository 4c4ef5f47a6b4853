"""The commands ``demo`` and its stages (``world``, ``prepare``, ``train``, ...), and ``recipes``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.table import Table

from twelvefold.cli.output import SHOWN, Json, out_console, say, unreadable
from twelvefold.schema import Split, TwelvefoldError

if TYPE_CHECKING:
    from twelvefold.config.recipe import Recipe
    from twelvefold.training.run_folder import TrainSummary

PREPARED, REGIONS = "What `twelvefold prepare` left", "What `twelvefold extract` left"
Prepared = Annotated[Path | None, Parameter(help=f"{PREPARED}; RUN/prepared where left out.")]
RecipeName = Annotated[str, Parameter(help="A shipped recipe by name, or a file of your own that ends in .toml.")]
DataFolder = Annotated[Path, Parameter(help="A data folder; docs/design.md shows the layout.")]
Initial = Annotated[
    Path | None,
    Parameter(help="Start from the weights of this run or model folder, instead of the recipe's own start."),
]
Run = Annotated[Path, Parameter(help="Folder of the run.")]
Processes = Annotated[int, Parameter(help="Processes that share the tasks.")]
Regions = Annotated[Path | None, Parameter(help=f"{REGIONS}; RUN/regions where left out.")]


def demo(out: Path = Path("runs/demo"), *, recipe: RecipeName = "demo", json: Json = False) -> int:
    """Run the whole job: world, regions, tables, training, test scores, baselines, report.

    Completed stages are kept, so a stopped demo resumes.

    ```
    twelvefold demo
    twelvefold demo runs/large --recipe world
    ```

    Parameters
    ----------
    out
        Folder of the run.
    """
    from twelvefold.demo import demo as work

    summary = work(out, recipe=recipe_of(recipe))
    say(summary, json, f"average of {len(summary.scores)} tasks {summary.average:.1f}\n{summary.html}\n{summary.json}")
    return 0


def world(out: Path, *, images: int = 2000, seed: int = 0, workers: int = 0, json: Json = False) -> int:
    """Write the embedded world: pictures and their annotations in the twelve official formats.

    ```
    twelvefold world data/world --images 4000 --seed 0
    ```

    Parameters
    ----------
    out
        Folder to make.
    images
        Distinct pictures, at least 100.
    seed
        Another seed, another world.
    workers
        Processes; 0: one per core. What is written does not depend on it.
    """
    from twelvefold.world.write import world as work

    summary = work(out, images=images, seed=seed, workers=workers or None)
    examples = sum(sum(splits.values()) for splits in summary.examples.values())
    done = f"written in {summary.seconds:.0f} s" if summary.made else "already there"
    say(summary, json, f"{summary.folder}: {images:,} pictures, {examples:,} examples, {done}")
    return 0


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

    Exit code 1 where malformed records were left out, or pictures could not be read and so not be compared.

    Parameters
    ----------
    regions
        The folder that `twelvefold extract` left.
    out
        Folder for the tables.
    clean
        Another cleaning policy than the recipe's: paper, strict, ids, lists, or none for full data.
    manifest
        Remove exactly what this cleaning manifest says, and refuse other data than it was made of.
    clean_digest
        Go on only where the cleaning manifest has this digest.
    skip_bad
        List malformed records and go on, instead of stopping at the first.
    without_regions
        Leave out examples whose picture has no regions, instead of stopping.
    """
    from twelvefold.preparation.from_recipe import prepare_recipe

    summary = prepare_recipe(
        recipe_of(recipe),
        data,
        regions,
        out,
        skip_bad=skip_bad,
        without_regions=without_regions,
        clean=clean,
        manifest=manifest,
        clean_digest=clean_digest,
        processes=processes,
    )
    if not json:
        out_console.print(summary.table())
    cleaned = [f"cleaned by policy {summary.policy}, digest {summary.clean_digest}"] if summary.clean_digest else []
    lines = [*cleaned, *summary.hidden, *unreadable(summary.unreadable), *summary.problems[:SHOWN]]
    say(summary, json, "\n".join(lines))
    return 1 if summary.problems or summary.unreadable else 0


def train(
    recipe: RecipeName,
    run: Run,
    *,
    prepared: Annotated[Path, Parameter(help=PREPARED)],
    regions: Annotated[Path, Parameter(help=REGIONS)],
    initial: Initial = None,
    resume: bool = True,
    json: Json = False,
) -> int:
    """Train one model on all tasks of a recipe. A run that was stopped goes on exactly where it was.

    ```
    twelvefold train demo runs/mine --prepared prepared/world --regions regions/world
    ```

    Parameters
    ----------
    resume
        `--no-resume` begins anew.
    """
    from twelvefold.train import train as work

    chosen = recipe_of(recipe, initial)
    if chosen.pretraining is not None:
        raise TwelvefoldError(f"recipe {chosen.name} pretrains: use `twelvefold pretrain`")
    summary = work(chosen, prepared, regions, run, resume=resume)
    say(summary, json, trained(summary))
    return 0


def calibrate(
    run: Run,
    *,
    prepared: Prepared = None,
    regions: Regions = None,
    checkpoint: str = "latest",
    processes: Processes = 2,
    json: Json = False,
) -> int:
    """Fit a temperature for each task on val, so that probabilities match scores; store them in the card.

    ```
    twelvefold calibrate runs/mine
    ```

    No score changes. `twelvefold evaluate` then reports the remaining difference between confidence and score.

    Parameters
    ----------
    checkpoint
        latest, best, or the name of a kept checkpoint.
    """
    from twelvefold.evaluation.calibrate import calibrate as work

    fitted = work(run, prepared=prepared, regions=regions, checkpoint=checkpoint, processes=processes)
    lines = [f"{name}: temperature {task.temperature:.3f}, from {task.n:,} examples" for name, task in fitted.items()]
    say(fitted, json, "\n".join(lines))
    return 0


def evaluate(
    run: Run,
    *,
    prepared: Prepared = None,
    regions: Regions = None,
    checkpoint: str = "latest",
    split: Split = "test",
    tasks: tuple[str, ...] = (),
    processes: Processes = 2,
    json: Json = False,
) -> int:
    """Score a run's model on the test sets of its tasks, with 95 % intervals and calibration errors.

    ```
    twelvefold evaluate runs/demo
    twelvefold evaluate runs/demo --tasks gqa --tasks nlvr2 --json
    ```

    Predictions are kept in RUN/predictions.

    Parameters
    ----------
    checkpoint
        latest, best, or the name of a kept checkpoint.
    split
        Split to score.
    tasks
        Tasks to score; all by default.
    """
    from twelvefold.evaluate import evaluate as work

    scores = work(
        run, prepared=prepared, regions=regions, checkpoint=checkpoint, split=split, tasks=tasks, processes=processes
    )
    if not json:
        columns = ("task", "metric", "score", "95 % interval", "examples", "calibration error")
        table = Table(*columns, title=f"{run}, {split}")
        for name, task in scores.tasks.items():
            low, high = task.ci95
            error = f"{task.reliability.error:.1f}" if task.reliability else ""
            table.add_row(name, task.metric, f"{task.score:.1f}", f"{low:.1f} to {high:.1f}", f"{task.n:,}", error)
        out_console.print(table)
    say(scores, json, f"average {scores.average:.2f}")
    return 0


def baselines(
    run: Run,
    *,
    prepared: Prepared = None,
    regions: Regions = None,
    seed: int = 0,
    processes: Processes = 2,
    json: Json = False,
) -> int:
    """Score the baselines of every task: chance, majority, a text-only and an image-only network.

    ```
    twelvefold baselines runs/demo
    ```

    Exit code 1 if the interval of a test score (from `twelvefold evaluate`) does not lie above all baselines.

    Parameters
    ----------
    seed
        Seed of the two networks.
    """
    from twelvefold.evaluation.baselines import baselines as work
    from twelvefold.evaluation.baselines import compare_with_baselines

    results = work(run, prepared=prepared, regions=regions, seed=seed, processes=processes)
    if not json:
        table = Table("task", "chance", "majority", "text only", "image only")
        for name, task in results.tasks.items():
            cells = (task.chance, task.majority, task.text_only, task.image_only)
            table.add_row(name, *(f"{score:.1f}" for score in cells))
        out_console.print(table)
    problems = compare_with_baselines(run, results)
    say(results, json, "\n".join(problems))
    return 1 if problems else 0


def report(run: Run, *, prepared: Prepared = None, images: Path | None = None, json: Json = False) -> int:
    """Write report.html (a self-contained page) and report.json from the files of a run.

    ```
    twelvefold report runs/demo
    ```

    Parameters
    ----------
    images
        Data folder with the images of the examples; RUN/world by default.
    """
    from twelvefold.reporting.report import report as work

    summary = work(run, prepared=prepared, images=images)
    say(summary, json, f"{summary.html}\n{summary.json}")
    return 0


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


def trained(summary: TrainSummary) -> str:
    """How long a training took, and its latest validation scores in percent."""
    validated = "  ".join(f"{name} {100 * score:.1f}" for name, score in summary.scores.items())
    return f"{summary.run}: {summary.iterations} iterations in {summary.seconds:.0f} s\n{validated}"


def recipe_of(name: str, initial: Path | None = None) -> Recipe:
    """The recipe of that name, with other weights to start from where they are given."""
    from twelvefold.config.recipe import Recipe

    recipe = Recipe.load(name)
    return recipe if initial is None else recipe.with_initial(initial)
