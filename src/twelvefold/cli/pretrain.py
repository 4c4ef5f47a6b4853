"""``twelvefold pretrain`` and ``twelvefold finetune``: what comes before the twelve tasks, and after them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from twelvefold.cli.output import Json, say
from twelvefold.cli.runs import PREPARED, REGIONS, Initial, Prepared, RecipeName, Regions, Run, recipe_of, trained


def pretrain(
    recipe: RecipeName,
    run: Run,
    *,
    prepared: Annotated[Path, Parameter(help=PREPARED)],
    regions: Annotated[Path, Parameter(help=REGIONS)],
    initial: Initial = None,
    resume: bool = True,
    json: Json = False,
) -> int:
    """Learn from captioned pictures: hidden words, hidden regions, which caption belongs (docs/pretraining.md).

    ```
    twelvefold pretrain pretrain_world runs/pretrained --prepared prepared/captions --regions regions/captions
    ```

    A run that was stopped goes on exactly where it was.

    Parameters
    ----------
    resume
        `--no-resume` begins anew.
    """
    from twelvefold.pretrain import pretrain as work

    summary = work(recipe_of(recipe, initial), prepared, regions, run, resume=resume)
    lines = [f"{summary.run}: {summary.iterations} iterations in {summary.seconds:.0f} s"]
    for name, measures in summary.metrics.items():
        lines.append(f"{name}: " + "  ".join(f"{what} {100 * value:.1f}" for what, value in measures.items()))
    say(summary, json, "\n".join(lines))
    return 0


def finetune(
    start: Path,
    task: str,
    out: Path,
    *,
    prepared: Prepared = None,
    regions: Regions = None,
    recipe: str = "",
    epochs: int | None = None,
    lr_factor: float | None = None,
    json: Json = False,
) -> int:
    """Train one task alone from the weights of a run of many tasks, or of a model.

    ```
    twelvefold finetune runs/demo gqa runs/demo-gqa --epochs 2
    twelvefold finetune models/12-in-1 gqa runs/gqa --recipe paper/single/gqa --prepared prepared --regions regions
    ```

    Parameters
    ----------
    start
        Folder of the run, or of a model that `twelvefold weights import` left.
    task
        One of its recipe's tasks.
    out
        Folder of the new run.
    recipe
        By which to train; the run's own where left out.
    epochs
        Times through the task's examples; the recipe's where left out.
    lr_factor
        Multiplies the task's learning rate; the recipe's where left out.
    """
    from twelvefold.finetune import finetune as work

    chosen = recipe_of(recipe) if recipe else None
    summary = work(
        start, task, out, prepared=prepared, regions=regions, recipe=chosen, epochs=epochs, lr_factor=lr_factor
    )
    say(summary, json, trained(summary))
    return 0
