"""Dynamic stop-and-go against plain round robin at the same number of updates, several seeds. Paper: section 3.3.

    python experiments/stop_and_go.py runs/demo runs/stop_and_go --seeds 3

Takes the world and the regions of a run of ``twelvefold demo``. For each seed, stop-and-go trains for the recipe's
iterations, which takes fewer updates than tasks times iterations, as stopped tasks rest; round robin then gets as
many iterations as make the same number of updates, with a schedule of its own that ends there. Both are scored on
the test sets. Interrupt it anywhere: the same command goes on. Writes OUT/stop_and_go.md, and
OUT/seed-N/{stop-and-go,round-robin}/ are runs like any other (``twelvefold report``).
"""

from __future__ import annotations

import argparse
import json
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

RECIPE = Path(__file__).with_suffix(".toml")


@dataclass(frozen=True, slots=True)
class Outcome:
    """One trained and scored model. ``scores``: test scores in percent; ``stops``, ``goes``, ``updates``: by task."""

    seed: int
    iterations: int
    scores: dict[str, float]
    updates: dict[str, int]
    stops: dict[str, int]
    goes: dict[str, int]
    seconds: float

    @property
    def average(self) -> float:
        return float(np.mean(list(self.scores.values())))


def one(recipe: Recipe, prepared: Path, regions: Path, run: Path) -> Outcome:
    """Train and score one model, in this process and on one thread."""
    torch.set_num_threads(1)
    trained = train(recipe, prepared, regions, run)
    scores = evaluate(run, prepared=prepared, regions=regions, processes=1)
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    stops, goes = (
        {name: sum(e["event"] == kind and e["task"] == name for e in events) for name in recipe.tasks}
        for kind in ("stop", "go")
    )
    percent = {name: task.score for name, task in scores.tasks.items()}
    return Outcome(recipe.seed, trained.iterations, percent, dict(trained.steps), stops, goes, trained.seconds)


def seeded(recipe: Recipe, seed: int, iterations: int, stop_and_go: bool) -> Recipe:
    """The recipe with these three values."""
    training = msgspec.structs.replace(recipe.training, iterations=iterations, stop_and_go=stop_and_go)
    return msgspec.structs.replace(recipe, seed=seed, training=training)


def compare(
    recipe: Recipe, pool: ProcessPoolExecutor, prepared: Path, regions: Path, out: Path, seeds: int
) -> tuple[list[Outcome], list[Outcome]]:
    """Both ways for every seed: stop-and-go first, as it says how many updates round robin gets."""
    dynamic = {}
    for seed in range(seeds):
        own = seeded(recipe, seed, recipe.training.iterations, stop_and_go=True)
        dynamic[pool.submit(one, own, prepared, regions, out / f"seed-{seed}" / "stop-and-go")] = seed
    plain = {}
    for done in track(as_completed(dynamic), description="stop-and-go", total=seeds):
        iterations = round(sum(done.result().updates.values()) / len(recipe.tasks))
        seed = dynamic[done]
        own = seeded(recipe, seed, iterations, stop_and_go=False)
        plain[pool.submit(one, own, prepared, regions, out / f"seed-{seed}" / "round-robin")] = seed
    robin = [done.result() for done in track(as_completed(plain), description="round robin", total=seeds)]
    return ordered([done.result() for done in dynamic]), ordered(robin)


def ordered(outcomes: list[Outcome]) -> list[Outcome]:
    return sorted(outcomes, key=lambda outcome: outcome.seed)


def table(dynamic: list[Outcome], robin: list[Outcome]) -> str:
    """Scores of both by task, the difference seed by seed, and what stop-and-go did."""
    lines = [
        "| task | stop-and-go | round robin | difference, mean | by seed | updates saved | stops | goes |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in dynamic[0].scores:
        ours, theirs = ([o.scores[name] for o in both] for both in (dynamic, robin))
        saved = np.mean([1 - o.updates[name] / o.iterations for o in dynamic])
        stops, goes = (np.mean([getattr(o, what)[name] for o in dynamic]) for what in ("stops", "goes"))
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
    gaps = np.subtract(ours, theirs)
    by_seed = ", ".join(f"{gap:+.1f}" for gap in gaps)
    return f"{np.mean(ours):.1f} | {np.mean(theirs):.1f} | {gaps.mean():+.1f} | {by_seed}"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("run", type=Path, help="a run of twelvefold demo, for its world and regions")
    arguments.add_argument("out", type=Path)
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--processes", type=int, default=2, help="models trained at once, one thread each")
    given = arguments.parse_args()
    recipe = Recipe.load(RECIPE)
    prepared, regions = given.out / "prepared", given.run / "regions"
    prepare_recipe(recipe, given.run / "world", regions, prepared)
    with worker_pool.create_pool(given.processes) as pool:
        dynamic, robin = compare(recipe, pool, prepared, regions, given.out, given.seeds)
    text = table(dynamic, robin)
    (given.out / "stop_and_go.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
