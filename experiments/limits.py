"""Measure what limits each task of a finished run: detector, data, training time, or the labels.

    python experiments/limits.py runs/large

Writes RUN/limits.md, a table with a row for each task of a run of ``twelvefold demo``:

============================= ==================================================================================
``test``, ``val``, ``train``  scores on ``--examples`` examples of each split, retrieval among 200 images; a large
                              gap between train and test means that more data would help
``ceiling``                   score of a model that outputs the labels: rare answers, missed boxes and disagreeing
                              annotators keep it below 100
``seen right``                score on examples in whose images the detector finds every object with the correct
                              category, color, pattern, size and position; ``seen wrong``: on the others
``last quarter``              gain of the validation score in the last quarter of training
``weakest question types``    types of question with the lowest scores
============================= ==================================================================================

Ceiling, ``seen`` columns and question types use all examples that the run's evaluation scored.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from twelvefold import families
from twelvefold.batch import Batch
from twelvefold.boxes import iou
from twelvefold.config.recipe import Recipe
from twelvefold.data.region_inputs import RegionSource
from twelvefold.data.task_batches import TaskBatches
from twelvefold.datasets.reading.image_files import image_files
from twelvefold.detectors.world_detector.detector import RegionsWithAttributes, WorldDetector
from twelvefold.detectors.world_detector.network import ATTRIBUTES
from twelvefold.device import select_device
from twelvefold.evaluation.predictions import read_predictions
from twelvefold.evaluation.score import score_task, scored_indices
from twelvefold.evaluation.scores import Scores, TaskScore, read_scores
from twelvefold.images import open_image
from twelvefold.model import Model
from twelvefold.progress import track
from twelvefold.schema import ImageKey, Split
from twelvefold.store.prepared import Prepared
from twelvefold.training.event_log import read_events

POOL = 200
"""Images in the retrieval pool, the same number for all three splits."""
BATCH_SIZE = 128
"""Examples in a batch when the ceiling is computed."""
IMAGES_PER_PASS = 8
"""Images in a pass of the detector."""
SPLITS: tuple[Split, ...] = ("test", "val", "train")
IOU_THRESHOLD = 0.5
"""IoU from which a region matches an object (Pascal VOC)."""
MIN_EXAMPLES = 30
"""Examples that a question type needs to be listed as weak."""


def label_logits(data: TaskBatches, batch: Batch) -> Tensor:
    """Return logits whose highest value is the label: the best that a model could output.

    Raises:
        ValueError: the labels are withheld.
    """
    if batch.target is None:
        raise ValueError("labels are withheld")
    if families.load_family(data.task.family).chooses_region:
        return batch.target[..., 1]
    if batch.target.ndim == 1:  # the index of the right class
        return torch.nn.functional.one_hot(batch.target.clamp(min=0), len(data.head.outputs)).float()
    return batch.target


def ceiling(data: TaskBatches, max_examples: int) -> float:
    """Return the score of the labels in percent; retrieval has 100, since every caption has its image."""
    family = families.load_family(data.task.family)
    if family.searches_images:
        return 100.0
    indices = scored_indices(data, max_examples)
    batches = (data.batch(indices[start : start + BATCH_SIZE]) for start in range(0, len(indices), BATCH_SIZE))
    return 100 * float(torch.cat([family.score(label_logits(data, batch), batch) for batch in batches]).mean())


def read_scenes(world: Path, images: set[ImageKey]) -> dict[ImageKey, dict[str, Any]]:
    """Return the true scenes of these images from the world's truth file."""
    scenes: dict[ImageKey, dict[str, Any]] = {}
    with (world / "truth" / "scenes.jsonl").open() as lines:
        for line in lines:
            scene = json.loads(line)
            scenes |= {key: scene for text in scene["keys"] if (key := ImageKey.parse(text)) in images}
    return scenes


def all_objects_correct(scene: Mapping[str, Any], detected: RegionsWithAttributes, detector: WorldDetector) -> bool:
    """Return whether every object of a scene has a region with its category, color, pattern and size."""
    regions, labels = detected.regions, detector.labels
    scale = np.array([regions.width / scene["width"], regions.height / scene["height"]] * 2)
    for thing in scene["things"]:
        values = (thing["kind"], thing["colour"], thing["size"], thing["pattern"])
        indices = [names.index(value) for names, value in zip(labels, values, strict=True)]
        correct = np.all([detected.labels[name] == i for name, i in zip(ATTRIBUTES, indices, strict=True)], axis=0)
        overlaps = iou(regions.boxes_px, [np.array(thing["box_px"]) * scale])[:, 0] >= IOU_THRESHOLD
        if not (correct & overlaps).any():
            return False
    return True


def check_detections(world: Path, images: set[ImageKey]) -> dict[ImageKey, bool]:
    """Return for every image whether the detector finds all of its objects correctly."""
    scenes, files, detector = read_scenes(world, images), image_files(world), WorldDetector.load()
    keys = sorted(scenes)
    correct: dict[ImageKey, bool] = {}
    for start in track(range(0, len(keys), IMAGES_PER_PASS), description="images"):
        block = keys[start : start + IMAGES_PER_PASS]
        opened = [open_image(files[key]) for key in block]
        results = detector.detect_with_attributes(opened, [np.zeros((0, 4), np.float32)] * len(block))
        for key, (detected, _) in zip(block, results, strict=True):
            correct[key] = all_objects_correct(scenes[key], detected, detector)
    return correct


def scored_examples(run: Path, data: TaskBatches, max_examples: int) -> Iterator[tuple[Sequence[ImageKey], float]]:
    """Yield the images and the score of every scored test example."""
    scores = {record.id: record.score for record in read_predictions(run / "predictions" / f"{data.task.name}.jsonl")}
    for index in scored_indices(data, max_examples):
        example = data.table[index]
        if (score := scores.get(example.id)) is not None:
            yield [pair.image for pair in example.pairs], score


def gain_in_last_quarter(run: Path, task: str, iterations: int) -> float:
    """Return the gain of the validation score in the last quarter of training, in percentage points."""
    events = [e for e in read_events(run / "events.jsonl") if e["event"] == "eval" and e["task"] == task]
    before = [event["score"] for event in events if event["iteration"] <= 0.75 * iterations]
    return float(100 * (events[-1]["score"] - before[-1])) if before else float("nan")


def weakest_question_types(score: TaskScore, count: int = 3) -> str:
    """Return the question types with the lowest scores, with their scores."""
    scores = sorted((s.score, name) for name, s in score.by_question_type.items() if s.n >= MIN_EXAMPLES)
    return ", ".join(f"{name} {value:.0f}" for value, name in scores[:count])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a finished run of twelvefold demo")
    parser.add_argument("--examples", type=int, default=500, help="examples of each split in the first three columns")
    arguments = parser.parse_args()
    run = arguments.run
    torch.set_num_threads(1)
    recipe = Recipe.load_run(run)
    max_examples, device = recipe.evaluation.max_examples, select_device(recipe.training.device)
    scores = read_scores(run / "scores.json", Scores)
    model = Model.load(run / "checkpoints" / "latest").to(device)
    prepared, source = Prepared.open(run / "prepared"), RegionSource.open(run / "regions")
    tests = {name: TaskBatches.open(prepared, source, prepared.task(name), "test") for name in recipe.tasks}
    examples = {name: list(scored_examples(run, data, max_examples)) for name, data in tests.items()}
    images = {key for by_task in examples.values() for keys, _ in by_task for key in keys}
    correct = check_detections(run / "world", images)
    columns = [*SPLITS, "ceiling", "seen right (n)", "seen wrong (n)", "last quarter", "weakest question types"]
    lines = [f"| task | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for name, data in track(tests.items(), description="tasks"):
        cells = [name]
        for split in SPLITS:
            part = TaskBatches.open(prepared, source, prepared.task(name), split)
            result = score_task(model, part, max_examples=arguments.examples, pool=POOL, device=device)
            cells.append(f"{100 * result.example_scores.mean():.1f}")
        cells.append(f"{ceiling(data, max_examples):.1f}")
        known = [(all(correct[k] for k in keys), score) for keys, score in examples[name] if set(keys) <= set(correct)]
        for expected in (True, False):
            group = [score for is_correct, score in known if is_correct is expected]
            cells.append(f"{100 * np.mean(group):.1f} ({len(group):,})" if group else "none")
        cells.append(f"{gain_in_last_quarter(run, name, recipe.training.iterations):+.1f}")
        cells.append(weakest_question_types(scores.tasks[name]))
        lines.append(f"| {' | '.join(cells)} |")
    text = "\n".join([*lines, ""])
    (run / "limits.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
