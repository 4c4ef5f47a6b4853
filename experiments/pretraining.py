"""What pretraining gives, and what the paper's two changes to it give: equal multi-task updates from other weights.

    python experiments/pretraining.py runs/demo runs/pretraining --seeds 2

Paper: section 3.1 and 4.1. Takes the world and the regions of a run of ``twelvefold demo`` for the twelve tasks, and
makes another world, of another seed, whose captions are pretrained on: no picture is shared, as Conceptual Captions
shares none with the tasks. For each seed one model learns the twelve tasks from scratch, and one from each arm's
pretraining, all by ``experiments/pretraining.toml``: the same batches, rates and number of updates.

Arms: ``both`` has the paper's two changes (regions that overlap a hidden one are hidden too; nothing hidden is told of
swapped captions), ``overlap`` and ``swapped`` have that one alone, ``neither`` is ViLBERT's pretraining. What a
pretraining has learnt is measured alike for all arms: with both changes.

Intervals are 95 %, by bootstrap over test examples, each task counting once: they say how sure a figure is for these
very models. How much another seed moves it is seen seed by seed. Interrupt it anywhere: the same command goes on.
Writes OUT/pretraining.md and OUT/pretraining.json; arms compare over the seeds that both have.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from twelvefold import datasets
from twelvefold.config.recipe import PretrainingConfig, Recipe
from twelvefold.data.masking import MaskedBatches
from twelvefold.data.region_inputs import RegionSource
from twelvefold.data.task_loader import TaskBatches
from twelvefold.evaluate import evaluate
from twelvefold.evaluation.predictions import predictions_path, read_predictions
from twelvefold.features.extract import extract
from twelvefold.model import Model
from twelvefold.preparation.prepare import prepare_recipe
from twelvefold.pretrain import pretrain
from twelvefold.progress import track
from twelvefold.schema import TwelvefoldError
from twelvefold.store import atomic_files, worker_pool
from twelvefold.store.prepared import Prepared
from twelvefold.train import train
from twelvefold.training.checkpoints import Checkpoints
from twelvefold.training.objectives import METRICS, Evaluator, masked_accuracies, retrieval_evaluator
from twelvefold.world.write import make_world

RECIPE = Path(__file__).with_suffix(".toml")
SCRATCH, NEITHER = "scratch", "neither"
ARMS: dict[str, dict[str, bool]] = {
    "both": {"mask_overlapping": True, "predict_on_mismatched": False},
    "overlap": {"mask_overlapping": True, "predict_on_mismatched": True},
    "swapped": {"mask_overlapping": False, "predict_on_mismatched": False},
    NEITHER: {"mask_overlapping": False, "predict_on_mismatched": True},
}
WORLD = 1
"""Seed of the world of captions. The demo's, for the tasks, is 0."""
POOL = 100
"""Pictures that captions are searched in."""
STEPS = 500
"""Pretraining iterations: two batches of 64 captions each, three and a half times through COCO's, twelve through
Flickr30k's. Set by the time that there was, four minutes of a core for each model; nothing was tuned."""
DRAWS = 2_000
"""Bootstrap samples, as in the other experiments."""

Numbers = NDArray[np.float64]
Scores = Mapping[str, Mapping[str, float]]
"""Of one model: 0..1 by task and example."""
BySeed = Mapping[int, Scores]


@dataclass(frozen=True, slots=True)
class Job:
    """One model: pretrained where it is not from scratch, trained on the tasks, scored."""

    arm: str
    seed: int
    captions: Recipe
    tasks: Recipe
    run: Path
    out: Path

    @property
    def folder(self) -> Path:
        return self.out / f"seed-{self.seed}" / self.arm

    def done(self) -> bool:
        return (self.folder / "scores.json").exists()


def jobs(run: Path, out: Path, seeds: int, arms: Sequence[str], steps: int) -> list[Job]:
    """All models, seed by seed, so that an early end leaves whole seeds."""
    captions, tasks = Recipe.load("pretrain_world"), Recipe.load(RECIPE)
    quiet = msgspec.structs.replace(
        captions.training, iterations=steps, eval_interval=0, processes=1, tensorboard=False
    )
    found = []
    for seed in range(seeds):
        for arm in (SCRATCH, *arms):
            choice = msgspec.structs.replace(captions.pretraining or PretrainingConfig(), **ARMS.get(arm, {}))
            own = msgspec.structs.replace(captions, seed=seed, pretraining=choice, training=quiet)
            found.append(Job(arm, seed, own, msgspec.structs.replace(tasks, seed=seed), run, out))
    return found


def one(job: Job) -> None:
    """Pretrain, train and score one model, in this process and on one thread."""
    torch.set_num_threads(1)
    recipe = job.tasks
    if job.arm != SCRATCH:
        before = job.folder.with_name(f"{job.arm}-pretrained")
        pretrain(job.captions, job.out / "captions", job.out / "regions", before)
        recipe = recipe.with_initial(before)
    prepared, regions = job.out / "prepared", job.run / "regions"
    train(recipe, prepared, regions, job.folder)
    evaluate(job.folder, prepared=prepared, regions=regions, processes=1)


def prepare_all(run: Path, out: Path, processes: int) -> None:
    """The other world, its regions and captions, and the tasks' tables."""
    captions = Recipe.load("pretrain_world")
    if captions.world is None:
        raise TwelvefoldError(f"recipe {captions.name} says nothing of a world to pretrain on")
    make_world(out / "world", images=captions.world.images, seed=WORLD, workers=processes)
    extract(out / "world", out / "regions", processes=processes, tasks={})
    prepare_recipe(captions, out / "world", out / "regions", out / "captions")
    prepare_recipe(Recipe.load(RECIPE), run / "world", run / "regions", out / "prepared")


def scores_of(job: Job) -> Scores:
    """The scores in 0..1 of a model's test examples by task and id."""
    found = {}
    for task in job.tasks.tasks:
        lines = read_predictions(predictions_path(job.folder, task, "test"))
        found[task] = {line.id: line.score for line in lines if line.score is not None}
    return found


class Gain(msgspec.Struct, frozen=True):
    """One arm less another, in percentage points: mean, interval, seed by seed; and by task, mean and seed by seed."""

    gain: float
    ci95: tuple[float, float]
    by_seed: dict[int, float]
    tasks: dict[str, float]


def gain(more: BySeed, less: BySeed) -> Gain | None:
    """What models of one arm score above those of another, on the same test examples, over the seeds that both have;
    None where they have none in common.

    Raises:
        TwelvefoldError: they were scored on other examples.
    """
    seeds = sorted(more.keys() & less.keys())
    if not seeds:
        return None
    random, draws, by_task = np.random.default_rng(0), [], {}
    for task in more[seeds[0]]:
        ids = sorted(more[seeds[0]][task])
        if any(sorted(arm[seed][task]) != ids for arm in (more, less) for seed in seeds):
            raise TwelvefoldError(f"{task}: the models were scored on different examples; evaluate them all anew")
        one, other = (np.array([[arm[seed][task][id_] for id_ in ids] for seed in seeds]) for arm in (more, less))
        difference: Numbers = 100 * (one - other)
        by_task[task] = difference.mean(axis=1)
        each = difference.mean(axis=0)
        draws.append(each[random.integers(len(each), size=(DRAWS, len(each)))].mean(axis=1))
    low, high = np.quantile(np.mean(draws, axis=0), [0.025, 0.975])
    by_seed: Numbers = np.mean(list(by_task.values()), axis=0)
    return Gain(
        round(float(by_seed.mean()), 2),
        (round(float(low), 2), round(float(high), 2)),
        {seed: round(float(g), 2) for seed, g in zip(seeds, by_seed, strict=True)},
        {task: round(float(g.mean()), 2) for task, g in by_task.items()},
    )


def average(scores: Scores) -> float:
    """The average over tasks, in percent."""
    return 100 * float(np.mean([np.mean(list(own.values())) for own in scores.values()]))


def learnt(job: Job) -> dict[str, float]:
    """What a pretraining has learnt, in percent, the mean of its caption sets: on all captions of the other world's
    test pictures, which no model has seen, hidden as the paper hides. Kept beside the run."""
    run = job.folder.with_name(f"{job.arm}-pretrained")
    path = run / "learnt.json"
    if not path.exists():
        atomic_files.write_json(path, measure(job, Model.load(Checkpoints(run / "checkpoints").latest)))
    found: dict[str, float] = atomic_files.read_json(path)
    return found


@torch.inference_mode()
def measure(job: Job, model: Model) -> dict[str, float]:
    prepared, regions = Prepared.open(job.out / "captions"), RegionSource.open(job.out / "regions")
    found: dict[str, list[float]] = {}
    for spec in job.captions.task_specs(lambda name: datasets.load_dataset(name).TASK):
        captions = TaskBatches.open(prepared, regions, spec, "test")
        masked = MaskedBatches(captions, model.embedded_pieces, PretrainingConfig())
        evaluators = Evaluator(METRICS, masked.eval_batches, masked_accuracies), retrieval_evaluator(captions, POOL)
        for evaluator in evaluators:
            batches = [evaluator.score(model, batch) for batch in evaluator.batches(100, 0, 1)]
            for name, scores in zip(evaluator.metrics, zip(*batches, strict=True), strict=True):
                found.setdefault(name, []).append(100 * torch.cat(scores).mean().item())
    return {name: float(np.mean(sets)) for name, sets in found.items()}


def report(found: Sequence[Job], out: Path) -> str:
    """The tables of all models that are there, also in OUT/pretraining.md, with their numbers in pretraining.json."""
    by_arm: dict[str, list[Job]] = {}
    for job in found:
        if job.done():
            by_arm.setdefault(job.arm, []).append(job)
    if SCRATCH not in by_arm:
        raise TwelvefoldError(f"no model from scratch in {out} is scored yet; the same command goes on")
    scored = {arm: {job.seed: scores_of(job) for job in own} for arm, own in by_arm.items()}
    measures = {arm: {job.seed: learnt(job) for job in own} for arm, own in by_arm.items() if arm != SCRATCH}
    above = {
        other: {arm: one for arm in scored if arm != other and (one := gain(scored[arm], scored[other])) is not None}
        for other in (SCRATCH, NEITHER)
        if other in scored
    }
    averages = {arm: {seed: round(average(one), 2) for seed, one in own.items()} for arm, own in scored.items()}
    said = {"averages": averages, "measures": measures, "above": msgspec.to_builtins(above)}
    atomic_files.write_json(out / "pretraining.json", said)
    text = tables(scored, above, measures)
    atomic_files.write_text(out / "pretraining.md", text)
    return text


def tables(
    scored: Mapping[str, BySeed],
    above: Mapping[str, Mapping[str, Gain]],
    measures: Mapping[str, Mapping[int, Mapping[str, float]]],
) -> str:
    """Three tables: averages by arm, tasks by arm, what the pretrainings had learnt. Means of the first two are over
    the seeds that all arms have."""
    common = sorted(set.intersection(*(set(own) for own in scored.values())))
    heads = [cell for other in above for cell in (f"above {other}", "by seed")]
    lines = [f"| start | average | by seed | {' | '.join(heads)} |", "|---|---|---|" + "---|" * len(heads)]
    for arm, own in scored.items():
        each = {seed: average(scores) for seed, scores in own.items()}
        cells = [cell for gains in above.values() for cell in _gain_cells(gains.get(arm))]
        mean = np.mean([each[seed] for seed in common])
        by_seed = ", ".join(f"{one:.1f}" for one in each.values())
        lines.append(f"| {arm} | {mean:.1f} | {by_seed} | {' | '.join(cells)} |")
    lines += ["", "| task | " + " | ".join(scored) + " |", "|---|" + "---|" * len(scored)]
    for task in next(iter(scored[SCRATCH].values())):
        means = [np.mean([100 * np.mean(list(own[s][task].values())) for s in common]) for own in scored.values()]
        lines.append(f"| {task} | " + " | ".join(f"{mean:.1f}" for mean in means) + " |")
    if measures:
        names = list(next(iter(next(iter(measures.values())).values())))
        lines += ["", "| pretraining | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
        for arm, seeds in measures.items():
            each_mean = [float(np.mean([one[name] for one in seeds.values()])) for name in names]
            lines.append(f"| {arm} | " + " | ".join(f"{mean:.1f}" for mean in each_mean) + " |")
    return "\n".join([*lines, ""])


def _gain_cells(found: Gain | None) -> tuple[str, str]:
    if found is None:
        return "", ""
    low, high = found.ci95
    return f"{found.gain:+.1f} ({low:+.1f} to {high:+.1f})", ", ".join(f"{one:+.1f}" for one in found.by_seed.values())


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("run", type=Path, help="a run of twelvefold demo, for its world and regions")
    arguments.add_argument("out", type=Path)
    arguments.add_argument("--seeds", type=int, default=2)
    arguments.add_argument("--arms", nargs="*", choices=list(ARMS), default=list(ARMS))
    arguments.add_argument("--steps", type=int, default=STEPS, help="pretraining iterations")
    arguments.add_argument("--processes", type=int, default=2, help="models trained at once, one thread each")
    arguments.add_argument("--report", action="store_true", help="only write down what is there")
    given = arguments.parse_args()
    all_jobs = jobs(given.run, given.out, given.seeds, given.arms, given.steps)
    if not given.report:
        prepare_all(given.run, given.out, given.processes)
        with worker_pool.create_pool(given.processes) as pool:
            running = [pool.submit(one, job) for job in all_jobs if not job.done()]
            for done in track(as_completed(running), description="models", total=len(running)):
                done.result()
    print(report(all_jobs, given.out))


if __name__ == "__main__":
    main()
