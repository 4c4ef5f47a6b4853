"""Commands that train: demo, train, pretrain, finetune."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twelvefold.cli.computing import computing_on
from twelvefold.cli.from_function import Output, command
from twelvefold.demo import DemoSummary
from twelvefold.demo import demo as run_demo
from twelvefold.finetune import finetune as finetune_task
from twelvefold.pretrain import PretrainSummary
from twelvefold.pretrain import pretrain as pretrain_model
from twelvefold.train import train as train_model
from twelvefold.training.run_folder import TrainSummary

Arguments = Mapping[str, Any]


@command(
    run_demo,
    example="""
        twelvefold demo
        twelvefold demo runs/large --recipe world""",
    computes=computing_on,
)
def demo(summary: DemoSummary, arguments: Arguments) -> Output:
    average = (
        "no score is known"
        if summary.average is None
        else f"average of {len(summary.scores)} tasks {summary.average:.1f}"
    )
    return Output(f"{average}\n{summary.html}\n{summary.json}")


def _show_training(summary: TrainSummary, arguments: Arguments) -> Output:
    scores = "  ".join(f"{name} {100 * score:.1f}" for name, score in summary.scores.items())
    return Output(f"{summary.run}: {summary.iterations} iterations in {summary.seconds:.0f} s\n{scores}")


train = command(
    train_model,
    example="""
        twelvefold train demo runs/mine --prepared prepared/world --regions regions/world
        twelvefold train runs/mine/recipe.toml runs/mine --iterations 2000""",
    options=("prepared", "regions"),
    computes=computing_on,
)(_show_training)
finetune = command(
    finetune_task,
    example="""
        twelvefold finetune runs/demo gqa runs/demo-gqa --epochs 2
        twelvefold finetune models/12-in-1 gqa runs/gqa --recipe paper/single/gqa --prepared prepared --regions regions
        """,
    computes=computing_on,
)(_show_training)


@command(
    pretrain_model,
    example="twelvefold pretrain pretrain_world runs/pretrained --prepared prepared/text --regions regions/text",
    options=("prepared", "regions"),
    computes=computing_on,
)
def pretrain(summary: PretrainSummary, arguments: Arguments) -> Output:
    lines = [f"{summary.run}: {summary.iterations} iterations in {summary.seconds:.0f} s"]
    for name, metrics in summary.metrics.items():
        lines.append(f"{name}: " + "  ".join(f"{metric} {100 * value:.1f}" for metric, value in metrics.items()))
    return Output("\n".join(lines))
