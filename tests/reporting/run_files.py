"""A run's folder with predictions, scores, baselines and events of all twelve tasks, for tests of its report."""

from __future__ import annotations

from pathlib import Path

import msgspec

from twelvefold import datasets
from twelvefold.data.write_table import write_table
from twelvefold.evaluation.predictions import PredictionRecord, write_predictions
from twelvefold.evaluation.scores import (
    Baselines,
    CalibrationBin,
    Invocation,
    QuestionTypeScore,
    Reliability,
    Scores,
    TaskBaselines,
    TaskScore,
    write_scores,
)
from twelvefold.model import card
from twelvefold.model.card import Calibration, Card
from twelvefold.schema import (
    Box,
    Candidate,
    ClassName,
    Example,
    ImageKey,
    Label,
    Pair,
    PositivePair,
    Ranked,
    SoftAnswers,
    TargetBox,
    TaskSpec,
)
from twelvefold.store import atomic_files
from twelvefold.store.prepared import MANIFEST, DataSource, ExampleCounts, FileEntry, PreparedManifest
from twelvefold.training.event_log import EventLog
from twelvefold.world.draw import draw_jpeg
from twelvefold.world.scene import make_scene

TEXT = {"answers": "What is <b>it</b>?", "retrieval": "<script>alert(1)</script> & a cat"}
BOXES: tuple[Box, ...] = ((10, 20, 60, 80), (70, 20, 120, 90))
EXAMPLES = 6
IMAGES = "world/images/coco/train2014"
RELIABILITY = Reliability(
    1.75, 3.25, 12.5, (CalibrationBin(0.25, 0.2, 3), CalibrationBin(0.75, 0.8, 3)), (CalibrationBin(0.9, 0.5, 6),)
)


EVALUATED = Invocation("2026-01-31 14:05 UTC", "twelvefold evaluate run", "0.1", "0123456789ab-dirty")


def key(number: int) -> ImageKey:
    return ImageKey("coco", str(number))


def make_example(task: TaskSpec, number: int) -> Example:
    label: dict[str, Label] = {
        "answers": SoftAnswers({"cat": 1.0, "dog": 0.3}),
        "retrieval": PositivePair(),
        "grounding": Candidate(0) if task.name in ("visual7w", "guesswhat") else TargetBox(BOXES[0]),
        "verification": ClassName(task.classes[0] if task.classes else ""),
    }
    text = TEXT.get(task.family, "the left one")
    if task.name == "guesswhat":
        text = "start is it red? answer no stop start is it big? answer yes stop"
    candidates = BOXES if isinstance(label[task.family], Candidate) else ()
    pairs = tuple(Pair(key(1 + (number + k) % EXAMPLES), text, candidates) for k in range(task.pairs_per_example))
    return Example(f"e{number}", pairs, label[task.family], question_type="left" if number % 2 else "right")


def make_record(task: TaskSpec, number: int) -> PredictionRecord:
    """Return a right record for even numbers, a wrong one for odd numbers."""
    is_right = number % 2 == 0
    first = number if is_right else number + 1
    ranked: dict[str, tuple[Ranked, ...]] = {
        "answers": (Ranked(0.7, "cat" if is_right else "cow"), Ranked(0.2, "dog")),
        "retrieval": tuple(Ranked(0.5 - k / 10, str(key(1 + (first + k) % EXAMPLES))) for k in range(4)),
        "grounding": (Ranked(0.9, box_px=BOXES[0] if is_right else BOXES[1]),),
        "verification": (Ranked(0.8, task.classes[not is_right] if task.classes else ""),),
    }
    return PredictionRecord(f"e{number}", task.name, float(is_right), ranked[task.family])


def write_run(run: Path) -> None:
    specs = [datasets.load_dataset(name).TASK for name in datasets.paper_task_names()]
    entries: dict[str, dict[str, FileEntry]] = {}
    for task in specs:
        path = run / "prepared" / "tables" / f"{task.name}-test.arrow"
        write_table(
            path, [make_example(task, n) for n in range(EXAMPLES)], lambda texts: [[1]] * len(texts), digest="d"
        )
        size = path.stat().st_size
        entries[task.name] = {"test": FileEntry(f"tables/{path.name}", size, EXAMPLES, "d")}
        write_predictions(run / "predictions" / f"{task.name}.jsonl", [make_record(task, n) for n in range(EXAMPLES)])
    counts = {
        "train": ExampleCounts(read=1234, removed=234, kept=1000, malformed=3),
        "test": ExampleCounts(read=6, kept=6),
    }
    manifest = PreparedManifest(
        source=DataSource("photos"),
        clean=True,
        regions="r",
        tasks=specs,
        tables=entries,
        counts=dict.fromkeys(entries, counts),
    )
    atomic_files.write_json(run / "prepared" / MANIFEST, msgspec.to_builtins(manifest))
    for number in range(1, EXAMPLES + 1):
        name = f"COCO_train2014_{number:012d}.jpg"
        atomic_files.write_bytes(run / IMAGES / name, draw_jpeg(make_scene(0, number)))
    atomic_files.write_text(run / "recipe.toml", 'name = "toy"\ntasks = ["vqav2"]\n')
    atomic_files.write_json(run / "stages.json", {"world": 1.0, "train": 120.0})
    by_type = {"left": QuestionTypeScore(40.0, 3), "right": QuestionTypeScore(60.0, 3)}
    tasks = {
        task.name: TaskScore(
            task.metric, "test", 60.0 + n, 6, (55.0 + n, 65.0 + n), by_type, {"consistency": 9.5}, RELIABILITY
        )
        for n, task in enumerate(specs)
    }
    write_scores(run / "scores.json", Scores(tasks, "latest", 3.0, 1.5, EVALUATED))
    calibrations = {
        task.name: Calibration(
            temperature=1.75, kept=task.name != "gqa", seed=0, n_fit=500, n_check=501, error=4.5, error_raw=3.5
        )
        for task in specs
    }
    trained_on = "1,000 examples of 12 tasks about 600 images in the folder photos"
    card.write(run / "checkpoints" / "latest", Card(trained_on=trained_on, calibrations=calibrations))
    baselines = {
        name: TaskBaselines(chance=10.0, majority=20.0, text_only=30.0, image_only=25.0, n=6) for name in tasks
    }
    write_scores(run / "blind.json", Baselines(baselines, 2.0))
    with EventLog(run / "events.jsonl") as log:
        invocation = {"date": "2026-01-30 10:00 UTC", "command": "twelvefold train toy.toml run", "version": "0.1"}
        fields = {"processes": 2, "device": "cpu", "versions": {"torch": "2"}, "machine": "a box"}
        fields |= {"invocation": invocation}
        log.write("start", 0, tasks=list(tasks), iterations=4, epoch_iterations={}, **fields)
        for i in range(1, 5):
            log.write("step", i, losses=dict.fromkeys(tasks, 4.0 / i), lr=1e-3, seconds=i)
        log.write("eval", 2, task="gqa", score=0.5, best=0.5, examples=9, seconds=2)
        log.write("stop", 2, task="gqa", score=0.5, best=0.5, seconds=2)
        log.write("done", 4, scores={"gqa": 0.5}, steps={}, peak_memory_gb=2.25, seconds=4)
