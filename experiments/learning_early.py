"""When does a model trained from scratch leave chance, and what does it score? Variants of a recipe, several seeds.

    python experiments/learning_early.py runs/demo runs/learning_early --seeds 0 1 2 3 4

Uses the world, regions, tables and baselines of a finished run of ``twelvefold demo``. Each arm of learning_early.toml
changes the recipe and is trained with every seed, one thread each. Validation averages are taken every 20 rounds on
as many validation examples of each task as the recipe says; the test sets are scored once, at the end. After an
interruption, the same command resumes. Writes OUT/learning_early.json, OUT/learning_early.md and the runs
OUT/ARM/seed-N/.
"""

from __future__ import annotations

import argparse
import tomllib
from concurrent.futures import as_completed
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import msgspec
import torch

from twelvefold.config.recipe import Recipe
from twelvefold.evaluate import evaluate
from twelvefold.progress import track
from twelvefold.store import worker_pool
from twelvefold.store.atomic_files import read_json, write_json
from twelvefold.train import train
from twelvefold.training.event_log import read_events

INTERVAL = 20
"""Rounds between validations."""
MARGIN = 3.0
"""A model has left chance if its validation average is so many points above the best blind average."""
FOUR_WAY = 25.0
"""Chance in retrieval's validation, which is a choice among four; in the test set it is a search."""


class Result(msgspec.Struct, frozen=True):
    """A trained model. validation: average in percent by round. test: scores in percent by task. below: tasks whose
    interval is not above all baselines. left_chance: the first round of ``validation`` above the best blind average,
    None if there is none."""

    arm: str
    seed: int
    validation: dict[str, float]
    left_chance: int | None
    test: dict[str, float]
    below: list[str]
    seconds: float

    @property
    def average(self) -> float:
        return fmean(self.test.values())


def train_and_score(arm: str, recipe: Recipe, baselines: dict[str, dict[str, float]], data: Path, run: Path) -> Result:
    """Train and score a model on one thread of this process."""
    torch.set_num_threads(1)
    train(recipe, data / "prepared", data / "regions", run)
    scores = evaluate(run, processes=1)
    best = {task: max(value for name, value in values.items() if name != "n") for task, values in baselines.items()}
    events = list(read_events(run / "events.jsonl"))
    by_round: dict[int, dict[str, float]] = {}
    for event in events:
        if event["event"] == "eval" and (event["iteration"] % INTERVAL == 0):
            by_round.setdefault(event["iteration"], {})[event["task"]] = 100 * event["score"]
    validation = {i: fmean(each.values()) for i, each in by_round.items() if len(each) == len(recipe.tasks)}
    blind = fmean(FOUR_WAY if value < 1 else value for value in best.values())
    return Result(
        arm,
        recipe.seed,
        {str(i): round(average, 2) for i, average in validation.items()},
        next((i for i, average in validation.items() if average > blind + MARGIN), None),
        {name: task.require_score() for name, task in scores.tasks.items()},
        [name for name, task in scores.tasks.items() if task.ci95 is None or task.ci95[0] <= best[name]],
        next(event["seconds"] for event in reversed(events) if "seconds" in event),
    )


def table(results: list[Result]) -> str:
    """Return a line for each arm and seed, and one for the mean of each arm."""
    rounds = [40, 80, 160, 240, 320, 400]
    lines = [
        f"| arm | seed | left chance | {' | '.join(f'val {i}' for i in rounds)} | test | at or below baselines |",
        "|---" * (len(rounds) + 5) + "|",
    ]
    for arm in dict.fromkeys(result.arm for result in results):
        of_arm = sorted((result for result in results if result.arm == arm), key=lambda result: result.seed)
        for result in of_arm:
            values = [f"{result.validation[str(i)]:.1f}" if str(i) in result.validation else "" for i in rounds]
            lines.append(
                f"| {arm} | {result.seed} | {result.left_chance or 'never'} | {' | '.join(values)} | "
                f"{result.average:.1f} | {', '.join(result.below)} |"
            )
        averages = [result.average for result in of_arm]
        spread = f" ± {stdev(averages):.1f}" if len(averages) > 1 else ""
        lines.append(f"| **{arm}** | {len(of_arm)} seeds | | {'| ' * len(rounds)}**{fmean(averages):.1f}{spread}** | |")
    return "\n".join([*lines, ""])


def vary(recipe: Recipe, changes: dict[str, Any], seed: int) -> Recipe:
    """Return the recipe with an arm's changes, for one thread, with validations every ``INTERVAL`` rounds."""
    training = {"processes": 1, "eval_interval": INTERVAL, "tensorboard": False} | changes.get("training", {})
    return msgspec.structs.replace(
        recipe,
        seed=seed,
        model=recipe.model | changes.get("model", {}),
        training=msgspec.structs.replace(recipe.training, **training),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a finished run of twelvefold demo, whose data are used")
    parser.add_argument("out", type=Path)
    parser.add_argument("--arms", nargs="+", default=["demo"], help="names in learning_early.toml")
    parser.add_argument("--recipe", default="demo")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--processes", type=int, default=2, help="models trained in parallel, one thread each")
    arguments = parser.parse_args()
    arms = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())
    recipe, baselines = Recipe.load(arguments.recipe), read_json(arguments.run / "blind.json")["tasks"]
    jobs = [(arm, seed) for seed in arguments.seeds for arm in arguments.arms]
    with worker_pool.create_pool(arguments.processes) as pool:
        running = [
            pool.submit(
                train_and_score,
                arm,
                vary(recipe, arms[arm], seed),
                baselines,
                arguments.run,
                arguments.out / arm / f"seed-{seed}",
            )
            for arm, seed in jobs
        ]
        results = [done.result() for done in track(as_completed(running), description="models", total=len(running))]
    write_json(arguments.out / "learning_early.json", msgspec.to_builtins(results))
    text = table(results)
    (arguments.out / "learning_early.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
