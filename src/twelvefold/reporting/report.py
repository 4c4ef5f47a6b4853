"""Write the report of a run: ``report.html``, a page to read, and ``report.json`` for programs.

Both are made from what training, evaluation and the baselines wrote to the run's folder. If something is missing,
its section says so; only scores are required. Paper: Table 2, Fig. 2 left, Fig. 3, Fig. 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from twelvefold.datasets.reading.image_files import image_files
from twelvefold.progress import track
from twelvefold.reporting import paper
from twelvefold.reporting.contents import RunContents, read_run
from twelvefold.reporting.examples import task_examples
from twelvefold.reporting.html import ReportPage, render_page
from twelvefold.reporting.thumbnails import Thumbnails
from twelvefold.store import atomic_files
from twelvefold.training.data_folders import find_table_origin, remembered_folder


@dataclass(frozen=True, slots=True)
class ReportSummary:
    """The two files, the number of tasks and the average score, in percent, of those that have one.

    unclear: tasks whose 95 % interval does not lie above all baselines; None if the baselines were not scored.
    """

    html: Path
    json: Path
    tasks: int
    average: float | None
    unclear: tuple[str, ...] | None


def report(run: Path, *, prepared: Path | None = None, images: Path | None = None) -> ReportSummary:
    """Write ``report.html`` and ``report.json`` of a run. The same folder gives the same bytes.

    Args:
        run: Folder of the run.
        prepared: Folder that ``prepare`` wrote; by default the one that the run remembers.
        images: Data folder with the images of the examples; by default the one that the tables were made from, or
            else ``RUN/world``.

    Raises:
        TwelvefoldError: the run has no scores, or a file in its folder is damaged.
    """
    run = Path(run)
    prepared = prepared or remembered_folder(run, "prepared")
    contents, images = read_run(run, prepared), images or find_table_origin(run, prepared).data
    atomic_files.write_text(run / "report.html", render_page(_make_page(contents, images)))
    atomic_files.write_json(run / "report.json", to_json(contents))
    tasks = contents.tasks_not_above_baselines
    return ReportSummary(
        html=run / "report.html",
        json=run / "report.json",
        tasks=len(contents.rows),
        average=contents.scores.average,
        unclear=None if tasks is None else tuple(task.name for task in tasks),
    )


def _make_page(contents: RunContents, images: Path) -> ReportPage:
    if contents.prepared is None:
        return ReportPage(contents, {}, no_examples="There is no prepared data, so no examples can be shown.")
    has_images = (images / "images").is_dir()
    thumbnails = Thumbnails(image_files(images) if has_images else {})
    seed = contents.recipe.seed if contents.recipe else 0
    examples = {
        row.task.name: task_examples(contents.run, contents.prepared, row.task, thumbnails, seed)
        for row in track(contents.rows, description="examples")
    }
    no_images = "" if has_images else f"The folder {images.name} has no images, so the examples are shown without them."
    return ReportPage(contents, examples, no_images=no_images)


def to_json(contents: RunContents) -> dict[str, Any]:
    """Return ``report.json``; scores are percentages."""
    curves = contents.curves
    return {
        "recipe": contents.name,
        "tasks": {row.task.name: row.to_json() for row in contents.rows},
        **{name: value for name, value in contents.scores.to_json().items() if name in ("average", "average_of")},
        "missing": contents.scores.missing,
        "paper_average": contents.paper_average,
        "paper_source": paper.SOURCE,
        "seconds": round(contents.seconds, 1),
        "peak_memory_gb": round(contents.peak_memory_gb, 2),
        "checkpoint": contents.checkpoint,
        "parameters": contents.parameters,
        "data": contents.test_data,
        "trained": msgspec.to_builtins(contents.trained),
        "evaluated": msgspec.to_builtins(contents.scores.invocation),
        "calibrations": msgspec.to_builtins(contents.card.calibrations),
        "training": curves
        and {
            "iterations": curves.iterations,
            "planned": curves.planned_iterations,
            "seconds": curves.seconds,
            "updates": {name: task.num_updates for name, task in curves.tasks.items()},
            "stops": {name: task.num_stops for name, task in curves.tasks.items()},
            "validation": {name: task.latest_score for name, task in curves.tasks.items()},
        },
        "stages": contents.stages,
        "examples": msgspec.to_builtins(contents.counts),
    }
