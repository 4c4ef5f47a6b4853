"""``twelvefold detector train`` and ``evaluate``: train and evaluate the detector on images of the drawn world.

Images are drawn as they are needed, from seeds that no data world may use: each image is used once, and no evaluation
image is trained on. Paper: section 3.1 uses the regions of an existing detector; this module makes
ours.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import msgspec
import numpy as np
import torch

from twelvefold.detectors.world_detector.detector import ComputeDtype, LabelSpace, WorldDetector
from twelvefold.detectors.world_detector.fit import DetectorBatch, DetectorSchedule, DetectorTrainState, fit
from twelvefold.detectors.world_detector.images import to_tensor
from twelvefold.detectors.world_detector.metrics import DetectionMetrics, GroundTruth, compute_metrics
from twelvefold.detectors.world_detector.network import ATTRIBUTES
from twelvefold.device import select_device
from twelvefold.images import RGB, open_image
from twelvefold.progress import track
from twelvefold.schema import TwelvefoldError
from twelvefold.store.atomic_files import lock_folder
from twelvefold.store.worker_pool import create_pool
from twelvefold.world.categories import CATEGORIES, COLORS, PATTERNS, SIZES
from twelvefold.world.draw import draw_jpeg
from twelvefold.world.scene import Scene, make_scene

TRAINING_SEED = 10_000_000
"""Added to the seed of training images. Data worlds use smaller seeds, so none of their images is trained on."""
EVALUATION_SEED = 20_000_000
"""Added to the seed of evaluation images."""
WINDOW = 96
"""Images drawn at a time and grouped by shape; images that do not fill a batch (a twentieth) are dropped."""
CROWDED_EVERY = 5
"""One training image in five is crowded, because GuessWhat?! images hold up to 20 objects."""

LABELS = LabelSpace(tuple(category.name for category in CATEGORIES), tuple(COLORS), tuple(SIZES), PATTERNS)

Sample = tuple[RGB, GroundTruth]


def train_detector(
    out: Path, *, images: int = 30_000, seed: int = 0, batch_size: int = 8, lr: float = 3e-3, processes: int = 0
) -> DetectionMetrics:
    """Train a detector on drawn images and evaluate it. About 12 images per second on one core.

    An interrupted call continues from the last checkpoint when it is repeated.

    Args:
        out: Folder for checkpoints and ``detector.safetensors``.
        images: Number of training images.
        seed: Seed of the weights and the images.
        batch_size: Images per step.
        lr: Peak learning rate.
        processes: Processes that draw images ahead; 0 draws between steps. The result does not depend on it.

    Raises:
        TwelvefoldError: ``out`` holds a checkpoint with other settings, or a setting is out of range.
    """
    if not 0 < lr < math.inf:
        raise TwelvefoldError(f"lr must be a finite number above 0, got {lr:g}")
    if processes < 0:
        raise TwelvefoldError(f"processes must be 0 or more, got {processes}")
    if images < batch_size or batch_size < 2:
        raise TwelvefoldError(
            f"expected batches of at least 2 images and at least one batch, got {images=}, {batch_size=}"
        )
    with ExitStack() as stack:
        stack.enter_context(lock_folder(out))
        executor = stack.enter_context(create_pool(processes)) if processes else None
        schedule = DetectorSchedule(num_images=images, batch_size=batch_size, lr=lr)
        state = DetectorTrainState(LABELS, schedule, seed, select_device("cpu"))
        fit(state, lambda position: _stream_batches(seed, batch_size, position, executor), out)
    return evaluate_detector(out / "detector.safetensors")


def evaluate_detector(
    weights: Path | None = None, *, images: int = 400, seed: int = 0, crowded: bool = False
) -> DetectionMetrics:
    """Evaluate a detector on drawn images that are never used for training.

    Args:
        weights: Weight file of the detector. Default: the detector of the package.
        images: Number of images.
        seed: Seed of the images.
        crowded: Use images with 10 to 20 objects instead of 3 to 9.

    Raises:
        TwelvefoldError: there is no image to evaluate, or the weight file cannot be used.
    """
    if images < 1:
        raise TwelvefoldError(f"images: expected at least 1, got {images}")
    device = select_device("cpu")
    dtype: ComputeDtype | None = None if device.type == "cpu" else "float32"
    detector = WorldDetector.load(weights, max_regions=36 if crowded else 16, dtype=dtype, device=device)
    truths, outputs = [], []
    for index in track(range(images), description="images evaluated"):
        scene = make_scene(EVALUATION_SEED + seed, index, crowded=crowded)
        truth = _ground_truth(scene)
        truths.append(truth)
        outputs.extend(detector.detect_with_attributes([open_image(draw_jpeg(scene))], [truth.boxes_px]))
    return compute_metrics(truths, outputs, len(CATEGORIES))


def _ground_truth(scene: Scene) -> GroundTruth:
    boxes = np.array([obj.box_px for obj in scene.objects], np.float32).reshape(-1, 4)
    return GroundTruth(
        boxes,
        {
            attribute: np.array([names.index(getattr(obj, attribute)) for obj in scene.objects], np.int64)
            for attribute, names in zip(ATTRIBUTES, LABELS, strict=True)
        },
    )


def _draw_sample(seed: int, index: int) -> Sample:
    """Draw a training image, compressed as JPEG like the images that are extracted, and its truth."""
    scene = make_scene(TRAINING_SEED + seed, index, crowded=index % CROWDED_EVERY == 0)
    return open_image(draw_jpeg(scene)), _ground_truth(scene)


def _stream_batches(
    seed: int, batch_size: int, position: tuple[int, int], executor: Executor | None
) -> Iterator[DetectorBatch]:
    """Yield endless batches of one shape each, from a position: a window, and how many of its batches to skip."""
    first, skipped = position
    upcoming = _draw_window(seed, first, executor)
    for window in count(first):
        samples = list(upcoming)
        upcoming = _draw_window(seed, window + 1, executor)
        by_shape: dict[tuple[int, ...], list[Sample]] = {}
        for sample in samples:
            by_shape.setdefault(sample[0].shape, []).append(sample)
        batches = [
            group[i : i + batch_size]
            for group in by_shape.values()
            for i in range(0, len(group) - batch_size + 1, batch_size)
        ]
        order = np.random.Generator(np.random.PCG64(window)).permutation(len(batches))  # else sorted by shape
        for number, index in enumerate(order):
            if window > first or number >= skipped:
                yield _to_batch(batches[index], (window, number + 1))


def _draw_window(seed: int, window: int, executor: Executor | None) -> Iterator[Sample]:
    """Draw the images of a window: lazily, or ahead in other processes."""
    indices = range(window * WINDOW, (window + 1) * WINDOW)
    seeds = [seed] * WINDOW
    return executor.map(_draw_sample, seeds, indices, chunksize=8) if executor else map(_draw_sample, seeds, indices)


def _to_batch(samples: list[Sample], position: tuple[int, int]) -> DetectorBatch:
    targets = []
    for _, truth in samples:
        arrays = {"boxes": truth.boxes_px, **truth.labels}
        targets.append({name: torch.from_numpy(array) for name, array in arrays.items()})
    return DetectorBatch(to_tensor([image for image, _ in samples]), targets, position)


def metrics_to_json(metrics: DetectionMetrics) -> dict[str, float]:
    """Return the metrics as a dict, rounded to four digits."""
    return {name: round(value, 4) for name, value in msgspec.to_builtins(metrics).items()}
