"""Measure the effect of pretraining, and of the paper's two changes to it, at equal multi-task updates.

    python experiments/pretraining.py runs/demo runs/pretraining --seeds 2

Paper: sections 3.1 and 4.1. The twelve tasks use the world and regions of a run of ``twelvefold demo``. Pretraining
uses the captions of another world, of another seed, that shares no image with it, as Conceptual Captions shares none
with the tasks. For each seed one model learns the twelve tasks from scratch, and one from the pretraining of each arm,
all with ``experiments/pretraining.toml``: the same batches, learning rates and number of updates.

Arms: ``both`` has the paper's two changes (also mask regions that overlap a masked region; no masked loss on mismatched
captions), ``overlap`` and ``mismatched`` have only that one, ``neither`` is ViLBERT's pretraining. The validation
metrics of pretraining are measured in the same way for all arms.

Intervals are 95 %, by bootstrap over test examples with equal weight for each task: they state the uncertainty for
these trained models. Differences between seeds are listed by seed. After an interruption, the same command resumes.
Writes OUT/pretraining.md and OUT/pretraining.json; arms are compared over the seeds that both have.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
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
from twelvefold.data.task_batches import TaskBatches
from twelvefold.evaluate import evaluate
from twelvefold.evaluation.predictions import predictions_path, read_predictions
from twelvefold.features.extract import extract
from twelvefold.model import Model
from twelvefold.preparation.prepare import prepare_recipe
from twelvefold.pretrain import pretrain
from twelvefold.schema import TwelvefoldError
from twelvefold.store import atomic_files
from twelvefold.store.prepared import Prepared
from twelvefold.store.steps import Step, run_steps
from twelvefold.train import train
from twelvefold.training.checkpoints import Checkpoints
from twelvefold.training.objectives import MaskedEvaluator, ZeroShotRetrievalEvaluator
from twelvefold.world.write import make_world

RECIPE = Path(__file__).with_suffix(".toml")
SCRATCH, NEITHER = "scratch", "neither"
ARMS: dict[str, dict[str, bool]] = {
    "both": {"mask_overlapping": True, "predict_on_mismatched": False},
    "overlap": {"mask_overlapping": True, "predict_on_mismatched": True},
    "mismatched": {"mask_overlapping": False, "predict_on_mismatched": False},
    NEITHER: {"mask_overlapping": False, "predict_on_mismatched": True},
}
WORLD = 1
"""Seed of the world for pretraining. The demo's world, for the tasks, has seed 0."""
POOL = 100
"""Images in the retrieval pool."""
STEPS = 500
"""Pretraining iterations of two batches of 64 captions: 3.5 epochs of COCO's captions and 12 of Flickr30k's. Chosen so
that pretraining a model takes four minutes on one core; not tuned."""
RESAMPLES = 2_000
"""Bootstrap samples, as in the other experiments."""

Numbers = NDArray[np.float64]
Scores = Mapping[str, Mapping[str, float]]
"""Scores of one model in 0..1, by task and example id."""
BySeed = Mapping[int, Scores]


@dataclass(frozen=True, slots=True)
class Job:
    """A model to pretrain (unless its arm is ``scratch``), train on the tasks, and score."""

    arm: str
    seed: int
    captions: Recipe
    tasks: Recipe
    run: Path
    out: Path

    @property
    def folder(self) -> Path:
        return self.out / f"seed-{self.seed}" / self.arm

    @property
    def is_done(self) -> bool:
        return (self.folder / "scores.json").exists()


def jobs(run: Path, out: Path, seeds: int, arms: Sequence[str], steps: int) -> list[Job]:
    """Return all models, seed by seed, so that an early end leaves complete seeds."""
    captions, tasks = Recipe.load("pretrain_world"), Recipe.load(RECIPE)
    training = msgspec.structs.replace(
        captions.training, iterations=steps, eval_interval=0, processes=1, tensorboard=False
    )
    result = []
    for seed in range(seeds):
        for arm in (SCRATCH, *arms):
            config = msgspec.structs.replace(captions.pretraining or PretrainingConfig(), **ARMS.get(arm, {}))
            pretraining = msgspec.structs.replace(captions, seed=seed, pretraining=config, training=training)
            result.append(Job(arm, seed, pretraining, msgspec.structs.replace(tasks, seed=seed), run, out))
    return result


def train_and_score(job: Job) -> None:
    """Pretrain, train and score a model on one thread of this process."""
    torch.set_num_threads(1)
    recipe = job.tasks
    if job.arm != SCRATCH:
        pretraining_run = job.folder.with_name(f"{job.arm}-pretrained")
        pretrain(job.captions, job.out / "captions", job.out / "regions", pretraining_run)
        recipe = recipe.with_initial(pretraining_run)
    prepared, regions = job.out / "prepared", job.run / "regions"
    train(recipe, prepared, regions, job.folder)
    evaluate(job.folder, prepared=prepared, regions=regions, processes=1)


def prepare_all(run: Path, out: Path, processes: int) -> None:
    """Make the world for pretraining with its regions and captions, and the tables of the tasks."""
    captions = Recipe.load("pretrain_world")
    if captions.world is None:
        raise TwelvefoldError(f"recipe {captions.name} has no [world] to pretrain on")
    make_world(out / "world", images=captions.world.images, seed=WORLD, processes=processes)
    extract(out / "world", out / "regions", processes=processes, tasks={})
    prepare_recipe(captions, out / "world", out / "regions", out / "captions")
    prepare_recipe(Recipe.load(RECIPE), run / "world", run / "regions", out / "prepared")


def read_example_scores(job: Job) -> Scores:
    """Return the scores of a model's test examples, 0..1, by task and example id."""
    scores = {}
    for task in job.tasks.tasks:
        records = read_predictions(predictions_path(job.folder, task, "test"))
        scores[task] = {record.id: record.score for record in records if record.score is not None}
    return scores


class Gain(msgspec.Struct, frozen=True):
    """The score of one arm minus that of another, in percentage points: mean over tasks and seeds, its 95 % interval,
    the mean over tasks by seed, and the mean over seeds by task."""

    gain: float
    ci95: tuple[float, float]
    by_seed: dict[int, float]
    tasks: dict[str, float]


def gain(arm: BySeed, baseline: BySeed) -> Gain | None:
    """Return by how much an arm exceeds a baseline on the same test examples, over the seeds that both have.

    The result is None if they have no seed in common.

    Raises:
        TwelvefoldError: they were scored on different examples.
    """
    seeds = sorted(arm.keys() & baseline.keys())
    if not seeds:
        return None
    random, resampled, by_task = np.random.default_rng(0), [], {}
    for task in arm[seeds[0]]:
        ids = sorted(arm[seeds[0]][task])
        if any(sorted(models[seed][task]) != ids for models in (arm, baseline) for seed in seeds):
            raise TwelvefoldError(f"{task}: the models were scored on different examples; evaluate them all again")
        first, second = (
            np.array([[models[seed][task][id_] for id_ in ids] for seed in seeds])  # (seeds, examples)
            for models in (arm, baseline)
        )
        difference: Numbers = 100 * (first - second)
        by_task[task] = difference.mean(axis=1)
        by_example = difference.mean(axis=0)
        samples = random.integers(len(by_example), size=(RESAMPLES, len(by_example)))
        resampled.append(by_example[samples].mean(axis=1))
    low, high = np.quantile(np.mean(resampled, axis=0), [0.025, 0.975])
    by_seed: Numbers = np.mean(list(by_task.values()), axis=0)
    return Gain(
        round(float(by_seed.mean()), 2),
        (round(float(low), 2), round(float(high), 2)),
        {seed: round(float(value), 2) for seed, value in zip(seeds, by_seed, strict=True)},
        {task: round(float(values.mean()), 2) for task, values in by_task.items()},
    )


def average(scores: Scores) -> float:
    """Return the average over tasks, in percent."""
    return 100 * float(np.mean([np.mean(list(by_id.values())) for by_id in scores.values()]))


def pretraining_metrics(job: Job) -> dict[str, float]:
    """Return the metrics of a pretrained model in percent, averaged over caption sets; they are kept with its run.

    They are measured on all captions of the pretraining world's test images, which no model has trained on, masked as
    in the paper.
    """
    run = job.folder.with_name(f"{job.arm}-pretrained")
    path = run / "test_metrics.json"
    if not path.exists():
        atomic_files.write_json(path, measure(job, Model.load(Checkpoints(run / "checkpoints").latest)))
    metrics: dict[str, float] = atomic_files.read_json(path)
    return metrics


@torch.inference_mode()
def measure(job: Job, model: Model) -> dict[str, float]:
    """Measure the metrics of :func:`pretraining_metrics`."""
    prepared, regions = Prepared.open(job.out / "captions"), RegionSource.open(job.out / "regions")
    metrics: dict[str, list[float]] = {}
    for spec in job.captions.task_specs(lambda name: datasets.load_dataset(name).TASK):
        captions = TaskBatches.open(prepared, regions, spec, "test")
        masked = MaskedBatches(captions, model.embedded_pieces, PretrainingConfig())
        for evaluator in (MaskedEvaluator(masked), ZeroShotRetrievalEvaluator(captions, POOL)):
            batches = [evaluator.score(model, batch) for batch in evaluator.batches(100, 0, 1)]
            for name, scores in zip(evaluator.metrics, zip(*batches, strict=True), strict=True):
                metrics.setdefault(name, []).append(100 * torch.cat(scores).mean().item())
    return {name: float(np.mean(values)) for name, values in metrics.items()}


def report(all_jobs: Sequence[Job], out: Path) -> str:
    """Write OUT/pretraining.md and OUT/pretraining.json of all models that are scored, and return the former.

    Raises:
        TwelvefoldError: no model from scratch is scored.
    """
    by_arm: dict[str, list[Job]] = {}
    for job in all_jobs:
        if job.is_done:
            by_arm.setdefault(job.arm, []).append(job)
    if SCRATCH not in by_arm:
        raise TwelvefoldError(f"no model from scratch in {out} is scored yet; start the same command again to resume")
    scores = {arm: {job.seed: read_example_scores(job) for job in jobs} for arm, jobs in by_arm.items()}
    metrics = {
        arm: {job.seed: pretraining_metrics(job) for job in jobs} for arm, jobs in by_arm.items() if arm != SCRATCH
    }
    gains = {
        baseline: {
            arm: found
            for arm in scores
            if arm != baseline and (found := gain(scores[arm], scores[baseline])) is not None
        }
        for baseline in (SCRATCH, NEITHER)
        if baseline in scores
    }
    averages = {arm: {seed: round(average(model), 2) for seed, model in seeds.items()} for arm, seeds in scores.items()}
    content = {"averages": averages, "metrics": metrics, "above": msgspec.to_builtins(gains)}
    atomic_files.write_json(out / "pretraining.json", content)
    text = "\n".join([*average_table(scores, gains), "", *task_table(scores), *metric_table(metrics), ""])
    atomic_files.write_text(out / "pretraining.md", text)
    return text


def average_table(scores: Mapping[str, BySeed], gains: Mapping[str, Mapping[str, Gain]]) -> list[str]:
    """Return a table of averages and gains by arm; means are over the seeds that all arms have."""
    columns = [column for baseline in gains for column in (f"above {baseline}", "by seed")]
    lines = [f"| start | average | by seed | {' | '.join(columns)} |", "|---|---|---|" + "---|" * len(columns)]
    for arm, seeds in scores.items():
        averages = {seed: average(model) for seed, model in seeds.items()}
        mean = np.mean([averages[seed] for seed in _common_seeds(scores)])
        by_seed = ", ".join(f"{value:.1f}" for value in averages.values())
        cells = [cell for by_arm in gains.values() for cell in _gain_cells(by_arm.get(arm))]
        lines.append(f"| {arm} | {mean:.1f} | {by_seed} | {' | '.join(cells)} |")
    return lines


def task_table(scores: Mapping[str, BySeed]) -> list[str]:
    """Return a table of scores by task and arm, means over the seeds that all arms have."""
    common = _common_seeds(scores)
    lines = ["| task | " + " | ".join(scores) + " |", "|---|" + "---|" * len(scores)]
    for task in next(iter(scores[SCRATCH].values())):
        means = [np.mean([100 * np.mean(list(seeds[s][task].values())) for s in common]) for seeds in scores.values()]
        lines.append(f"| {task} | " + " | ".join(f"{mean:.1f}" for mean in means) + " |")
    return lines


def metric_table(metrics: Mapping[str, Mapping[int, Mapping[str, float]]]) -> list[str]:
    """Return a table of the metrics of pretraining by arm, means over seeds; no lines if there are none."""
    if not metrics:
        return []
    names = list(next(iter(next(iter(metrics.values())).values())))
    lines = ["", "| pretraining | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for arm, seeds in metrics.items():
        means = [float(np.mean([model[name] for model in seeds.values()])) for name in names]
        lines.append(f"| {arm} | " + " | ".join(f"{mean:.1f}" for mean in means) + " |")
    return lines


def _common_seeds(scores: Mapping[str, BySeed]) -> list[int]:
    return sorted(set.intersection(*(set(seeds) for seeds in scores.values())))


def _gain_cells(gain: Gain | None) -> tuple[str, str]:
    if gain is None:
        return "", ""
    low, high = gain.ci95
    by_seed = ", ".join(f"{value:+.1f}" for value in gain.by_seed.values())
    return f"{gain.gain:+.1f} ({low:+.1f} to {high:+.1f})", by_seed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run of twelvefold demo, whose world and regions are used")
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--arms", nargs="*", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--steps", type=int, default=STEPS, help="pretraining iterations")
    parser.add_argument("--processes", type=int, default=2, help="models trained in parallel, one thread each")
    parser.add_argument("--report", action="store_true", help="only write the report of the models that are scored")
    arguments = parser.parse_args()
    all_jobs = jobs(arguments.run, arguments.out, arguments.seeds, arguments.arms, arguments.steps)
    if not arguments.report:
        prepare_all(arguments.run, arguments.out, arguments.processes)
        steps = [Step(str(number), (job,)) for number, job in enumerate(all_jobs) if not job.is_done]
        run_steps(train_and_score, steps, description="models", processes=arguments.processes)
    print(report(all_jobs, arguments.out))


if __name__ == "__main__":
    main()
