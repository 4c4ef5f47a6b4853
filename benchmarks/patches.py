"""Time from an image to an answer: regions of a detector, and patches of image backbones without one.

    python -m benchmarks.patches --rounds 3                # the published size: x152 takes half a minute a round
    python -m benchmarks.patches --size small --rounds 9   # the model of the package, and its detector

Every call answers one question about an image that was not seen before, so that its regions are computed. Weights are
random (seed 0), except for ``--size small``, where the model and the detector are those of the package.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import torch
from benchmarks.side_by_side import Report, Work, argument_parser
from benchmarks.workload import make_model

import twelvefold
from twelvefold.config.extract import RANDOM, ExtractConfig
from twelvefold.config.model import changed
from twelvefold.detectors.interface import RegionDetector
from twelvefold.detectors.load import load_detector
from twelvefold.detectors.world_detector.detector import fastest_cpu_dtype
from twelvefold.detectors.x152.detector import X152
from twelvefold.detectors.x152.network import X152Network
from twelvefold.images import image_from_rgb
from twelvefold.model import Model
from twelvefold.model.card import DetectorCard
from twelvefold.serving.model_info import ModelInfo
from twelvefold.serving.predictor import Predictor
from twelvefold.serving.request import Request

IMAGE_SIZES = {"published": (427, 640), "small": (224, 288)}
"""Height and width in pixels: of an image of COCO, and of one of the drawn world."""
BACKBONES = {
    "published": ("patches:resnet50", "patches:resnet18,stride=16", "patches:vit_small_patch16_224"),
    "small": ("patches:world", "patches:resnet10t,stride=16,size=256"),
}
MAX_REGIONS = {"published": 100, "small": 64}
QUESTION = "what is the man to the left of the table holding?"


def make_predictor(network: Model, detector: RegionDetector) -> Predictor:
    """Return a predictor for a network; it has its own first layer if the detector's features have another length."""
    if network.config.feature_size != detector.feature_size:
        config = changed(network.config, feature_size=detector.feature_size)
        heads = list(network.head_specs.values())
        other = Model(config, list(network.tasks.values()), heads, task_tokens=network.task_tokens)
        network = other.eval()
    info = ModelInfo(
        name="benchmark",
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        tasks=tuple(network.tasks),
        trained_on="",
        detector=DetectorCard(name="benchmark", digest=detector.digest, feature_size=detector.feature_size),
        scores={},
        temperatures={},
    )
    return Predictor(network, detector, info, torch.device("cpu"))


def answer_run(predictor: Predictor, shape: tuple[int, int]) -> Callable[[], object]:
    """Return a function that answers a question about a new image."""
    rng, numbers = np.random.default_rng(0), itertools.count()

    def run() -> object:
        image = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
        return predictor.answer([Request("vqav2", (image_from_rgb(image, f"{next(numbers)}"),), QUESTION)])

    return run


def main() -> None:
    arguments = argument_parser(__doc__, rounds=3).parse_args()
    report = Report("patches", arguments, unit="answer")
    shape = IMAGE_SIZES[arguments.size]
    torch.manual_seed(0)
    if arguments.size == "published":
        network, detector = make_model(), X152(X152Network())
        predictors = {"detector x152": make_predictor(network, detector)}
    else:
        predictors = {"detector world": twelvefold.load()}
        network = predictors["detector world"].network
    for name in BACKBONES[arguments.size]:
        weights = "" if name == "patches:world" else RANDOM
        config = ExtractConfig(detector=name, weights=weights, max_regions=MAX_REGIONS[arguments.size])
        backbone = load_detector(config, dtype=fastest_cpu_dtype())
        predictors[name] = make_predictor(network, backbone)
        answer_run(predictors[name], shape)()  # a warm-up; half a minute more of the detector would change nothing
    works = [Work(name, answer_run(predictor, shape)) for name, predictor in predictors.items()]
    report.add(f"an image of {shape[1]} x {shape[0]} and a question", works, warm_up=arguments.size == "small")
    report.write()


if __name__ == "__main__":
    main()
