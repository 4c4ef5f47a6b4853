"""From a photograph to answers of all six heads with the published sizes, on a CPU, stage by stage.

    python benchmarks/photo_to_answers.py [PHOTOGRAPH ...] [--weights multi_task_model.bin] [--detector FILE.pth]

Who holds the two published files (multi_task_model.bin, detectron_model.pth) gets the paper's answers; without
them both are made of random weights (seed 0) under
their official names and at full size, 1.1 and 0.8 GB in a folder that is removed again. Without photographs the two
that come with scikit-learn are taken. Random weights answer at random; they take as long as trained ones.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import torch

import twelvefold
from twelvefold import datasets
from twelvefold.detectors.x152.detector import X152
from twelvefold.detectors.x152.network import X152Network
from twelvefold.images import InputImage, load_image
from twelvefold.model import Model, preset
from twelvefold.schema import HeadSpec
from twelvefold.serving.predictor import Predictor
from twelvefold.serving.request import Request
from twelvefold.vilbert_mt.export_weights import export_weights
from twelvefold.vilbert_mt.import_weights import import_weights
from twelvefold.vilbert_mt.parameter_names import HEADS, TASK_TOKENS

ANSWERS = {"vqa": 3129, "gqa": 1533}
"""Outputs of the published heads."""


class Clock:
    """Says what each stage took, by the clock and of the processor: they part where other work runs beside this."""

    def __init__(self) -> None:
        self._began = time.perf_counter(), time.process_time()

    def told(self, stage: str, answer: str = "") -> None:
        now = time.perf_counter(), time.process_time()
        took, busy = (end - began for began, end in zip(self._began, now, strict=True))
        print(f"{stage:26} {took:8.2f} s {busy:8.2f} s of processor time  {answer}", flush=True)
        self._began = time.perf_counter(), time.process_time()


def random_weights(folder: Path) -> Path:
    """A multi-task file under official names, every entry of it there."""
    heads = [
        HeadSpec(
            head.name,
            head.family,
            tuple(f"answer {n}" for n in range(ANSWERS[head.name])) if head.name in ANSWERS else head.outputs,
            head.pairs_per_example,
            head.form if head.family == "verification" else "mlp",
        )
        for head in HEADS
    ]
    tasks = [datasets.load_dataset(name).TASK for name in datasets.paper_task_names()]
    config = preset("vilbert_base", num_region_categories=1601, word_score=True)
    Model(config, tasks, heads, task_tokens=TASK_TOKENS).save(folder / "made")
    export_weights(folder / "made", folder / "multi_task_model.bin")
    return folder / "multi_task_model.bin"


def random_detector(folder: Path) -> Path:
    """A detector's file in maskrcnn-benchmark's names."""
    torch.save({"model": X152Network().state_dict()}, folder / "detectron_model.pth")
    return folder / "detectron_model.pth"


def photographs(given: list[Path]) -> list[InputImage]:
    if given:
        return [load_image(path) for path in given]
    from sklearn.datasets import load_sample_image

    return [load_image(load_sample_image(name)) for name in ("china.jpg", "flower.jpg")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs", nargs="*", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--detector", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    torch.manual_seed(0)
    pictures = photographs(asked.photographs)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        weights = asked.weights or random_weights(folder)
        detector = asked.detector or random_detector(folder)
        clock = Clock()
        eyes = X152.load(detector)
        clock.told("detector loaded")
        import_weights(weights, folder / "model", pad_answers=True)
        clock.told("weights imported")
        model = twelvefold.load(folder / "model", detector=eyes)
        clock.told("model loaded", f"{model.about.parameters:,} parameters")
        answer(model, pictures, clock)
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GB at most")


def answer(model: Predictor, pictures: list[InputImage], clock: Clock) -> None:
    """One question to each head; the regions of a picture are kept from the first time that it is seen."""
    first, other = pictures[0], pictures[-1]
    for seen in pictures:
        (regions,) = model.detect([seen])
        clock.told(f"detector, {seen.width} x {seen.height}", f"{len(regions.boxes_px)} regions")
    asked = {
        "vqa": Request("vqav2", (first,), "what is in the picture?"),
        "gqa": Request("gqa", (first,), "is it indoors or outdoors?"),
        "retrieval": Request("coco", tuple(pictures), "a building"),
        "grounding": Request("refcoco", (first,), "the roof on the left"),
        "nlvr2": Request("nlvr2", (first, other), "one of the pictures shows a flower"),
        "snli_ve": Request("snli_ve", (first,), "somebody is outdoors"),
    }
    for head, request in asked.items():
        best = model.answer([request])[0].best
        clock.told(f"head {head}", f"{best.name or best.box_px}, probability {best.probability:.3f}")


if __name__ == "__main__":
    main()
