"""What limits each task of a finished run: sight, data, time, or the labels themselves. Found out, not guessed.

    python experiments/limits.py runs/large

For every task of a run of ``twelvefold demo``:

===================== ==========================================================================================
``test, val, train``  scores on so many examples of the three splits (retrieval: in a pool of 200); a wide gap from
                      train to test says that more data would help
``ceiling``           what an answerer that knows the labels gets: rare answers, missed boxes, annotators at odds
``seen right``        the score where the detector read every thing in the picture right (kind, colour, pattern,
                      size, place), and ``seen wrong``, where it did not: what better sight could give
``last quarter``      gain of the validation score over the last quarter of training
``weakest kinds``     the kinds of example with the lowest scores
===================== ==========================================================================================

The ceiling, sight and kinds are judged on all examples that the run's evaluation scored.

Writes RUN/limits.md.
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
from twelvefold.data.task_loader import TaskBatches
from twelvefold.datasets.reading.image_files import image_files
from twelvefold.detectors.world_detector.detector import RegionsWithAttributes, WorldDetector
from twelvefold.device import select_device
from twelvefold.evaluation.predictions import read_predictions
from twelvefold.evaluation.score import score_task, scored_indices
from twelvefold.evaluation.scores import Scores, TaskScore, read_scores
from twelvefold.images import open_image
from twelvefold.model import Model
from twelvefold.progress import track
from twelvefold.schema import ImageKey, Split
from twelvefold.store.prepared import Prepared

POOL = 200
"""Pictures to choose from in retrieval: the same for all three splits."""
BATCH = 128
"""Examples judged at once for the ceiling."""
LOOK_AT = 8
"""Pictures in a pass of the detector."""
SPLITS: tuple[Split, ...] = ("test", "val", "train")
OVERLAP = 0.5
"""From which a region counts as the thing's (Pascal VOC)."""
LEAST = 30
"""Examples that a kind must have to be called weak."""


def knowing(data: TaskBatches, batch: Batch) -> Tensor:
    """Logits of an answerer that knows the labels: what it gets is all that can be had."""
    if batch.target is None:
        raise ValueError("labels are withheld")
    if families.load_family(data.task.family).chooses_region:
        return batch.target[..., 1]
    if data.task.family == "verification":
        return torch.nn.functional.one_hot(batch.target.clamp(min=0), len(data.head.outputs)).float()
    return batch.target


def ceiling(data: TaskBatches, max_examples: int) -> float:
    """Percent that an answerer who knows the labels gets; all of retrieval, as every caption has its picture."""
    if data.task.family == "retrieval":
        return 100.0
    places, family = scored_indices(data, max_examples), families.load_family(data.task.family)
    batches = (data.batch(places[start : start + BATCH]) for start in range(0, len(places), BATCH))
    return 100 * float(torch.cat([family.score(knowing(data, batch), batch) for batch in batches]).mean())


def truths(world: Path, wanted: set[ImageKey]) -> dict[ImageKey, dict[str, Any]]:
    """What each of these pictures shows, from the world's truth file."""
    found: dict[ImageKey, dict[str, Any]] = {}
    with (world / "truth" / "scenes.jsonl").open() as lines:
        for line in lines:
            scene = json.loads(line)
            found |= {key: scene for text in scene["keys"] if (key := ImageKey.parse(text)) in wanted}
    return found


def all_right(scene: Mapping[str, Any], seen: RegionsWithAttributes, detector: WorldDetector) -> bool:
    """Whether every thing of a picture has a region with its kind, colour, pattern and size."""
    regions, labels = seen.regions, detector.labels
    if regions.class_probs is None:
        raise ValueError("the detector gave no kinds")
    scale = np.array([regions.width / scene["width"], regions.height / scene["height"]] * 2)
    kinds = regions.class_probs.argmax(axis=1)
    for thing in scene["things"]:
        told = (
            (kinds == labels.categories.index(thing["kind"]))
            & (seen.color == labels.colors.index(thing["colour"]))
            & (seen.size == labels.sizes.index(thing["size"]))
            & (seen.pattern == labels.patterns.index(thing["pattern"]))
        )
        if not (told & (iou(regions.boxes_px, [np.array(thing["box_px"]) * scale])[:, 0] >= OVERLAP)).any():
            return False
    return True


def seen_right(world: Path, wanted: set[ImageKey]) -> dict[ImageKey, bool]:
    """Of every picture whether the detector reads all of it right."""
    scenes, files, detector = truths(world, wanted), image_files(world), WorldDetector.load()
    keys = sorted(scenes)
    right: dict[ImageKey, bool] = {}
    for start in track(range(0, len(keys), LOOK_AT), description="pictures looked at"):
        block = keys[start : start + LOOK_AT]
        pictures = [open_image(files[key]) for key in block]
        looks = detector.detect_with_attributes(pictures, [np.zeros((0, 4), np.float32)] * len(block))
        right |= {k: all_right(scenes[k], seen, detector) for k, (seen, _) in zip(block, looks, strict=True)}
    return right


def scored(run: Path, data: TaskBatches, max_examples: int) -> Iterator[tuple[Sequence[ImageKey], float]]:
    """The pictures and the score of every test example that counts."""
    score = {line.id: line.score for line in read_predictions(run / "predictions" / f"{data.task.name}.jsonl")}
    for place in scored_indices(data, max_examples):
        example = data.table[place]
        if (given := score.get(example.id)) is not None:
            yield [pair.image for pair in example.pairs], given


def still_rising(run: Path, task: str, iterations: int) -> float:
    """Percentage points that the validation score gained over the last quarter of the iterations."""
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    scores = [(e["iteration"], e["score"]) for e in events if e["event"] == "eval" and e["task"] == task]
    before = [score for at, score in scores if at <= 0.75 * iterations]
    return 100 * (scores[-1][1] - before[-1]) if before else float("nan")


def weakest(score: TaskScore, count: int = 3) -> str:
    kinds = sorted((k.score, name) for name, k in score.by_question_type.items() if k.n >= LEAST)
    return ", ".join(f"{name} {value:.0f}" for value, name in kinds[:count])


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("run", type=Path, help="a finished run of twelvefold demo")
    arguments.add_argument("--examples", type=int, default=500, help="of each split, to compare the three")
    given = arguments.parse_args()
    run = given.run
    torch.set_num_threads(1)
    recipe, limit = Recipe.load_run(run), Recipe.load_run(run).evaluation.max_examples
    scores = read_scores(run / "scores.json", Scores)
    device = select_device(recipe.training.device)
    model = Model.load(run / "checkpoints" / "latest").to(device)
    prepared, source = Prepared.open(run / "prepared"), RegionSource.open(run / "regions")
    tests = {name: TaskBatches.open(prepared, source, prepared.task(name), "test") for name in recipe.tasks}
    examples = {name: list(scored(run, data, limit)) for name, data in tests.items()}
    right = seen_right(run / "world", {key for own in examples.values() for keys, _ in own for key in keys})
    lines = [
        "| task | test | val | train | ceiling | seen right (n) | seen wrong (n) | last quarter | weakest kinds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, data in track(tests.items(), description="tasks"):
        figures = []
        for split in SPLITS:
            part = TaskBatches.open(prepared, source, prepared.task(name), split)
            result = score_task(model, part, max_examples=given.examples, pool=POOL, device=device)
            figures.append(f"{100 * result.example_scores.mean():.1f}")
        known = [(all(right[key] for key in keys), score) for keys, score in examples[name] if set(keys) <= set(right)]
        cells = []
        for wanted in (True, False):
            own = [score for seen, score in known if seen is wanted]
            cells.append(f"{100 * np.mean(own):.1f} ({len(own):,})" if own else "none")
        rising = f"{still_rising(run, name, recipe.training.iterations):+.1f}"
        row = [name, *figures, f"{ceiling(data, limit):.1f}", *cells, rising, weakest(scores.tasks[name])]
        lines.append(f"| {' | '.join(row)} |")
    text = "\n".join([*lines, ""])
    (run / "limits.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
