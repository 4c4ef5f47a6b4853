"""Compare dynamic stop-and-go with plain round robin at the same number of updates. Paper: section 3.3.

    python experiments/stop_and_go.py runs/demo runs/stop_and_go --seeds 3

Uses the world and regions of a run of ``twelvefold demo``. For each seed, stop-and-go trains for the recipe's
iterations, which takes fewer updates than tasks times iterations because stopped tasks skip steps. Round robin then
trains for as many iterations as give the same number of updates, with its own learning-rate schedule. Both are scored
on the test sets. After an interruption, the same command resumes. Writes OUT/stop_and_go.md and the runs
OUT/seed-N/{stop-and-go,round-robin}/.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import torch

from twelvefold.config.recipe import Recipe
from twelvefold.evaluate import evaluate
from twelvefold.preparation.prepare import prepare_recipe
from twelvefold.progress import track
from twelvefold.store import worker_pool
from twelvefold.train import train
from twelvefold.training.event_log import read_events

RECIPE = Path(__file__).with_suffix(".toml")


@dataclass(frozen=True, slots=True)
class Result:
    """A trained and scored model. ``scores``: test scores in percent. ``updates``, ``stops``, ``goes``: by task."""

    seed: int
    iterations: int
    scores: dict[str, float]
    updates: dict[str, int]
    stops: dict[str, int]
    goes: dict[str, int]

    @property
    def average(self) -> float:
        return float(np.mean(list(self.scores.values())))


def train_and_score(recipe: Recipe, prepared: Path, regions: Path, run: Path) -> Result:
    """Train and score a model on one thread of this process."""
    torch.set_num_threads(1)
    trained = train(recipe, prepared, regions, run)
    scores = evaluate(run, prepared=prepared, regions=regions, processes=1)
    transitions = [(e["event"], e["task"]) for e in read_events(run / "events.jsonl") if e["event"] in ("stop", "go")]
    stops = {name: transitions.count(("stop", name)) for name in recipe.tasks}
    goes = {name: transitions.count(("go", name)) for name in recipe.tasks}
    percent = {name: task.require_score() for name, task in scores.tasks.items()}
    return Result(recipe.seed, trained.iterations, percent, dict(trained.steps), stops, goes)


def vary(recipe: Recipe, seed: int, iterations: int, stop_and_go: bool) -> Recipe:
    """Return the recipe with these three values."""
    training = msgspec.structs.replace(recipe.training, iterations=iterations, stop_and_go=stop_and_go)
    return msgspec.structs.replace(recipe, seed=seed, training=training)


def compare(
    recipe: Recipe, pool: ProcessPoolExecutor, prepared: Path, regions: Path, out: Path, seeds: int
) -> tuple[list[Result], list[Result]]:
    """Train both for every seed: stop-and-go first, because it determines the updates of round robin."""
    dynamic = {}
    for seed in range(seeds):
        varied = vary(recipe, seed, recipe.training.iterations, stop_and_go=True)
        run = out / f"seed-{seed}" / "stop-and-go"
        dynamic[pool.submit(train_and_score, varied, prepared, regions, run)] = seed
    plain = {}
    for done in track(as_completed(dynamic), description="stop-and-go", total=seeds):
        iterations = round(sum(done.result().updates.values()) / len(recipe.tasks))
        seed = dynamic[done]
        varied = vary(recipe, seed, iterations, stop_and_go=False)
        run = out / f"seed-{seed}" / "round-robin"
        plain[pool.submit(train_and_score, varied, prepared, regions, run)] = seed
    robin = [done.result() for done in track(as_completed(plain), description="round robin", total=seeds)]
    return by_seed([done.result() for done in dynamic]), by_seed(robin)


def by_seed(results: list[Result]) -> list[Result]:
    return sorted(results, key=lambda result: result.seed)


def table(dynamic: list[Result], robin: list[Result]) -> str:
    """Return a table of both scores by task, their difference by seed, and the transitions of stop-and-go."""
    lines = [
        "| task | stop-and-go | round robin | difference, mean | by seed | updates saved | stops | goes |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in dynamic[0].scores:
        ours, theirs = ([o.scores[name] for o in both] for both in (dynamic, robin))
        saved = np.mean([1 - o.updates[name] / o.iterations for o in dynamic])
        stops, goes = np.mean([o.stops[name] for o in dynamic]), np.mean([o.goes[name] for o in dynamic])
        lines.append(f"| {name} | {_row(ours, theirs)} | {100 * saved:.0f} % | {stops:.1f} | {goes:.1f} |")
    ours, theirs = ([o.average for o in both] for both in (dynamic, robin))
    saved = np.mean([1 - sum(o.updates.values()) / (o.iterations * len(o.updates)) for o in dynamic])
    lines.append(f"| **average** | {_row(ours, theirs)} | {100 * saved:.0f} % | | |")
    iterations = [", ".join(str(o.iterations) for o in both) for both in (dynamic, robin)]
    updates = [", ".join(f"{sum(o.updates.values()):,}" for o in both) for both in (dynamic, robin)]
    return "\n".join(
        [
            *lines,
            "",
            f"Iterations by seed: stop-and-go {iterations[0]}; round robin {iterations[1]}. "
            f"Updates by seed: stop-and-go {updates[0]}; round robin {updates[1]}.",
            "",
        ]
    )


def _row(ours: list[float], theirs: list[float]) -> str:
    differences = np.subtract(ours, theirs)
    listed = ", ".join(f"{difference:+.1f}" for difference in differences)
    return f"{np.mean(ours):.1f} | {np.mean(theirs):.1f} | {differences.mean():+.1f} | {listed}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run of twelvefold demo, whose world and regions are used")
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2, help="models trained in parallel, one thread each")
    arguments = parser.parse_args()
    recipe = Recipe.load(RECIPE)
    prepared, regions = arguments.out / "prepared", arguments.run / "regions"
    prepare_recipe(recipe, arguments.run / "world", regions, prepared)
    with worker_pool.create_pool(arguments.processes) as pool:
        dynamic, robin = compare(recipe, pool, prepared, regions, arguments.out, arguments.seeds)
    text = table(dynamic, robin)
    (arguments.out / "stop_and_go.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
