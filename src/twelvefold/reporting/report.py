"""The report of a run: one page that a person reads, one JSON file that a program reads.

``report(Path("runs/demo"))`` reads what training, evaluation and the blind models left in the run's folder and
writes ``report.html`` and ``report.json`` there. Whatever is missing leaves its section out with a plain sentence;
only scores there must be. Paper: Table 2, Fig. 2 left, Fig. 3, Fig. 4.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from twelvefold import datasets
from twelvefold.config.recipe import Recipe
from twelvefold.datasets.reading.image_files import image_files
from twelvefold.evaluation.machine import describe_machine
from twelvefold.evaluation.predictions import read_predictions
from twelvefold.evaluation.scores import Baselines, Scores, read_scores
from twelvefold.progress import track
from twelvefold.reporting import curves, paper, table
from twelvefold.reporting import examples as shown_examples
from twelvefold.reporting import html as page
from twelvefold.reporting.examples import Shown
from twelvefold.reporting.thumbnails import Album
from twelvefold.schema import Example, TaskSpec, TwelvefoldError
from twelvefold.store import atomic_files
from twelvefold.store.prepared import Prepared
from twelvefold.training.event_log import read_events

DEVICES = {"cpu": "the CPU", "cuda": "a GPU"}


@dataclass(frozen=True, slots=True)
class ReportSummary:
    """Where the two files are; the average of ``tasks`` scores in percent; the tasks whose interval does not lie
    wholly above chance and every blind figure (None where those weren't measured)."""

    html: Path
    json: Path
    tasks: int
    average: float
    unclear: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Found:
    """What a run's folder holds."""

    run: Path
    scores: Scores
    blind: Baselines | None
    course: curves.Course | None
    recipe: Recipe | None
    recipe_text: str
    stages: dict[str, float]
    prepared: Prepared | None
    rows: list[table.Row]

    @property
    def seconds(self) -> float:
        """Of all noted stages; where none was noted, of training, evaluation and blind models."""
        if self.stages:
            return sum(self.stages.values())
        parts = (self.course, self.scores, self.blind)
        return sum(part.seconds for part in parts if part is not None)

    @property
    def peak_memory_gb(self) -> float:
        """The most that training or evaluation held."""
        trained = float(self.course.ended.get("peak_memory_gb", 0.0)) if self.course else 0.0
        return max(trained, self.scores.peak_memory_gb)


def report(run: Path, *, prepared: Path | None = None, images: Path | None = None) -> ReportSummary:
    """Write ``report.html`` and ``report.json`` of a run.

    ``prepared``: the prepared folder, by default ``run/prepared``. ``images``: the data folder that holds the
    pictures, by default ``run/world``. The same folder gives the same bytes.

    Raises:
        TwelvefoldError: the run has no scores, or a file in its folder is not what it should be.
    """
    run = Path(run)
    found = gather(run, prepared or run / "prepared")
    view = compose(found, images or run / "world")
    atomic_files.write_text(run / "report.html", page.render(view))
    atomic_files.write_json(run / "report.json", as_json(found, view))
    unclear = None if view.unclear is None else tuple(row.task.name for row in found.rows if not row.is_clear)
    return ReportSummary(run / "report.html", run / "report.json", len(found.rows), found.scores.average, unclear)


def gather(run: Path, prepared: Path) -> Found:
    """Read everything that the folder holds.

    Raises:
        TwelvefoldError: there are no scores, or a file is not what it should be.
    """
    path = run / "scores.json"
    if not path.exists():
        raise TwelvefoldError(
            f"{run} has no scores to report: {path} is missing. Run `twelvefold evaluate {run}` first"
        )
    scores = read_scores(path, Scores)
    if not scores.tasks:
        raise TwelvefoldError(f"{path} holds the score of no task; run `twelvefold evaluate {run}` again")
    blind, events, recipe = run / "blind.json", run / "events.jsonl", run / "recipe.toml"
    given = read_scores(blind, Baselines) if blind.exists() else None
    opened = Prepared.open(prepared) if prepared.is_dir() else None
    return Found(
        run=run,
        scores=scores,
        blind=given,
        course=curves.course(read_events(events)) if events.exists() else None,
        recipe=Recipe.load(recipe) if recipe.exists() else None,
        recipe_text=recipe.read_text(encoding="utf-8") if recipe.exists() else "",
        stages=read_stages(run / "stages.json"),
        prepared=opened,
        rows=table.rows(scores, given, specs(scores, opened)),
    )


def read_stages(path: Path) -> dict[str, float]:
    """Seconds by stage, as ``demo`` notes them; empty where nothing did.

    Raises:
        TwelvefoldError: the file holds something else.
    """
    if not path.exists():
        return {}
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, float])
    except msgspec.DecodeError as error:
        raise TwelvefoldError(f"{path} does not hold seconds by stage: {error}; remove it") from error


def specs(scores: Scores, prepared: Prepared | None) -> dict[str, TaskSpec]:
    """Every scored task's TaskSpec, the twelve in the paper's order, tasks of one's own after them.

    Raises:
        TwelvefoldError: nothing says what a task is.
    """
    known = {spec.name: spec for spec in prepared.tasks} if prepared else {}
    order = [name for name in datasets.task_names() if name in scores.tasks]
    order += [name for name in scores.tasks if name not in datasets.task_names()]
    return {name: known[name] if name in known else datasets.load_dataset(name).TASK for name in order}


def compose(found: Found, images: Path) -> page.View:
    """What the page is to show."""
    examples, no_examples, pictures_missing = choose_examples(found, images)
    return page.View(
        name=found.recipe.name if found.recipe else found.run.resolve().name,
        lead=lead(found),
        rows=found.rows,
        average=found.scores.average,
        course=found.course,
        examples=examples,
        no_examples=no_examples,
        pictures_missing=pictures_missing,
        counts=found.prepared.counts if found.prepared else {},
        clean=found.prepared.manifest.clean if found.prepared else True,
        left_out=left_out(found),
        facts=facts(found),
        stages=found.stages,
        recipe=found.recipe_text,
    )


def choose_examples(found: Found, images: Path) -> tuple[dict[str, list[Shown] | str], str, str]:
    """Examples by task; why there are none at all; why they come without pictures."""
    if found.prepared is None:
        return {}, "The prepared data are not at hand, so no examples can be shown.", ""
    pictures_missing = ""
    if (images / "images").is_dir():
        album = Album(image_files(images))
    else:
        album = Album({})
        pictures_missing = f"The folder {images.name} holds no pictures, so the examples come without them."
    seed = found.recipe.seed if found.recipe else 0
    chosen = {
        row.task.name: of_task(found.run, found.prepared, row.task, album, seed)
        for row in track(found.rows, description="examples")
    }
    return chosen, "", pictures_missing


def of_task(run: Path, prepared: Prepared, task: TaskSpec, album: Album, seed: int) -> list[Shown] | str:
    """A task's examples, right ones first, or why there are none."""
    path = run / "predictions" / f"{task.name}.jsonl"
    if not path.exists():
        return "No predictions of this task were kept."
    if "test" not in prepared.splits(task.name):
        return "The prepared data hold no test examples of this task."
    data = prepared.table(task.name, "test")
    places = {id_: place for place, id_ in enumerate(data.ids())}

    def example(id_: str) -> Example:
        if id_ not in places:
            raise TwelvefoldError(
                f"{path} speaks of example {id_!r}, which is not in {data.path}: the predictions were made from other "
                f"prepared data. Run `twelvefold evaluate {run}` again, or name the folder they were made from"
            )
        return data[places[id_]]

    lines = shown_examples.choose(read_predictions(path), lambda id_: str(example(id_).pairs[0].image), seed=seed)
    return [shown_examples.show(task, line, example(line.id), album) for line in lines]


def lead(found: Found) -> str:
    """What was done, in a sentence or two."""
    course = found.course
    parts = []
    weights = parameters(found)
    if weights:
        parts.append(f"A model of {weights / 1e6:.1f} million parameters.")
    if course:
        where = f"{course.started['processes']} process{'es' if course.started['processes'] > 1 else ''}"
        parts.append(
            f"Trained jointly for {course.iterations:,} rounds of all tasks in {page.duration(course.seconds)} "
            f"({where} on {DEVICES.get(course.started['device'], course.started['device'])})."
        )
        if not course.ended and course.iterations < course.planned:
            parts.append(f"The training is not finished: {course.planned:,} rounds are planned.")
    if found.stages:
        names = list(found.stages)
        parts.append(f"All stages, from {names[0]} to {names[-1]}, took {page.duration(found.seconds)}.")
    return " ".join(parts)


def left_out(found: Found) -> list[str]:
    """Sentences about examples that went for other reasons than cleaning."""
    reasons = {
        "malformed": "malformed records, passed over",
        "without_regions": "examples without regions of their picture",
        "beyond_limit": "examples beyond the recipe's limit",
    }
    sentences = []
    for reason, what in reasons.items():
        counts = found.prepared.counts if found.prepared else {}
        by_task = {name: sum(getattr(c, reason) for c in by_split.values()) for name, by_split in counts.items()}
        if any(by_task.values()):
            listed = ", ".join(f"{row.task.title} {n:,}" for row in found.rows if (n := by_task.get(row.task.name)))
            sentences.append(f"Left out besides: {what} ({listed}).")
    return sentences


def facts(found: Found) -> list[tuple[str, str]]:
    """Names and values of what was run."""
    recipe, course = found.recipe, found.course
    said: list[tuple[str, str]] = []
    if recipe:
        said.append(("Recipe", recipe.name))
        said.append(("Seed", str(recipe.seed)))
        if recipe.world:
            said.append(("World", f"{recipe.world.images:,} pictures, seed {recipe.world.seed}"))
        said.append(("Model", ", ".join(f"{name} {value}" for name, value in recipe.model.items()) or "vilbert_base"))
    if weights := parameters(found):
        said.append(("Parameters", f"{weights:,}"))
    said.append(("Checkpoint", Path(found.scores.checkpoint).name))
    if course:
        said.append(("Iterations", f"{course.iterations:,} of {course.planned:,}"))
        said.append(("Processes", f"{course.started['processes']}, {course.started['device']}"))
        said.append(
            ("Versions", ", ".join(f"{name} {version}" for name, version in course.started["versions"].items()))
        )
        said.append(("Training", page.duration(course.seconds)))
    said.append(("Evaluation", page.duration(found.scores.seconds)))
    if found.blind:
        said.append(("Blind models", page.duration(found.blind.seconds)))
    said.append(("Peak memory", f"{found.peak_memory_gb:.1f} GB"))
    trained_on = course.started.get("machine") if course else None
    said.append(("Machine", str(trained_on)) if trained_on else ("Report made on", describe_machine()))
    return said


def parameters(found: Found) -> int | None:
    """How many numbers the evaluated checkpoint holds, from the head of its weights; None where it isn't there."""
    path = found.run / "checkpoints" / Path(found.scores.checkpoint).name / "model.safetensors"
    if not path.exists():
        return None
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        head: dict[str, Any] = msgspec.json.decode(file.read(length))
    return sum(math.prod(map(int, entry["shape"])) for name, entry in head.items() if name != "__metadata__")


def as_json(found: Found, view: page.View) -> dict[str, Any]:
    """``report.json``: everything that a program may want of the page, scores in percent."""
    course = found.course
    counts: Mapping[str, Any] = found.prepared.counts if found.prepared else {}
    return {
        "recipe": view.name,
        "tasks": {row.task.name: row.to_json() for row in found.rows},
        "average": round(found.scores.average, 2),
        "paper_average": view.paper_average,
        "paper_source": paper.SOURCE,
        "seconds": round(found.seconds, 1),
        "peak_memory_gb": round(found.peak_memory_gb, 2),
        "checkpoint": Path(found.scores.checkpoint).name,
        "parameters": parameters(found),
        "training": course
        and {
            "iterations": course.iterations,
            "planned": course.planned,
            "seconds": course.seconds,
            "updates": {name: lane.steps for name, lane in course.lanes.items()},
            "stops": {name: lane.stops for name, lane in course.lanes.items()},
            "validation": {name: lane.latest for name, lane in course.lanes.items()},
        },
        "stages": found.stages,
        "examples": msgspec.to_builtins(counts),
    }
