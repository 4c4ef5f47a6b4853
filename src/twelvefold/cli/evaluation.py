"""Commands that score a run: evaluate, calibrate, baselines, report, submit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from cyclopts import Parameter
from rich.table import Table

from twelvefold.cli.computing import computing_on
from twelvefold.cli.from_function import Flag, Output, command
from twelvefold.config.recipe import Recipe
from twelvefold.datasets.reading.submissions import SCORED_BY_SERVER
from twelvefold.evaluate import evaluate as evaluate_run
from twelvefold.evaluation.baselines import baselines as score_baselines
from twelvefold.evaluation.baselines import compare_with_baselines, list_uncompared
from twelvefold.evaluation.calibrate import SEED, FittedTemperature
from twelvefold.evaluation.calibrate import calibrate as calibrate_run
from twelvefold.evaluation.scores import Baselines, Scores
from twelvefold.evaluation.submit import ONLY, SubmitSummary
from twelvefold.evaluation.submit import submit as write_submission
from twelvefold.model.feature_statistics import FILE, MIN_IMAGES
from twelvefold.reporting.report import ReportSummary
from twelvefold.reporting.report import report as write_report
from twelvefold.training.checkpoints import checkpoint_folder

Arguments = Mapping[str, Any]


@command(
    evaluate_run,
    example="""
        twelvefold evaluate runs/demo
        twelvefold evaluate runs/demo --tasks gqa nlvr2 --json
        twelvefold evaluate models/published --recipe paper/multi_task --prepared prepared --regions regions \\
        --out runs/published""",
    computes=computing_on,
)
def evaluate(scores: Scores, arguments: Arguments) -> Output:
    table = Table("task", "metric", "score", "95 % interval", "examples", "calibration error (ECE)")
    table.title = f"{arguments['run']}, {arguments.get('split', 'test')}"
    for name, task in scores.tasks.items():
        error = f"{task.reliability.error:.1f}" if task.reliability else ""
        if task.score is None:
            table.add_row(name, task.metric, SCORED_BY_SERVER, "", f"{task.unlabeled:,}", "")
            continue
        table.add_row(name, task.metric, f"{task.score:.1f}", _interval(task.ci95), f"{task.n:,}", error)
        if text := task.text_retrieval:
            table.add_row("  text retrieval", text.metric, f"{text.score:.1f}", _interval(text.ci95), f"{text.n:,}", "")
    lines = [scores.describe_average()] if scores.known else []
    for name, reason in scores.unknown.items():
        lines += [f"{name}: {reason}", f"    {scores.submit[name]}"] if name in scores.submit else [f"{name}: {reason}"]
    lines += [f"{name}: not in the average, {reason}" for name, reason in scores.missing.items()]
    lines += [f"{name}: {sentence}" for name, task in scores.tasks.items() for sentence in task.limitations]
    return Output("\n".join(lines), [table], json=scores.to_json())


def _interval(ci95: tuple[float, float] | None) -> str:
    return f"{ci95[0]:.1f} to {ci95[1]:.1f}" if ci95 else ""


@command(calibrate_run, example="twelvefold calibrate runs/mine", computes=computing_on)
def calibrate(fitted: Mapping[str, FittedTemperature], arguments: Arguments) -> Output:
    table = Table("task", "temperature", "kept", "error before", "after", "fitted on", "checked on")
    for name, task in fitted.items():
        each = task.calibration
        errors = ["" if error is None else f"{error:.1f}" for error in (each.error_raw, each.error)]
        counts = (f"{each.n_fit:,}", f"{each.n_check:,}")
        kept = "yes" if each.kept else "no" if each.n_fit else "no labels of val"
        table.add_row(name, f"{each.temperature:.3f}", kept, *errors, *counts)
    text = (
        f"Each temperature was fitted on one half of the validation images (seed {SEED}) and checked on the other; "
        "errors are calibration errors (ECE) there, in points. A temperature that does not help there is not used."
    )
    if withheld := [name for name, task in fitted.items() if not task.test_is_labeled]:
        text += (
            f"\nThe test labels of {', '.join(withheld)} are withheld, so evaluate cannot measure their calibration "
            "errors on test: those on validation images are all that is known."
        )
    if not (checkpoint_folder(arguments["run"], arguments.get("checkpoint", "latest")) / FILE).exists():
        text += (
            f"\nFewer than {MIN_IMAGES} validation images are not among the training images, so that no statistics of "
            "them were made: the model will not recognize images of another kind."
        )
    return Output(text, [table])


@command(
    score_baselines,
    example="twelvefold baselines runs/demo",
    problem="the interval of a test score (from `twelvefold evaluate`) does not lie above all baselines",
    computes=computing_on,
)
def baselines(results: Baselines, arguments: Arguments) -> Output:
    table = Table("task", "chance", "majority", "text only", "image only")
    for name, task in results.tasks.items():
        cells = (task.chance, task.majority, task.text_only, task.image_only)
        table.add_row(name, *("unknown" if score is None else f"{score:.1f}" for score in cells))
    unknown = [name for name, task in results.tasks.items() if not task.n]
    lines = [f"{', '.join(unknown)}: {SCORED_BY_SERVER}, so there is nothing to compare here"] if unknown else []
    run = arguments["run"]
    if without := [name for name in Recipe.load_run(run).tasks if name not in results.tasks]:
        lines.append(f"{', '.join(without)}: no test examples")
    if uncompared := list_uncompared(run, results):
        lines.append(
            f"{', '.join(uncompared)}: not compared, as they have no test score; call `twelvefold evaluate {run}` "
            "and then this command again"
        )
    problems = compare_with_baselines(run, results)
    content = msgspec.to_builtins(results) | {"not_compared": uncompared, "not_above": problems}
    return Output("\n".join([*lines, *problems]), [table], exit_code=1 if problems else 0, json=content)


@command(write_report, example="twelvefold report runs/demo")
def report(summary: ReportSummary, arguments: Arguments) -> Output:
    return Output(f"{summary.html}\n{summary.json}")


def _write_part_only(arguments: dict[str, Any]) -> None:
    arguments["part"] = arguments.get("part", "test") + ONLY


@command(
    write_submission,
    example="""
        twelvefold submit runs/mine --task vqav2 --split test-dev --data data/real --out vqa.json
        twelvefold submit runs/mine --task nlvr2 --data data/real --out nlvr2.csv""",
    flags=[
        Flag("split_only", "Write the questions of --split alone, where its server expects more.", _write_part_only)
    ],
    part=Parameter(name="--split"),
    box_format=Parameter(name="--boxes"),
)
def submit(summary: SubmitSummary, arguments: Arguments) -> Output:
    counts = {
        "predictions of other questions left out": summary.left_out,
        "expressions got an empty box: nothing was detected": summary.unanswered,
        "malformed records of the official file are not in it": summary.malformed,
    }
    lines = [f"{summary.file}: {summary.questions:,} questions of {arguments['task']}"]
    return Output("\n".join([*lines, *(f"{count:,} {text}" for text, count in counts.items() if count)]))
