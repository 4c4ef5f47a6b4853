"""Commands of the drawn world: write it, train and evaluate its detector."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cyclopts import App

from twelvefold.cli.computing import computing_on
from twelvefold.cli.from_function import Output, command
from twelvefold.detectors.world_detector.metrics import DetectionMetrics
from twelvefold.detectors.world_detector.train_on_world import evaluate_detector, metrics_to_json, train_detector
from twelvefold.world.write import WorldSummary, make_world

Arguments = Mapping[str, Any]

app = App(name="detector", help="Train and evaluate the detector of the drawn world.")


@command(make_world, example="twelvefold world data/world --images 4000 --seed 0")
def world(summary: WorldSummary, arguments: Arguments) -> Output:
    examples = sum(sum(splits.values()) for splits in summary.examples.values())
    how = f"written in {summary.seconds:.0f} s" if summary.made else "already there"
    return Output(f"{summary.folder}: {summary.images:,} images, {examples:,} examples, {how}")


def _show_metrics(metrics: DetectionMetrics, arguments: Arguments) -> Output:
    values = metrics_to_json(metrics)
    return Output("\n".join(f"{name:15} {value:g}" for name, value in values.items()), json=values)


for name, function, example in (
    ("train", train_detector, "twelvefold detector train runs/detector --images 30000 --seed 0"),
    ("evaluate", evaluate_detector, "twelvefold detector evaluate --images 400"),
):
    app.command(command(function, example=example, computes=computing_on)(_show_metrics), name=name)
