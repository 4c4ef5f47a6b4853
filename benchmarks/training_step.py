"""Time a training step of two models on every task, and print the ratio.

    python benchmarks/training_step.py runs/demo --first precision=fp32 --second precision=bf16

Uses one thread and measures processor time, so that other programs matter little. ``--first`` and ``--second``: fields
of ``ModelConfig`` that differ from the preset ``small`` (``num_coattention_layers=2``); also ``precision=bf16`` and
``pieces=seen``, which gives embeddings to word pieces of the training texts only.
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
from twelvefold.data.task_batches import TaskBatches
from twelvefold.data.tokenizer import collect_word_pieces
from twelvefold.model import Model, preset
from twelvefold.store.prepared import Prepared

STEPS = 8
"""Timed steps of each task, after one warm-up step."""


def make_model(text: str, recipe: Recipe, prepared: Prepared, source: RegionSource) -> Model:
    """Return the model of a description such as ``num_coattention_layers=2,pieces=seen``."""
    changes: dict[str, str] = dict(part.split("=", 1) for part in text.split(",") if part)
    pieces = changes.pop("pieces", "all")
    precision = changes.pop("precision", "fp32")
    fields = {name: int(value) if value.isdigit() else value for name, value in changes.items()}
    specs = recipe.task_specs(prepared.task)
    heads = {spec.head: prepared.head(spec.name) for spec in specs}
    tables = [prepared.table(spec.name, "train") for spec in specs]
    return Model(
        preset("small", feature_size=source.feature_size, **fields),
        specs,
        list(heads.values()),
        precision=precision,  # type: ignore[arg-type]
        word_pieces=collect_word_pieces(tables) if pieces == "seen" else (),
    )


def step_milliseconds(model: Model, optimizer: torch.optim.Optimizer, batches: list[Batch], family: str) -> float:
    """Return the mean time of forward, backward and update over all batches but the first."""
    for batch in batches:
        if batch is batches[1]:
            start = time.process_time()
        torch.autograd.backward(families.load_family(family).loss(model(batch), batch))
        optimizer.step()
        optimizer.zero_grad()
    return (time.process_time() - start) / (len(batches) - 1) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--first", default="")
    parser.add_argument("--second", default="num_coattention_layers=2")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    recipe = Recipe.load_run(arguments.run)
    prepared, source = Prepared.open(arguments.run / "prepared"), RegionSource.open(arguments.run / "regions")
    models = [make_model(text, recipe, prepared, source) for text in (arguments.first, arguments.second)]
    optimizers = [torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True) for model in models]
    totals = [0.0, 0.0]
    for spec in recipe.task_specs(prepared.task):
        data = TaskBatches.open(prepared, source, spec, "train")
        batches = [data.train_batch(step) for step in range(STEPS + 1)]
        times = [step_milliseconds(m, o, batches, spec.family) for m, o in zip(models, optimizers, strict=True)]
        totals = [total + task_time for total, task_time in zip(totals, times, strict=True)]
        print(f"{spec.name:10} {times[0]:6.0f} ms {times[1]:6.0f} ms   {times[1] / times[0]:.2f}")
    print(f"{'all tasks':10} {totals[0]:6.0f} ms {totals[1]:6.0f} ms   {totals[1] / totals[0]:.2f}")


if __name__ == "__main__":
    main()
