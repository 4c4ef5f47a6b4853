"""How long a training step takes, task by task, for two models side by side in one run, and their ratio.

    python benchmarks/training_step.py runs/demo --one "num_coattention_layers=1" --other "num_coattention_layers=2"

One thread, process time, so that other programs disturb little. ``--one`` and ``--other``: fields of ``ModelConfig``
that differ from the preset ``small``; ``pieces=seen`` gives rows to seen word pieces alone, ``precision=bf16`` as in
a recipe.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

from twelvefold import families
from twelvefold.batch import Batch
from twelvefold.config.recipe import Recipe
from twelvefold.data.region_inputs import RegionSource
from twelvefold.data.task_loader import TaskBatches
from twelvefold.data.tokenizer import collect_word_pieces
from twelvefold.model import Model, preset
from twelvefold.store.prepared import Prepared

STEPS = 8
"""Timed steps of each task, after one that is not."""


def make(text: str, recipe: Recipe, prepared: Prepared, source: RegionSource) -> Model:
    """The model that ``num_coattention_layers=2,pieces=seen`` describes."""
    changes: dict[str, str] = dict(part.split("=", 1) for part in text.split(",") if part)
    pieces = changes.pop("pieces", "all")
    precision = changes.pop("precision", "fp32")
    numbers = {name: int(value) if value.isdigit() else value for name, value in changes.items()}
    specs = recipe.task_specs(prepared.task)
    heads = {spec.head: prepared.head(spec.name) for spec in specs}
    tables = [prepared.table(spec.name, "train") for spec in specs]
    return Model(
        preset("small", feature_size=source.feature_size, **numbers),
        specs,
        list(heads.values()),
        precision=precision,  # type: ignore[arg-type]
        word_pieces=collect_word_pieces(tables) if pieces == "seen" else (),
    )


def milliseconds(model: Model, optimiser: torch.optim.Optimizer, batches: list[Batch], family: str) -> float:
    """Mean of forward, backward and update over all batches but the first."""
    for batch in batches:
        if batch is batches[1]:
            began = time.process_time()
        torch.autograd.backward(families.of(family).loss(model(batch), batch))
        optimiser.step()
        optimiser.zero_grad()
    return (time.process_time() - began) / (len(batches) - 1) * 1000


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("run", type=Path)
    arguments.add_argument("--one", default="")
    arguments.add_argument("--other", default="num_coattention_layers=2")
    given = arguments.parse_args()
    torch.set_num_threads(1)
    recipe = Recipe.load_run(given.run)
    prepared, source = Prepared.open(given.run / "prepared"), RegionSource.open(given.run / "regions")
    models = [make(text, recipe, prepared, source) for text in (given.one, given.other)]
    optimisers = [torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True) for model in models]
    totals = [0.0, 0.0]
    for spec in recipe.task_specs(prepared.task):
        data = TaskBatches.open(prepared, source, spec, "train")
        batches = [data.train_batch(step) for step in range(STEPS + 1)]
        took = [milliseconds(m, o, batches, spec.family) for m, o in zip(models, optimisers, strict=True)]
        totals = [total + each for total, each in zip(totals, took, strict=True)]
        print(f"{spec.name:10} {took[0]:6.0f} ms {took[1]:6.0f} ms   {took[1] / took[0]:.2f}")
    print(f"{'all tasks':10} {totals[0]:6.0f} ms {totals[1]:6.0f} ms   {totals[1] / totals[0]:.2f}")


if __name__ == "__main__":
    main()
