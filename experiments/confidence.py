"""How sure is the shipped model about photographs, and does lowering its confidence change drawn test images?

    python experiments/confidence.py PHOTOS --run runs/demo

PHOTOS is a folder of photographs; every task is asked about each. RUN is a run on a drawn world: the shipped model
answers its test sets with and without lowered confidence. Prints JSON: on photographs the highest probability of a best
answer by task; on drawings mean confidence, accuracy and calibration error (ECE), in points.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch

import twelvefold
from twelvefold import schema
from twelvefold.data.region_inputs import RegionSource
from twelvefold.data.task_batches import TaskBatches, evenly_spaced
from twelvefold.evaluation.reliability import calibration_bins, expected_calibration_error
from twelvefold.families import load_family
from twelvefold.families.shared.probabilities import lower_probabilities
from twelvefold.images import InputImage, load_image
from twelvefold.serving.inference import UNUSUAL_IMAGE_WEIGHT
from twelvefold.serving.predictor import Predictor
from twelvefold.serving.request import Request
from twelvefold.store.prepared import Prepared

TEXTS = {
    "answers": ("Is there a dog?", "How many people are there?", "What color is the car?", "What is on the left?"),
    "retrieval": ("a dog", "a red car next to a house"),
    "grounding": ("the person on the left", "the red one", "the largest thing"),
    "verification": ("There is a dog.", "A car is to the left of a tree.", "There are two people."),
}
"""Texts of words that the drawn world has, by family."""


def photograph_requests(model: Predictor, images: Sequence[InputImage]) -> Iterator[Request]:
    """Yield a request for each image, task and text; a search has the first ten images, a comparison two."""
    for spec in model.network.tasks.values():
        family = load_family(spec.family)
        for i, image in enumerate(images):
            if family.searches_images:
                chosen = (*images[i : i + 10],)
            else:
                chosen = (image, images[(i + 1) % len(images)])[: spec.pairs_per_example]
            for text in TEXTS[spec.family]:
                yield Request(spec.name, chosen, text)


def measure_photographs(model: Predictor, folder: Path) -> dict[str, float]:
    """Return the highest probability of a best answer for each task, in percent."""
    images = [load_image(path) for path in sorted(folder.iterdir()) if path.suffix.lower() in (".jpg", ".jpeg", ".png")]
    highest: dict[str, float] = {}
    for request in photograph_requests(model, images):
        [prediction] = model.answer([request])
        if prediction.ranked:
            percent = round(100 * prediction.best.probability, 1)
            highest[request.task] = max(highest.get(request.task, 0.0), percent)
    return highest


def measure_drawings(model: Predictor, run: Path, limit: int) -> dict[str, dict[str, dict[str, float]]]:
    """Return mean confidence, accuracy and calibration error of each task but retrieval, before and after."""
    prepared, source = Prepared.open(run / "prepared"), RegionSource.open(run / "regions")
    statistics, network, context = model.context.statistics, model.network, model.context
    if statistics is None:
        raise schema.TwelvefoldError("the model has no feature statistics")
    results: dict[str, dict[str, dict[str, float]]] = {}
    for spec in network.tasks.values():
        family = load_family(spec.family)
        if family.searches_images or "test" not in prepared.splits(spec.name):
            continue
        table = prepared.table(spec.name, "test")
        batches = TaskBatches(table, source, spec, network.head_specs[spec.head])
        before: list[float] = []
        after: list[float] = []
        correct: list[float] = []
        unusual = 0
        indices = evenly_spaced(len(table), limit).tolist()
        for start in range(0, len(indices), spec.batch_size):
            part = indices[start : start + spec.batch_size]
            batch = batches.batch(part)
            with torch.inference_mode():
                logits = network(batch)
            head = network.head_specs[spec.head]
            decoded = family.decode(logits, batch, head, 1, context.temperature(spec))
            scores = family.score(logits, batch).tolist()
            for index, each, score in zip(part, decoded, scores, strict=True):
                images = [source.detected[pair.image] for pair in table[index].pairs]
                is_unusual = any(map(statistics.is_unusual, images))
                options = len(head.outputs) or len(table[index].pairs[0].candidates_px) or len(images[0].boxes_px)
                weight = UNUSUAL_IMAGE_WEIGHT if is_unusual else 1.0
                lowered = lower_probabilities(each.ranked, weight, family.chance_probability(options))
                for rank, low in islice(zip(each.ranked, lowered, strict=True), 1):
                    before.append(rank.probability)
                    after.append(low.probability)
                    correct.append(score)
                    unusual += is_unusual
        results[spec.name] = {
            "before": summarize(before, correct),
            "after": summarize(after, correct),
            "examples": {"n": len(correct), "unusual": unusual},
        }
    return results


def summarize(confidences: Sequence[float], scores: Sequence[float]) -> dict[str, float]:
    """Return mean confidence, mean score and calibration error (ECE), in points."""
    return {
        "confidence": round(100 * float(np.mean(confidences)), 2),
        "score": round(100 * float(np.mean(scores)), 2),
        "ece": expected_calibration_error(calibration_bins(confidences, scores)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=500, help="test examples of each task, evenly spaced")
    arguments = parser.parse_args()
    model = twelvefold.load()
    result = {
        "photographs": measure_photographs(model, arguments.photos),
        "drawings": measure_drawings(model, arguments.run, arguments.limit),
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
