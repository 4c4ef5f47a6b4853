"""Measure what cleaning costs and gives: train a recipe on full and on cleaned splits, and score both models.

    python experiments/cleaning.py runs/demo runs/cleaning --seeds 3 --crossover

Paper: Table 2, rows 1 and 2 (single-task) and 8 and 7 (all tasks, fine-tuned), where full data score higher on test
sets that were partly trained on. Uses the world and the regions of a run of ``twelvefold demo``. For each seed the
recipe trains on full and on cleaned splits for the same number of updates (stop-and-go is off), and both models are
scored on the same test sets. A test example is leaked if the full splits train some task on its image.

The gap is the score with full splits minus the score with cleaned splits. On unleaked examples it measures the value
of more training data, on leaked examples that value plus inflation, so the difference of the two gaps is inflation.
In a world, as in the paper's data, most test sets are leaked completely or not at all, so most tasks have only one of
the two gaps. ``--crossover`` therefore trains two more models for each seed: the leaked images are divided into two
halves, and each model trains on splits that are cleaned of one half. Every leaked example is then scored by a model
that trained on its image and by one that did not, with equal amounts of data, and their gap is inflation only.

Intervals are 95 %, by bootstrap over images. They describe these very models; the values by seed show how much
another seed changes them. Tasks are resampled independently although some share images, so an average's interval is
slightly too narrow. If the command is interrupted, the same command goes on. It writes OUT/cleaning.json and a page
(``--page``).
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import torch
from msgspec.structs import replace
from numpy.typing import NDArray

from twelvefold.config.recipe import Recipe
from twelvefold.datasets.reading.options import reader_options
from twelvefold.datasets.reading.records import BadRecords
from twelvefold.duplicates.evidence import CollectedEvidence
from twelvefold.duplicates.image_groups import ImageGroups
from twelvefold.evaluate import evaluate
from twelvefold.evaluation.predictions import read_predictions
from twelvefold.preparation.prepare import prepare_recipe
from twelvefold.schema import CONSISTENCY_ONLY, ImageKey, Split, TwelvefoldError
from twelvefold.splits import manifest
from twelvefold.splits.clean import files_sources
from twelvefold.splits.decide import collect_policy_evidence, decide_removals
from twelvefold.splits.id_lists import IdList
from twelvefold.splits.manifest import IdListInfo
from twelvefold.splits.policy import NO_CLEANING, POLICIES
from twelvefold.store import atomic_files
from twelvefold.store.prepared import Prepared
from twelvefold.store.steps import Step, run_steps
from twelvefold.train import train

POLICY = POLICIES["paper"]
FULL, CLEANED = "full", "cleaned"
HALVES = ("cleaned-of-half-0", "cleaned-of-half-1")
NUM_RESAMPLES = 2_000
"""Bootstrap resamples."""
PAPER = {"single-task (rows 1 and 2)": 0.22, "all tasks, fine-tuned (rows 8 and 7)": 0.69}
"""Full minus cleaned, average of the paper's twelve tasks, on whole test sets of the real data."""

FloatArray = NDArray[np.float64]


class Gap(msgspec.Struct, frozen=True):
    """The scores of two models on the same examples, in percent: ``more`` of the model with more data, ``less`` of the
    other, their difference with its interval, and the difference for each seed."""

    examples: int
    more: float
    less: float
    gap: float
    ci95: tuple[float, float]
    by_seed: list[float]

    def __str__(self) -> str:
        return _with_interval(self.gap, self.ci95)


@dataclass(frozen=True, slots=True, eq=False)
class BootstrapGap:
    """A gap with its resampled values (NUM_RESAMPLES,), which give the intervals of differences and averages."""

    gap: Gap
    resampled: FloatArray


def measure_gap(more: FloatArray, less: FloatArray, clusters: Sequence[str], *, seed: int = 0) -> BootstrapGap | None:
    """Return the gap between two arrays of scores (S, N) in 0..1, by seed and example, or None where N is 0. The
    bootstrap resamples whole clusters (images)."""
    if not len(clusters):
        return None
    gaps = 100 * (more - less)
    _, cluster = np.unique(np.asarray(clusters), return_inverse=True)
    sums, counts = np.bincount(cluster, weights=gaps.mean(axis=0)), np.bincount(cluster)
    samples = np.random.default_rng(seed).integers(len(sums), size=(NUM_RESAMPLES, len(sums)))
    resampled: FloatArray = sums[samples].sum(axis=1) / counts[samples].sum(axis=1)
    by_seed = [round(float(gap), 2) for gap in gaps.mean(axis=1)]
    scores = (100 * float(more.mean()), 100 * float(less.mean()))
    return BootstrapGap(Gap(len(clusters), *scores, float(gaps.mean()), _interval(resampled), by_seed), resampled)


def average_gap(gaps_by_task: Sequence[BootstrapGap | None]) -> BootstrapGap | None:
    """Return the mean of the gaps that are not None, each with the same weight."""
    known = [each for each in gaps_by_task if each is not None]
    if not known:
        return None
    resampled = np.mean([each.resampled for each in known], axis=0)
    more, less, gap = (statistics.fmean(getattr(each.gap, name) for each in known) for name in ("more", "less", "gap"))
    by_seed = [round(statistics.fmean(gaps), 2) for gaps in zip(*(each.gap.by_seed for each in known), strict=True)]
    examples = sum(each.gap.examples for each in known)
    return BootstrapGap(Gap(examples, more, less, gap, _interval(resampled), by_seed), resampled)


def gap_difference(first: BootstrapGap | None, second: BootstrapGap | None) -> tuple[float, tuple[float, float]] | None:
    """Return the first gap minus the second, with its interval. Leaked and unleaked examples share no image, so the
    gaps were resampled independently."""
    if first is None or second is None:
        return None
    return first.gap.gap - second.gap.gap, _interval(first.resampled - second.resampled)


@dataclass(frozen=True, slots=True, eq=False)
class TaskScores:
    """A task's test examples: the images of each, and scores (S, N) in 0..1, by seed and example, of the models trained
    on each version of the splits."""

    images: list[frozenset[ImageKey]]
    scores: Mapping[str, FloatArray]


@dataclass(frozen=True, slots=True, eq=False)
class TaskGaps:
    """A task's gaps: full minus cleaned splits on all, on leaked and on unleaked examples; and with ``--crossover``,
    trained on the image minus not trained on it."""

    whole: BootstrapGap | None
    leaked: BootstrapGap | None
    unleaked: BootstrapGap | None
    crossed: BootstrapGap | None

    def to_json(self) -> dict[str, object]:
        gaps = (self.whole, self.leaked, self.unleaked, self.crossed)
        names = ("whole", "leaked", "unleaked", "crossed")
        values = {name: msgspec.to_builtins(each.gap) if each else None for name, each in zip(names, gaps, strict=True)}
        return {**values, "inflation": gap_difference(self.leaked, self.unleaked)}


def half_of(image: ImageKey) -> int:
    """Return the half, 0 or 1, that an image belongs to, from a hash of its key."""
    return int(atomic_files.digest_bytes(str(image).encode()), 16) % 2


def compute_gaps(task: TaskScores, trained: set[ImageKey]) -> TaskGaps:
    """Return all gaps of a task. ``trained``: the images that the full splits train on."""
    leaked = np.array([bool(images & trained) for images in task.images], dtype=bool)
    names = np.array([" ".join(sorted(map(str, images))) for images in task.images])
    full, cleaned = task.scores[FULL], task.scores[CLEANED]
    on_all, on_leaked, on_unleaked = (
        measure_gap(full[:, selected], cleaned[:, selected], list(names[selected]), seed=seed)
        for seed, selected in enumerate((np.ones_like(leaked), leaked, ~leaked))
    )
    if HALVES[0] not in task.scores:
        return TaskGaps(on_all, on_leaked, on_unleaked, None)
    # An image of half 0 is in the splits that were cleaned of half 1, and vice versa.
    halves = [{half_of(key) for key in images & trained} for images in task.images]
    in_one_half = np.array([len(each) == 1 for each in halves], dtype=bool)
    in_first_half = np.array([each == {0} for each in halves], dtype=bool)
    with_image = np.where(in_first_half, task.scores[HALVES[1]], task.scores[HALVES[0]])[:, in_one_half]
    without_image = np.where(in_first_half, task.scores[HALVES[0]], task.scores[HALVES[1]])[:, in_one_half]
    crossed = measure_gap(with_image, without_image, list(names[in_one_half]), seed=3)
    return TaskGaps(on_all, on_leaked, on_unleaked, crossed)


def read_scores(
    out: Path, prepared: Prepared, task: str, groups: ImageGroups, splits: Sequence[str], seeds: int
) -> TaskScores:
    """Read a task's scores of all models from the prediction files of ``evaluate``.

    Raises:
        TwelvefoldError: the models were not scored on the same examples.
    """
    images = {
        example.id: frozenset(group for pair in example.pairs for group in groups.matching_groups(pair.image))
        for example in prepared.table(task, "test")
        if example.question_type != CONSISTENCY_ONLY
    }
    scores_by_run = {
        (split, seed): {
            record.id: record.score
            for record in read_predictions(run_folder(out, seed, split) / "predictions" / f"{task}.jsonl")
            if record.score is not None and record.id in images
        }
        for split in splits
        for seed in range(seeds)
    }
    ids = sorted(scores_by_run[FULL, 0])
    for (split, seed), scores in scores_by_run.items():
        if sorted(scores) != ids:
            raise TwelvefoldError(
                f"{task}: {run_folder(out, seed, split)} was scored on {len(scores)} test examples that are not the "
                f"{len(ids)} of {run_folder(out, 0, FULL)}; evaluate them all again"
            )
    by_split = {s: np.array([[scores_by_run[s, seed][id_] for id_ in ids] for seed in range(seeds)]) for s in splits}
    return TaskScores([images[id_] for id_ in ids], by_split)


def prepare_all(
    recipe: Recipe, data: Path, regions: Path, out: Path, crossover: bool
) -> tuple[set[ImageKey], ImageGroups]:
    """Prepare full and cleaned splits and, for the crossover, splits that are cleaned of one half each. Return the
    images that the full splits train on, and the groups of equal images."""
    prepare_recipe(recipe, data, regions, out / FULL, config=replace(recipe.data, clean=NO_CLEANING))
    prepare_recipe(recipe, data, regions, out / CLEANED, config=replace(recipe.data, clean=POLICY.name))
    evidence = collect_policy_evidence(data, POLICY, cache_dir=out / CLEANED / "made", bad=BadRecords())
    groups, prepared = ImageGroups(evidence.links), Prepared.open(out / FULL)

    def images_of(split: Split) -> set[ImageKey]:
        tables = [prepared.table(task.name, split) for task in prepared.tasks]
        return {groups.group_of(key) for table in tables for key in table.all_images()}

    if crossover:
        test_images = images_of("test")
        for number, name in enumerate(HALVES):
            half = {key for key in test_images if half_of(key) == number}
            manifest.write_manifest(out / f"{name}.json", manifest_without(recipe, data, evidence, half, name))
            config = replace(recipe.data, clean="lists", manifest=str(out / f"{name}.json"))
            prepare_recipe(recipe, data, regions, out / name, config=config)
    return images_of("train"), groups


def manifest_without(
    recipe: Recipe, data: Path, evidence: CollectedEvidence, images: set[ImageKey], name: str
) -> manifest.CleaningManifest:
    """Return the manifest that removes only these images."""
    info = IdListInfo(name, "any", len(images), atomic_files.digest_value(sorted(map(str, images))))
    options = reader_options(data, recipe.tasks, {task: recipe.task_config(task).options for task in recipe.tasks})
    lists = [IdList(info, frozenset(images))]
    sources = files_sources(data, options)
    return decide_removals(sources, POLICIES["lists"], evidence, bad=BadRecords(), lists=lists)


def run_folder(out: Path, seed: int, split: str) -> Path:
    return out / f"seed-{seed}" / split


def train_and_evaluate(recipe: Recipe, prepared: Path, regions: Path, run: Path) -> None:
    """Train and score one model, in this process and on one thread."""
    torch.set_num_threads(1)
    train(recipe, prepared, regions, run)
    evaluate(run, prepared=prepared, regions=regions, processes=1)


def train_all(recipe: Recipe, regions: Path, out: Path, splits: Sequence[str], seeds: int, processes: int) -> None:
    """Train a model on each version of the splits for every seed."""
    steps = [
        Step(
            f"{seed}-{split}",
            (msgspec.structs.replace(recipe, seed=seed), out / split, regions, run_folder(out, seed, split)),
        )
        for seed in range(seeds)
        for split in splits
    ]
    run_steps(train_and_evaluate, steps, description="models trained and scored", processes=processes)


def make_page(recipe: Recipe, tasks: Mapping[str, TaskGaps], seeds: int, command: str) -> str:
    """Return the results as a page in Markdown."""
    leaked, unleaked = (
        average_gap([getattr(gaps, name) for gaps in tasks.values()]) for name in ("leaked", "unleaked")
    )
    paper = "; ".join(f"{name} {gap:+.2f}" for name, gap in PAPER.items())
    lines = [
        "# What cleaning costs and gives",
        "",
        f"`{command}`: recipe `{recipe.name}`, {recipe.training.iterations:,} iterations of {len(recipe.tasks)} tasks "
        f"without stop-and-go, {seeds} seed{'s' * (seeds > 1)}, policy `{POLICY.name}` ({', '.join(POLICY.evidence)}). "
        "Scores are in percent. The gap is the score with full splits minus the score with cleaned splits, with its "
        "95 % interval (bootstrap over images). A test example is leaked if the full splits train some task on its "
        "image.",
        "",
        "| task | leaked | full | cleaned | gap | unleaked | full | cleaned | gap | difference of gaps |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *(_row(name, gaps.leaked, gaps.unleaked) for name, gaps in tasks.items()),
        _row("**average**", leaked, unleaked),
        "",
        "Unleaked: effect of more data. Leaked: that plus memorized test images. "
        "In the last line the two averages are over different tasks if a test set is leaked completely or not at all.",
        "",
        f"On whole test sets the gap is {_format(average_gap([gaps.whole for gaps in tasks.values()]))} on average "
        f"over the tasks. The paper's averages on the real data: {paper}.",
        "",
        *_by_seed("gap on the whole test set", {name: gaps.whole for name, gaps in tasks.items()}),
    ]
    if crossed := {name: gaps.crossed for name, gaps in tasks.items() if gaps.crossed}:
        lines += [
            "## Inflation alone",
            "",
            "The leaked images are divided into two halves, and each of two models trains on splits that are cleaned "
            "of one half. Every leaked example is scored by the model that trained on its image and by the one that "
            "did not:",
            "",
            "| task | leaked | trained on | not trained on | inflation |",
            "|---|---|---|---|---|",
            *(f"| {name} | {_cells(gap)} |" for name, gap in crossed.items()),
            f"| **average** | {_cells(average_gap(list(crossed.values())))} |",
            "",
            *_by_seed("inflation", crossed),
        ]
    return "\n".join(lines)


def _row(name: str, leaked: BootstrapGap | None, unleaked: BootstrapGap | None) -> str:
    difference = gap_difference(leaked, unleaked)
    return f"| {name} | {_cells(leaked)} | {_cells(unleaked)} | {_with_interval(*difference) if difference else ''} |"


def _cells(gap: BootstrapGap | None) -> str:
    return f"{gap.gap.examples:,} | {gap.gap.more:.1f} | {gap.gap.less:.1f} | {gap.gap}" if gap else "0 | | | "


def _by_seed(title: str, gaps: Mapping[str, BootstrapGap | None]) -> list[str]:
    rows = {**gaps, "**average**": average_gap(list(gaps.values()))}
    return [
        f"| task | {title} | by seed |",
        "|---|---|---|",
        *(
            f"| {name} | {_format(each)} | {', '.join(f'{gap:+.1f}' for gap in each.gap.by_seed)} |"
            for name, each in rows.items()
            if each
        ),
        "",
    ]


def _format(gap: BootstrapGap | None) -> str:
    return str(gap.gap) if gap else "unknown"


def _with_interval(gap: float, ci95: tuple[float, float]) -> str:
    return f"{gap:+.1f} ({ci95[0]:+.1f} to {ci95[1]:+.1f})"


def _interval(resampled: FloatArray) -> tuple[float, float]:
    low, high = np.percentile(resampled, [2.5, 97.5])
    return float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run of twelvefold demo, for its world and regions")
    parser.add_argument("out", type=Path)
    parser.add_argument("--recipe", default="demo", help="a shipped recipe or a file of your own")
    parser.add_argument("--iterations", type=int, default=0, help="of each model; default: the recipe's")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--crossover", action="store_true", help="two more models a seed, to measure inflation alone")
    parser.add_argument("--processes", type=int, default=2, help="models trained at once, one thread each")
    parser.add_argument("--page", type=Path, help="default: OUT/cleaning.md")
    args = parser.parse_args()
    recipe, data, regions = Recipe.load(args.recipe), args.run / "world", args.run / "regions"
    iterations = args.iterations or recipe.training.iterations
    if not iterations:
        raise SystemExit("the recipe counts in epochs, which differ from full to cleaned splits: give --iterations")
    training = msgspec.structs.replace(recipe.training, iterations=iterations, stop_and_go=False, processes=1)
    recipe = msgspec.structs.replace(recipe, training=training)
    trained, groups = prepare_all(recipe, data, regions, args.out, args.crossover)
    splits = (FULL, CLEANED, *HALVES) if args.crossover else (FULL, CLEANED)
    train_all(recipe, regions, args.out, splits, args.seeds, args.processes)
    prepared = Prepared.open(args.out / FULL)
    tasks = {
        task.name: compute_gaps(read_scores(args.out, prepared, task.name, groups, splits, args.seeds), trained)
        for task in prepared.tasks
    }
    command = f"python experiments/cleaning.py {args.run} {args.out} --recipe {args.recipe} --seeds {args.seeds}"
    command += f" --iterations {args.iterations}" if args.iterations else ""
    command += " --crossover" if args.crossover else ""
    text = make_page(recipe, tasks, args.seeds, command)
    atomic_files.write_json(args.out / "cleaning.json", {name: gaps.to_json() for name, gaps in tasks.items()})
    atomic_files.write_text(args.page or args.out / "cleaning.md", text)
    print(text)


if __name__ == "__main__":
    main()
