"""Compare two runs honestly: paired tests by image or by seed, corrected for the number of tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from twelvefold.evaluation.paired_tests import (
    ALPHA,
    DifferenceTest,
    ImageSums,
    Numbers,
    average_image_test,
    holm,
    paired_image_test,
    seed_test,
)
from twelvefold.evaluation.run_predictions import (
    WITHHELD,
    EvaluatedRun,
    ExampleReader,
    check_same_test_set,
    choose_tasks,
    have_same_weights,
    open_side,
)
from twelvefold.schema import Split, TwelvefoldError

Sides = tuple[Sequence[EvaluatedRun], Sequence[EvaluatedRun]]
Unit = Literal["image", "seed"]
Verdict = Literal["better", "worse", "no significant difference"]

SIGN_FLIPS, PAIRED_SEEDS, WELCH = "sign flips of images", "paired t-test by seed", "Welch's t-test over seeds"
NO_SPREAD = "its scores have no spread between seeds, so that a difference cannot be tested"

MAX_IDS = 5
"""Ids of unmatched examples that a result names for each side."""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A difference ``other - baseline`` in percentage points, with its test.

    baseline, other: scores in percent; means over the seeds. ci95: 95 % interval. p: two-sided. p_corrected: by Holm
    for the number of tasks; None for the average, which is one test. detectable: the smallest difference that a test
    with this standard error finds with a power of 80 % at the uncorrected 5 % level; None if all scores are equal.
    beyond_tolerance: False if it is a significant loss that the tolerance accepts. baseline_by_seed, other_by_seed:
    scores of the runs in the order of their seeds; empty with one run a side.
    """

    baseline: float
    other: float
    difference: float
    ci95: tuple[float, float]
    p: float
    p_corrected: float | None
    detectable: float | None
    verdict: Verdict
    beyond_tolerance: bool = True
    baseline_by_seed: tuple[float, ...] = ()
    other_by_seed: tuple[float, ...] = ()


class TaskDifference(Difference, frozen=True, kw_only=True):
    """The difference of one task. n: examples that all runs scored; images: of these examples."""

    metric: str
    n: int
    images: int


class Unmatched(msgspec.Struct, frozen=True):
    """Scored examples of a task that the runs of one side do not have in common with the other's, and some ids."""

    only_baseline: int
    only_other: int
    baseline_ids: tuple[str, ...] = ()
    other_ids: tuple[str, ...] = ()


class RunComparison(msgspec.Struct, frozen=True, kw_only=True):
    """The comparison of two runs, or of several seeds of two recipes.

    baseline, other: folders of the runs. unit: what was resampled; units: how many there are on each side, or images
    in all. test: the test's name. average: over the tasks in ``tasks``; None for a single task. not_compared: tasks
    that only one side has, or without labels, and why. unmatched: examples of compared tasks that only one side has.
    """

    baseline: tuple[str, ...]
    other: tuple[str, ...]
    split: str
    unit: Unit
    units: tuple[int, ...]
    test: str
    tolerance: float
    tasks: dict[str, TaskDifference]
    average: Difference | None
    not_compared: dict[str, str]
    unmatched: dict[str, Unmatched]
    notes: tuple[str, ...] = ()

    @property
    def worse(self) -> list[str]:
        """Return what is significantly worse by more than the tolerance: tasks, and ``average``."""
        rows: dict[str, Difference] = {**self.tasks, **({"average": self.average} if self.average else {})}
        return [name for name, row in rows.items() if row.verdict == "worse" and row.beyond_tolerance]

    @property
    def exit_code(self) -> int:
        """Return 1 if something is worse, else 3 if something was not compared, else 0."""
        return 1 if self.worse else 3 if self.not_compared or self.unmatched else 0


class PairedScores(msgspec.Struct, frozen=True):
    """Scores of a task in percent on the examples that all runs have: baseline (s, n), other (t, n), and the image of
    each example."""

    metric: str
    baseline: Numbers
    other: Numbers
    images: list[str]


def compare_runs(
    baseline: Path,
    other: Path,
    *,
    more_baseline: Sequence[Path] = (),
    more_other: Sequence[Path] = (),
    tasks: Sequence[str] = (),
    split: Split = "test",
    tolerance: float = 0.0,
    prepared: Path | None = None,
) -> RunComparison:
    """Test whether a run is better or worse than a baseline, task by task and on average.

    Both runs must be evaluated on the same test examples, which are paired by id. **One run a side**: images are the
    unit, because questions about one image tend to be right or wrong together. The interval is a bootstrap of images;
    the p-value is from random sign flips of whole images. This is about these two trained models: training with
    another seed would give other ones. **Several runs a side**, of different seeds: the seed is the unit (paired
    t-test if both sides have the same seeds, else Welch's t-test), so the result is about the recipes.

    P-values of the tasks are corrected for the number of tasks by Holm's method; the average is a single test. A
    difference is significant if its (corrected) p-value is below 0.05. The smallest detectable difference is what a
    test with this standard error finds in 80 % of cases at the uncorrected 5 % level: a smaller true difference would
    probably have been missed.

    Exit code 3 if nothing is worse, but some tasks or examples could not be compared: only one side has them, or their
    labels are withheld. ``--tasks`` restricts the comparison.

    Args:
        baseline: Run to compare with, or a folder of runs of several seeds, named ``seed-*``.
        other: Run that may be better or worse, or a folder of runs as ``baseline``.
        more_baseline: Further runs of the baseline's recipe, of other seeds.
        more_other: Further runs of the other recipe, of other seeds.
        tasks: Tasks to compare, as ``gqa nlvr2`` or ``gqa,nlvr2``; default: all.
        split: Split whose predictions are compared. Choose between models by ``val``, and report ``test``.
        tolerance: Accept significant losses of at most this many percentage points.
        prepared: Folder that ``prepare`` wrote, for all runs; by default the ones that the runs remember.

    Raises:
        TwelvefoldError: a run is missing or was not evaluated, the runs were evaluated on other data, predictions do
            not match the scores, the runs of a side are not seeds of one recipe, one side has several runs and the
            other has one, no task can be compared, or the tolerance is negative.
    """
    if not 0 <= tolerance <= 100:
        raise TwelvefoldError(f"--tolerance must be 0 to 100 percentage points, got {tolerance}")
    examples = ExampleReader(split)
    sides = (
        open_side(baseline, more_baseline, examples, prepared),
        open_side(other, more_other, examples, prepared),
    )
    _check_sides(*sides)
    chosen = choose_tasks([*sides[0], *sides[1]], tasks)
    return _compare_tasks(sides, chosen, split, tolerance)


def _compare_tasks(sides: Sides, tasks: Sequence[str], split: Split, tolerance: float) -> RunComparison:
    pairs, not_compared, unmatched = _pair_tasks(sides, tasks)
    has_seeds, paired = len(sides[0]) > 1, _have_same_seeds(*sides)
    tests = {task: _test_task(pair, paired=paired) for task, pair in pairs.items()}
    results = {task: result for task, result in tests.items() if result is not None}
    not_compared |= {task: NO_SPREAD for task in tests if task not in results}
    if not results:
        reasons = "; ".join(f"{task}: {reason}" for task, reason in not_compared.items())
        raise TwelvefoldError(f"no task of {sides[0][0].run} and {sides[1][0].run} can be compared: {reasons}")
    pairs = {task: pairs[task] for task in results}
    num_images = len({image for pair in pairs.values() for image in pair.images})
    return RunComparison(
        baseline=tuple(str(run.run) for run in sides[0]),
        other=tuple(str(run.run) for run in sides[1]),
        split=split,
        unit="seed" if has_seeds else "image",
        units=(len(sides[0]), len(sides[1])) if has_seeds else (num_images,),
        test=(PAIRED_SEEDS if paired else WELCH) if has_seeds else SIGN_FLIPS,
        tolerance=tolerance,
        tasks=_describe_tasks(pairs, results, tolerance),
        average=_describe_average(pairs, _test_average(pairs, paired=paired), tolerance),
        not_compared=not_compared,
        unmatched=unmatched,
        notes=tuple(_notes(sides, list(pairs))),
    )


def _check_sides(baseline: Sequence[EvaluatedRun], other: Sequence[EvaluatedRun]) -> None:
    both = {run.run.resolve() for run in baseline} & {run.run.resolve() for run in other}
    if both:
        raise TwelvefoldError(f"{min(both)} is on both sides; expected two different runs")
    if (len(baseline) == 1) != (len(other) == 1):
        raise TwelvefoldError(
            f"the baseline has {len(baseline)} and the other side {len(other)} runs; state one run a side (images are "
            "the unit), or at least two a side (seeds are the unit), with --more-baseline, --more-other, or a folder "
            "of runs named seed-*"
        )


def _pair_tasks(
    sides: Sides, tasks: Sequence[str]
) -> tuple[dict[str, PairedScores], dict[str, str], dict[str, Unmatched]]:
    """Return the scores of the tasks that can be compared, why others cannot, and the unmatched examples."""
    pairs, not_compared, unmatched = {}, {}, {}
    for task in tasks:
        if reason := _why_not_compared(sides, task):
            not_compared[task] = reason
            continue
        for run in (*sides[0][1:], *sides[1]):
            check_same_test_set(task, sides[0][0], run)
        predictions = [[run.read_predictions(task) for run in side] for side in sides]
        ids = [set.intersection(*(set(each.scores) for each in side)) for side in predictions]
        every = set().union(*(each.scores for side in predictions for each in side))
        common = sorted(ids[0] & ids[1])
        first = predictions[0][0]
        if not common:
            names = " and ".join(repr(next(iter(side[0].scores), "")) for side in predictions)
            raise TwelvefoldError(
                f"{task}: {sides[0][0].run} and {sides[1][0].run} were evaluated on other data: they have no example "
                f"id in common, such as {names}; evaluate all runs on the same prepared folder"
            )
        if len(common) < len(every):
            missing = [sorted(every - ids[1]), sorted(every - ids[0])]
            unmatched[task] = Unmatched(
                len(missing[0]), len(missing[1]), tuple(missing[0][:MAX_IDS]), tuple(missing[1][:MAX_IDS])
            )
            if first.searches_images:
                not_compared[task] = "the runs searched different sets of images, which makes the task harder or easier"
                continue
        images = [first.images[id_] for id_ in common]
        if len(set(images)) < 2:
            not_compared[task] = f"the runs have {len(common):,} scored examples in common, of fewer than two images"
            continue
        baseline, other = (
            100 * np.array([[each.scores[id_] for id_ in common] for each in side]) for side in predictions
        )
        pairs[task] = PairedScores(first.score.metric, baseline, other, images)
    return pairs, not_compared, unmatched


def _why_not_compared(sides: Sides, task: str) -> str:
    runs = [*sides[0], *sides[1]]
    reasons = {str(run.run): reason for run in runs if (reason := run.why_missing(task))}
    if len(reasons) == len(runs) and set(reasons.values()) == {WITHHELD}:
        return f"{WITHHELD} (leave it out with --tasks)"
    if reasons:
        return "; ".join(f"{run}: {reason}" for run, reason in reasons.items())
    metrics = sorted({run.scores.tasks[task].metric for run in runs})
    return f"the runs have different metrics: {', '.join(metrics)}" if len(metrics) > 1 else ""


def _have_same_seeds(baseline: Sequence[EvaluatedRun], other: Sequence[EvaluatedRun]) -> bool:
    seeds = [[run.recipe.seed for run in side] for side in (baseline, other)]
    return seeds[0] == seeds[1] and len(set(seeds[0])) == len(seeds[0])


def _test_task(pair: PairedScores, *, paired: bool) -> DifferenceTest | None:
    """Test a task by image with one run a side, else by seed; None if the seeds' scores have no spread."""
    if len(pair.baseline) == 1:
        return paired_image_test((pair.other - pair.baseline)[0], pair.images)
    return seed_test(pair.baseline.mean(axis=1), pair.other.mean(axis=1), paired=paired)


def _test_average(pairs: Mapping[str, PairedScores], *, paired: bool) -> DifferenceTest | None:
    """Test the average over tasks; None for a single task, or if it has no spread between seeds."""
    if len(pairs) < 2:
        return None
    if any(len(pair.baseline) > 1 for pair in pairs.values()):
        return seed_test(*_average_by_run(pairs), paired=paired)
    return average_image_test([ImageSums.of((pair.other - pair.baseline)[0], pair.images) for pair in pairs.values()])


def _average_by_run(pairs: Mapping[str, PairedScores]) -> tuple[Numbers, Numbers]:
    """Return the average over tasks of each run, (s,) and (t,)."""
    baseline = np.mean([pair.baseline.mean(axis=1) for pair in pairs.values()], axis=0)
    return baseline, np.mean([pair.other.mean(axis=1) for pair in pairs.values()], axis=0)


def _describe_tasks(
    pairs: Mapping[str, PairedScores], tests: Mapping[str, DifferenceTest], tolerance: float
) -> dict[str, TaskDifference]:
    corrected = dict(zip(tests, holm([test.p for test in tests.values()]), strict=True))
    return {
        task: TaskDifference(
            **_describe(test, corrected[task], tolerance, pair.baseline.mean(axis=1), pair.other.mean(axis=1)),
            metric=pair.metric,
            n=len(pair.images),
            images=len(set(pair.images)),
        )
        for task, test in tests.items()
        for pair in [pairs[task]]
    }


def _describe_average(
    pairs: Mapping[str, PairedScores], test: DifferenceTest | None, tolerance: float
) -> Difference | None:
    return None if test is None else Difference(**_describe(test, None, tolerance, *_average_by_run(pairs)))


def _describe(
    test: DifferenceTest, p_corrected: float | None, tolerance: float, baseline: Numbers, other: Numbers
) -> dict[str, Any]:
    """Return the fields of :class:`Difference`, rounded."""
    significant = (test.p if p_corrected is None else p_corrected) < ALPHA
    verdict: Verdict = "no significant difference"
    if significant:
        verdict = "better" if test.difference > 0 else "worse"
    several = len(baseline) > 1
    return {
        "baseline": round(float(baseline.mean()), 2),
        "other": round(float(other.mean()), 2),
        "difference": round(test.difference, 2),
        "ci95": (round(test.ci95[0], 2), round(test.ci95[1], 2)),
        "p": round(test.p, 6),
        "p_corrected": None if p_corrected is None else round(p_corrected, 6),
        "detectable": None if test.detectable is None else round(test.detectable, 2),
        "verdict": verdict,
        "beyond_tolerance": verdict != "worse" or test.difference < -tolerance,
        "baseline_by_seed": tuple(round(float(score), 2) for score in baseline) if several else (),
        "other_by_seed": tuple(round(float(score), 2) for score in other) if several else (),
    }


def _notes(sides: Sides, tasks: Sequence[str]) -> list[str]:
    """Return sentences about what else differs between the sides."""
    notes = [
        f"{first.run} and {second.run} have the same weights"
        for first in sides[0]
        for second in sides[1]
        if have_same_weights(first, second)
    ]
    for task in tasks:
        used = [{run.scores.tasks[task].shortlist for run in side} for side in sides]
        sizes = [sorted("all images" if use is None else f"shortlists of {use.size}" for use in side) for side in used]
        if sizes[0] != sizes[1]:
            notes.append(
                f"{task}: the baseline was scored by {', '.join(sizes[0])}, the other by {', '.join(sizes[1])}"
            )
    return notes
