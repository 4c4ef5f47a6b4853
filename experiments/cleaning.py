"""What cleaning costs and gives: a recipe on full and on cleaned splits, scored on leaked test pictures and on others.

    python experiments/cleaning.py runs/demo runs/cleaning --seeds 3 --crossover

Paper: Table 2, rows 1 and 2 (single-task) and 8 and 7 (all tasks, fine-tuned), where full data score higher on test
sets that they have partly seen. Takes the world and the regions of a run of ``twelvefold demo``. For each seed the
recipe trains on full and on cleaned splits for the same number of updates (stop-and-go is off), and both models are
scored on the same test sets. A test example is leaked where the full splits train some task on its photograph.

The gap, full minus cleaned, is on unleaked examples what more training data are worth, and on leaked ones that and
inflation; the difference of the two gaps is inflation. In a world as in the paper's data most test sets are leaked
wholly or not at all, so for most tasks there is no such difference within the task. ``--crossover`` settles it with two
more models a seed: the leaked photographs are halved, and each model trains on splits that are cleaned of one half.
Every leaked example is then scored by a model that has trained on its photograph and by one that has not, on equal
amounts of data: their gap is inflation and nothing else.

Intervals are 95 %, by bootstrap over photographs: they say how sure the figures are for these very models; how much
another seed moves them is seen seed by seed. Tasks are drawn apart though some share photographs, so an average's
interval is a little narrow. Interrupt it anywhere: the same command goes on. Writes OUT/cleaning.json
and the page (``--page``).
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from twelvefold.config.recipe import Recipe
from twelvefold.datasets.reading.options import reader_options
from twelvefold.datasets.reading.records import BadRecords
from twelvefold.duplicates.evidence import CollectedEvidence
from twelvefold.duplicates.image_groups import ImageGroups
from twelvefold.evaluate import evaluate
from twelvefold.evaluation.predictions import read_predictions
from twelvefold.preparation.from_recipe import prepare_recipe
from twelvefold.progress import track
from twelvefold.schema import CONSISTENCY_ONLY, ImageKey, TwelvefoldError
from twelvefold.splits import manifest
from twelvefold.splits.decide import collect_policy_evidence, decide_removals
from twelvefold.splits.id_lists import IdList
from twelvefold.splits.manifest import IdListInfo
from twelvefold.splits.policy import NO_CLEANING, POLICIES
from twelvefold.store import atomic_files, worker_pool
from twelvefold.store.prepared import Prepared
from twelvefold.train import train

POLICY = POLICIES["paper"]
FULL, CLEANED = "full", "cleaned"
HALVES = ("cleaned-of-half-0", "cleaned-of-half-1")
DRAWS = 2_000
"""Bootstrap samples: as many as ``results.intervals`` takes."""
PAPER = {"single-task (rows 1 and 2)": 0.22, "all tasks, fine-tuned (rows 8 and 7)": 0.69}
"""Full minus cleaned, average of the paper's twelve tasks, on whole test sets of the real data."""

Numbers = NDArray[np.float64]


class Gap(msgspec.Struct, frozen=True):
    """Two models' scores on the same examples, in percent: of the one that saw more, of the other, their difference
    with its interval, and the difference seed by seed."""

    examples: int
    more: float
    less: float
    gap: float
    ci95: tuple[float, float]
    by_seed: list[float]

    def __str__(self) -> str:
        return _with_interval(self.gap, self.ci95)


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """A gap with its bootstrap values (DRAWS,), for differences and averages of gaps."""

    gap: Gap
    draws: Numbers


def measure(more: Numbers, less: Numbers, clusters: Sequence[str], *, seed: int = 0) -> Measured | None:
    """The gap of (S, n) scores in 0..1, seeds by examples; whole clusters (photographs) are drawn again with
    replacement. None where there are no examples."""
    if not len(clusters):
        return None
    gaps = 100 * (more - less)
    _, place = np.unique(np.asarray(clusters), return_inverse=True)
    sums, counts = np.bincount(place, weights=gaps.mean(axis=0)), np.bincount(place)
    drawn = np.random.default_rng(seed).integers(len(sums), size=(DRAWS, len(sums)))
    draws: Numbers = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    by_seed = [round(float(gap), 2) for gap in gaps.mean(axis=1)]
    scores = (100 * float(more.mean()), 100 * float(less.mean()))
    return Measured(Gap(len(clusters), *scores, float(gaps.mean()), _interval(draws), by_seed), draws)


def average(measured: Sequence[Measured | None]) -> Measured | None:
    """The mean over those that there are, each counting once."""
    known = [one for one in measured if one is not None]
    if not known:
        return None
    draws = np.mean([one.draws for one in known], axis=0)
    more, less, gap = (statistics.fmean(getattr(one.gap, name) for one in known) for name in ("more", "less", "gap"))
    by_seed = [round(statistics.fmean(gaps), 2) for gaps in zip(*(one.gap.by_seed for one in known), strict=True)]
    return Measured(Gap(sum(one.gap.examples for one in known), more, less, gap, _interval(draws), by_seed), draws)


def difference(one: Measured | None, other: Measured | None) -> tuple[float, tuple[float, float]] | None:
    """One gap less the other, with its interval. Leaked and unleaked examples share no photograph, so their bootstrap
    values were drawn apart."""
    if one is None or other is None:
        return None
    return one.gap.gap - other.gap.gap, _interval(one.draws - other.draws)


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """One task's test examples: their photographs, and (S, N) scores in 0..1 of the models trained on each splits."""

    photographs: list[frozenset[ImageKey]]
    scores: Mapping[str, Numbers]


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """One task's gaps: full minus cleaned on all its examples, on leaked and on unleaked ones; and trained on the
    photograph minus not, where the crossover was made."""

    whole: Measured | None
    leaked: Measured | None
    unleaked: Measured | None
    crossed: Measured | None

    def json(self) -> dict[str, object]:
        gaps = (self.whole, self.leaked, self.unleaked, self.crossed)
        names = ("whole", "leaked", "unleaked", "crossed")
        plain = {name: msgspec.to_builtins(one.gap) if one else None for name, one in zip(names, gaps, strict=True)}
        return {**plain, "inflation": difference(self.leaked, self.unleaked)}


def half(photograph: ImageKey) -> int:
    """Which half a photograph is in: a coin of its own name."""
    return int(atomic_files.digest_bytes(str(photograph).encode()), 16) % 2


def figures(task: Scored, seen: set[ImageKey]) -> Task:
    """All gaps of a task; ``seen``: the photographs that the full splits train on."""
    leaked = np.array([bool(own & seen) for own in task.photographs], dtype=bool)
    names = np.array([" ".join(sorted(map(str, own))) for own in task.photographs])
    full, cleaned = task.scores[FULL], task.scores[CLEANED]
    whole, inside, outside = (
        measure(full[:, chosen], cleaned[:, chosen], list(names[chosen]), seed=seed)
        for seed, chosen in enumerate((np.ones_like(leaked), leaked, ~leaked))
    )
    if HALVES[0] not in task.scores:
        return Task(whole, inside, outside, None)
    # A photograph of half 0 was seen by the model that trained on splits cleaned of half 1, and the other way round.
    halves = [{half(key) for key in own & seen} for own in task.photographs]
    one_half = np.array([len(own) == 1 for own in halves], dtype=bool)
    first = np.array([own == {0} for own in halves], dtype=bool)
    trained = np.where(first, task.scores[HALVES[1]], task.scores[HALVES[0]])[:, one_half]
    untrained = np.where(first, task.scores[HALVES[0]], task.scores[HALVES[1]])[:, one_half]
    return Task(whole, inside, outside, measure(trained, untrained, list(names[one_half]), seed=3))


def read_task(
    out: Path, prepared: Prepared, task: str, names: ImageGroups, splits: Sequence[str], seeds: int
) -> Scored:
    """A task's scores by all models, from the prediction files of ``evaluate``.

    Raises:
        TwelvefoldError: the models were not scored on the same examples.
    """
    photographs = {
        example.id: frozenset(names.group_of(pair.image) for pair in example.pairs)
        for example in prepared.table(task, "test")
        if example.question_type != CONSISTENCY_ONLY
    }
    found = {
        (split, seed): {
            line.id: line.score
            for line in read_predictions(run_folder(out, seed, split) / "predictions" / f"{task}.jsonl")
            if line.score is not None and line.id in photographs
        }
        for split in splits
        for seed in range(seeds)
    }
    ids = sorted(found[FULL, 0])
    for (split, seed), own in found.items():
        if sorted(own) != ids:
            raise TwelvefoldError(
                f"{task}: {run_folder(out, seed, split)} was scored on {len(own)} test examples that are not the "
                f"{len(ids)} of {run_folder(out, 0, FULL)}; evaluate them all anew"
            )
    scores = {s: np.array([[found[s, seed][id_] for id_ in ids] for seed in range(seeds)]) for s in splits}
    return Scored([photographs[id_] for id_ in ids], scores)


def prepare_all(
    recipe: Recipe, data: Path, regions: Path, out: Path, crossover: bool
) -> tuple[set[ImageKey], ImageGroups]:
    """Full and cleaned splits, and those cleaned of one half each; gives the photographs that full splits train on."""
    prepare_recipe(recipe, data, regions, out / FULL, clean=NO_CLEANING)
    prepare_recipe(recipe, data, regions, out / CLEANED, clean=POLICY.name)
    found = collect_policy_evidence(data, POLICY, cache_dir=out / CLEANED / "made", bad=BadRecords())
    names, prepared = ImageGroups(found.links), Prepared.open(out / FULL)
    tables = [prepared.table(task.name, "train") for task in prepared.tasks]
    seen = {names.group_of(key) for table in tables for key in table.all_images()}
    if crossover:
        tests = [prepared.table(task.name, "test") for task in prepared.tasks]
        tested = {names.group_of(key) for table in tests for key in table.all_images()}
        for number, split in enumerate(HALVES):
            path = out / f"{split}.json"
            manifest.write_manifest(
                path, cleaned_of(recipe, data, found, {key for key in tested if half(key) == number}, split)
            )
            prepare_recipe(recipe, data, regions, out / split, clean="lists", manifest=path)
    return seen, names


def cleaned_of(
    recipe: Recipe, data: Path, found: CollectedEvidence, photographs: set[ImageKey], name: str
) -> manifest.CleaningManifest:
    """The manifest that removes these photographs alone."""
    listed = IdListInfo(name, "any", len(photographs), atomic_files.digest_value(sorted(map(str, photographs))))
    chosen = {task: recipe.task_config(task).options for task in recipe.tasks}
    options = reader_options(data, recipe.tasks, chosen)
    lists = [IdList(listed, frozenset(photographs))]
    return decide_removals(data, options, POLICIES["lists"], found, bad=BadRecords(), lists=lists)


def run_folder(out: Path, seed: int, split: str) -> Path:
    return out / f"seed-{seed}" / split


def one(recipe: Recipe, prepared: Path, regions: Path, run: Path) -> None:
    """Train and score one model, in this process and on one thread."""
    torch.set_num_threads(1)
    train(recipe, prepared, regions, run)
    evaluate(run, prepared=prepared, regions=regions, processes=1)


def train_all(recipe: Recipe, regions: Path, out: Path, splits: Sequence[str], seeds: int, processes: int) -> None:
    """A model on each splits for every seed."""
    with worker_pool.create_pool(processes) as pool:
        running = [
            pool.submit(one, msgspec.structs.replace(recipe, seed=seed), out / s, regions, run_folder(out, seed, s))
            for seed in range(seeds)
            for s in splits
        ]
        for done in track(as_completed(running), description="models trained and scored", total=len(running)):
            done.result()


def page(recipe: Recipe, tasks: Mapping[str, Task], seeds: int, how: str) -> str:
    """The figures as a page in Markdown."""
    leaked, unleaked = (average([getattr(one, name) for one in tasks.values()]) for name in ("leaked", "unleaked"))
    paper = "; ".join(f"{name} {gap:+.2f}" for name, gap in PAPER.items())
    lines = [
        "# What cleaning costs and gives",
        "",
        f"`{how}`: recipe `{recipe.name}`, {recipe.training.iterations:,} iterations of {len(recipe.tasks)} tasks "
        f"without stop-and-go, {seeds} seed{'s' * (seeds > 1)}, policy `{POLICY.name}` ({', '.join(POLICY.evidence)}). "
        "Scores in percent. The gap is the score after training on full splits less that after cleaned ones, with its "
        "95 % interval (bootstrap over photographs). A test example is leaked where the full splits train some task on "
        "its photograph.",
        "",
        "| task | leaked | full | cleaned | gap | unleaked | full | cleaned | gap | difference of gaps |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *(_row(name, one.leaked, one.unleaked) for name, one in tasks.items()),
        _row("**average**", leaked, unleaked),
        "",
        "On unleaked examples the gap is what more data are worth, on leaked ones that and inflation. In the last line "
        "the two averages are over different tasks where a test set is leaked wholly or not at all.",
        "",
        f"On whole test sets the gap is {_shown(average([one.whole for one in tasks.values()]))} on average of the "
        f"tasks. The paper's averages, on the real data: {paper}.",
        "",
        *_by_seed("gap on the whole test set", {name: one.whole for name, one in tasks.items()}),
    ]
    if any(one.crossed for one in tasks.values()):
        crossed = {name: one.crossed for name, one in tasks.items() if one.crossed}
        lines += [
            "## Leaked alone",
            "",
            "The leaked photographs in two halves; two models, each on splits cleaned of one half. Each leaked example "
            "by the model that trained on its photograph and by the one that did not:",
            "",
            "| task | leaked | trained on | not trained on | inflation |",
            "|---|---|---|---|---|",
            *(f"| {name} | {_cells(one)} |" for name, one in crossed.items()),
            f"| **average** | {_cells(average(list(crossed.values())))} |",
            "",
            *_by_seed("inflation", crossed),
        ]
    return "\n".join(lines)


def _row(name: str, leaked: Measured | None, unleaked: Measured | None) -> str:
    both = difference(leaked, unleaked)
    return f"| {name} | {_cells(leaked)} | {_cells(unleaked)} | {_with_interval(*both) if both else ''} |"


def _cells(one: Measured | None) -> str:
    return f"{one.gap.examples:,} | {one.gap.more:.1f} | {one.gap.less:.1f} | {one.gap}" if one else "0 | | | "


def _by_seed(what: str, measured: Mapping[str, Measured | None]) -> list[str]:
    rows = {**measured, "**average**": average(list(measured.values()))}
    cells = {
        name: f"{_shown(one)} | {', '.join(f'{gap:+.1f}' for gap in one.gap.by_seed)}"
        for name, one in rows.items()
        if one
    }
    return [
        f"| task | {what} | by seed |",
        "|---|---|---|",
        *(f"| {name} | {cell} |" for name, cell in cells.items()),
        "",
    ]


def _shown(one: Measured | None) -> str:
    return str(one.gap) if one else "unknown"


def _with_interval(gap: float, ci95: tuple[float, float]) -> str:
    return f"{gap:+.1f} ({ci95[0]:+.1f} to {ci95[1]:+.1f})"


def _interval(draws: Numbers) -> tuple[float, float]:
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(low), float(high)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("run", type=Path, help="a run of twelvefold demo, for its world and regions")
    arguments.add_argument("out", type=Path)
    arguments.add_argument("--recipe", default="demo", help="a shipped recipe or a file of your own")
    arguments.add_argument("--iterations", type=int, default=0, help="of each model; the recipe's where left out")
    arguments.add_argument("--seeds", type=int, default=1)
    arguments.add_argument("--crossover", action="store_true", help="two more models a seed, for inflation alone")
    arguments.add_argument("--processes", type=int, default=2, help="models trained at once, one thread each")
    arguments.add_argument("--page", type=Path, help="OUT/cleaning.md where left out")
    given = arguments.parse_args()
    recipe, data, regions = Recipe.load(given.recipe), given.run / "world", given.run / "regions"
    iterations = given.iterations or recipe.training.iterations
    if not iterations:
        raise SystemExit("the recipe counts in epochs, which differ from full to cleaned splits: give --iterations")
    training = msgspec.structs.replace(recipe.training, iterations=iterations, stop_and_go=False, processes=1)
    recipe = msgspec.structs.replace(recipe, training=training)
    seen, names = prepare_all(recipe, data, regions, given.out, given.crossover)
    splits = (FULL, CLEANED, *HALVES) if given.crossover else (FULL, CLEANED)
    train_all(recipe, regions, given.out, splits, given.seeds, given.processes)
    prepared = Prepared.open(given.out / FULL)
    tasks = {
        task.name: figures(read_task(given.out, prepared, task.name, names, splits, given.seeds), seen)
        for task in prepared.tasks
    }
    how = f"python experiments/cleaning.py {given.run} {given.out} --recipe {given.recipe} --seeds {given.seeds}"
    how += f" --iterations {given.iterations}" if given.iterations else ""
    text = page(recipe, tasks, given.seeds, f"{how} --crossover" if given.crossover else how)
    atomic_files.write_json(given.out / "cleaning.json", {name: one.json() for name, one in tasks.items()})
    atomic_files.write_text(given.page or given.out / "cleaning.md", text)
    print(text)


if __name__ == "__main__":
    main()
