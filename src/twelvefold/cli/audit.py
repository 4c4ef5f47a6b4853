"""The commands ``twelvefold audit ...``: find shared images, and explain why two names are the same image."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter
from rich.table import Table

from twelvefold.cli.from_function import Json, Output, TaskNames, print_result
from twelvefold.image_folder import skipped_lines
from twelvefold.schema import Evidence, ImageKey

if TYPE_CHECKING:
    from twelvefold.leakage.audit import AuditInputs
    from twelvefold.leakage.report import AuditReport

app = App(name="audit")

LEAK, NOT_EXAMINED = 1, 3
"""Exit codes: a leak was found; none was found, but not everything could be examined."""

MAX_LEAKS, MAX_OTHERS = 20, 5
"""Leaks that are printed, and lines of every other list; --json has all."""

Data = Annotated[
    Path | None,
    Parameter(help="A data folder with any of the twelve tasks; leave it out to audit sets of your own only."),
]


@Parameter(name="*")
@dataclass(frozen=True)
class InputOptions:
    """What is audited."""

    tasks: TaskNames = ()
    "Tasks to audit (as gqa nlvr2, or gqa,nlvr2), which must then be present; default: all of the twelve that are."
    collections: Path | None = None
    "A TOML or JSON file of your own, pretraining and detector sets."
    own: Annotated[tuple[str, ...], Parameter(negative="")] = ()
    "NAME:SPLIT=PATH, a folder of images or a list; NAME@SOURCE:SPLIT=PATH if the ids are of that source."
    pretraining: Annotated[tuple[str, ...], Parameter(negative="")] = ()
    "NAME=PATH: what a network was pretrained on."
    detector: Annotated[tuple[str, ...], Parameter(negative="")] = ()
    "NAME=PATH: what a detector was trained on."
    prepared: Path | None = None
    "The result of `twelvefold prepare`: audit its tables, as they are after cleaning."
    tables: Path | None = None
    "The result of `twelvefold prepare`: read its tables of all examples instead of files that have not changed since."
    evidence: Annotated[tuple[Evidence, ...], Parameter(consume_multiple=True, negative="")] = ()
    "Evidence that counts: ids bytes pixels looks features. Default: what --prepared was cleaned by, or the first four."
    regions: Path | None = None
    "The result of `twelvefold extract`, for evidence by features."
    cache_dir: Annotated[Path | None, Parameter(name=["--cache-dir", "--notes"])] = None
    "Folder that keeps comparisons of images; default: among your caches."
    skip_bad: Annotated[bool, Parameter(negative="")] = False
    "List malformed records and go on."
    allow_uncompared: Annotated[bool, Parameter(negative="")] = False
    "Exit with 0 although images with too little detail (drawings, icons ...) could not be compared by looks."
    processes: int = 1
    "Number of processes that read tasks and compare images."

    def collect(self, data: Path | None) -> AuditInputs:
        from twelvefold.leakage.audit import AuditConfig, collect_inputs
        from twelvefold.leakage.custom_sets import parse_flags

        options = asdict(self)
        del options["allow_uncompared"]
        custom_sets = [
            custom_set
            for purpose in ("own", "pretraining", "detector")
            for custom_set in parse_flags(options.pop(purpose), purpose)
        ]
        config = AuditConfig(custom_sets=custom_sets, **options)
        return collect_inputs(data, config)


DEFAULT_INPUTS = InputOptions()


@app.default
def audit(
    data: Data = None,
    *,
    inputs: InputOptions = DEFAULT_INPUTS,
    threshold: float = 0.0,
    val: Annotated[bool, Parameter(negative="")] = False,
    csv: Path | None = None,
    html: Path | None = None,
    listing: Path | None = None,
    json: Json = False,
) -> int:
    """Count, for every test set, how many of its images are in every train and val set (the paper's Table 1).

    ```
    twelvefold audit data/world
    twelvefold audit data/world --prepared prepared/world
    twelvefold audit --own cats:train=cats/train --own cats:test=cats/test --html audit.html
    ```

    Exit code 1 if a leak is above the threshold; 3 if there is none, but an image or a record could not be examined, or
    an image has too little detail to be compared by looks.

    Args:
        threshold: Percent of a test set that may leak, 0 to 100.
        val: Count val images in train sets as leaks too.
        csv: File for both matrices, a line for each cell.
        html: File for a page with heat maps and near-duplicate images.
        listing: CSV file for every shared image, with both its names and the evidence.
    """
    from twelvefold.leakage.audit import audit as run_audit
    from twelvefold.leakage.audit import check_threshold
    from twelvefold.leakage.overlap import TRAINED_SPLITS
    from twelvefold.store import atomic_files

    check_threshold(threshold)  # before everything is read
    result = run_audit(inputs.collect(data), threshold=threshold, val=val, allow_uncompared=inputs.allow_uncompared)
    report = result.report
    for file, make_text in ((csv, report.csv), (html, result.html), (listing, result.shared_images_csv)):
        if file is not None:
            atomic_files.write_text(file, make_text())
    tables: list[str | Table] = []
    for split, trained in TRAINED_SPLITS.items():
        table = report.table(split)
        title = f"Percent of {split} images (rows) in {' and '.join(trained)} (columns)"
        tables += [title, table] if table.row_count else []
    exit_code = LEAK if report.leaks else 0 if report.is_complete else NOT_EXAMINED
    output = Output("\n".join(_summary_lines(report)), tables, exit_code)
    return print_result(report, output, json=json)


@app.command
def why(
    first: str, second: str, data: Data = None, *, inputs: InputOptions = DEFAULT_INPUTS, json: Json = False
) -> int:
    """Explain why two names are the same image: the links between them with their evidence, and the sets with each.

    ```
    twelvefold audit why coco/391895 vg/2318324 data/world
    ```

    Exit code 1 if they are not known to be the same image.

    Args:
        first: A name such as coco/391895.
        second: Another name.
    """
    from twelvefold.leakage.audit import explain_link

    explanation = explain_link(inputs.collect(data), ImageKey.parse(first), ImageKey.parse(second))
    print_result(explanation, Output(str(explanation)), json=json)
    return 0 if explanation.is_same else 1


def _summary_lines(report: AuditReport) -> list[str]:
    leaks, others = report.leaks, [finding for finding in report.findings if not finding.is_leak]
    some = "" if report.is_complete else " in what could be examined; not everything could, see below"
    lines = [f"Leaks above {report.threshold:g} %: {len(leaks)}{some}" if leaks else f"No leak found{some}."]
    lines += _truncate([f"- {finding.sentence}" for finding in leaks], MAX_LEAKS)
    for title, sentences in (
        ("Not counted as leaks", [finding.sentence for finding in others]),
        ("Left out", [f"{name}: {reason}" for name, reason in report.left_out.items()]),
        ("Limitations", report.limitations),
        ("Could not be read", [f"{key}: {reason}" for key, reason in report.unreadable.items()]),
        (_uncompared_title(report), [f"{key}: {reason}" for key, reason in report.uncompared.items()]),
        ("Missing or malformed", report.problems),
        ("Files that are not images", skipped_lines(report.skipped)),
    ):
        if sentences:
            lines += ["", f"{title}:", *_truncate([f"- {sentence}" for sentence in sentences], MAX_OTHERS)]
    return lines


def _uncompared_title(report: AuditReport) -> str:
    title = f"Not compared by looks ({len(report.uncompared):,}), so copies of other bytes and pixels may be missed"
    return title if report.is_complete else f"{title}; --allow-uncompared accepts this"


def _truncate(lines: list[str], limit: int) -> list[str]:
    return lines if len(lines) <= limit else [*lines[:limit], f"  and {len(lines) - limit} more; --json has all"]
