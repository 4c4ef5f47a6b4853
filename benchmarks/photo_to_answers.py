"""Time each stage from a photograph to answers of all six heads, at the published sizes, on a CPU.

    python benchmarks/photo_to_answers.py [IMAGE ...] [--weights multi_task_model.bin] [--detector FILE.pth]

With the two published files (multi_task_model.bin, detectron_model.pth) the answers are the paper's. Without them both
are made from random weights (seed 0) with their official names and sizes, 1.1 and 0.8 GB in a temporary folder; the
answers are random then, but take the same time. Without images the two photographs of scikit-learn are used.
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
from twelvefold.config.weights import WeightsImportConfig
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
    """Print the wall-clock and CPU time of each stage; they differ if other processes run."""

    def __init__(self) -> None:
        self._start = time.perf_counter(), time.process_time()

    def report(self, stage: str, answer: str = "") -> None:
        now = time.perf_counter(), time.process_time()
        wall, cpu = (end - start for start, end in zip(self._start, now, strict=True))
        print(f"{stage:26} {wall:8.2f} s {cpu:8.2f} s of CPU time  {answer}", flush=True)
        self._start = time.perf_counter(), time.process_time()


def random_weights(folder: Path) -> Path:
    """Write a complete multi-task file with official names."""
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
    """Write a detector file with maskrcnn-benchmark's names."""
    torch.save({"model": X152Network().state_dict()}, folder / "detectron_model.pth")
    return folder / "detectron_model.pth"


def load_images(paths: list[Path]) -> list[InputImage]:
    if paths:
        return [load_image(path) for path in paths]
    from sklearn.datasets import load_sample_image

    return [load_image(load_sample_image(name)) for name in ("china.jpg", "flower.jpg")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="*", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--detector", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    images = load_images(arguments.images)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        weights = arguments.weights or random_weights(folder)
        detector = arguments.detector or random_detector(folder)
        clock = Clock()
        x152 = X152.load(detector)
        clock.report("detector loaded")
        import_weights(weights, folder / "model", options=WeightsImportConfig(pad_answers=True))
        clock.report("weights imported")
        model = twelvefold.load(folder / "model", detector=x152)
        clock.report("model loaded", f"{model.about.parameters:,} parameters")
        answer(model, images, clock)
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GB peak memory")


def answer(model: Predictor, images: list[InputImage], clock: Clock) -> None:
    """Ask each head one question; the regions of an image are cached after its detection."""
    first, last = images[0], images[-1]
    for image in images:
        (regions,) = model.detect([image])
        clock.report(f"detector, {image.width} x {image.height}", f"{len(regions.boxes_px)} regions")
    requests = {
        "vqa": Request("vqav2", (first,), "what is in the picture?"),
        "gqa": Request("gqa", (first,), "is it indoors or outdoors?"),
        "retrieval": Request("coco", tuple(images), "a building"),
        "grounding": Request("refcoco", (first,), "the roof on the left"),
        "nlvr2": Request("nlvr2", (first, last), "one of the pictures shows a flower"),
        "snli_ve": Request("snli_ve", (first,), "somebody is outdoors"),
    }
    for head, request in requests.items():
        best = model.answer([request])[0].best
        clock.report(f"head {head}", f"{best.name or best.box_px}, probability {best.probability:.3f}")


if __name__ == "__main__":
    main()
