"""``twelvefold detector train`` and ``evaluate``: teach the detector the embedded world, and measure what it knows.

Pictures are drawn as they are needed, from seeds that no data world may use, so none is seen twice and none is tested.
Paper: section 3 takes the detector as given; this is where ours comes from.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import asdict
from itertools import count
from pathlib import Path

import numpy as np
import torch

from twelvefold.detectors.world_detector.detector import Detector, Words
from twelvefold.detectors.world_detector.images import to_tensor
from twelvefold.detectors.world_detector.metrics import Measures, Truth, measure
from twelvefold.detectors.world_detector.train import Lesson, Schedule, Student, fit
from twelvefold.images import RGB, open_image
from twelvefold.progress import track
from twelvefold.schema import TwelvefoldError
from twelvefold.store.atomic_files import lock_folder
from twelvefold.store.worker_pool import pool
from twelvefold.world.categories import CATEGORIES, COLORS, PATTERNS, SIZES
from twelvefold.world.draw import draw_jpeg
from twelvefold.world.scene import Scene, make_scene

TRAINING_SEED = 10_000_000
"""Added to the seed of training pictures. Worlds of data take smaller seeds: the detector saw none of them."""
EVALUATION_SEED = 20_000_000
"""Added to the seed of pictures that the detector is measured on."""
WINDOW = 96
"""Pictures drawn ahead and sorted by shape; what does not fill a batch (a twentieth) is dropped."""
CROWDED_EVERY = 5
"""One training picture in five is crowded: GuessWhat's pictures hold up to 20 things."""

WORDS = Words(tuple(category.name for category in CATEGORIES), tuple(COLORS), tuple(SIZES), PATTERNS)


def train_detector(
    out: Path, *, pictures: int = 30_000, seed: int = 0, batch: int = 8, lr: float = 3e-3, workers: int = 0
) -> Measures:
    """Train a detector on ``pictures`` drawn pictures and leave ``detector.safetensors`` in ``out``; measure it.

    Killed at any moment, the same call goes on from the last checkpoint. ``workers``: processes that draw ahead;
    none draws between steps. What is learnt depends on none of this. About 12 pictures a second on one core.

    Raises: TwelvefoldError where ``out`` holds a checkpoint of other settings.
    """
    if pictures < batch or batch < 2:
        raise TwelvefoldError(
            f"training needs batches of 2 or more and at least one of them, got {pictures=}, {batch=}"
        )
    with ExitStack() as stack:
        stack.enter_context(lock_folder(out))
        drawers = stack.enter_context(pool(workers)) if workers else None
        student = Student(WORDS, Schedule(pictures=pictures, batch=batch, lr=lr), seed)
        fit(student, lambda place: _lessons(seed, batch, place, drawers), out)
    return evaluate_detector(out / "detector.safetensors")


def evaluate_detector(
    weights: Path | None = None, *, pictures: int = 400, seed: int = 0, crowded: bool = False
) -> Measures:
    """Measure a detector (None: the one that comes with the package) on drawn pictures that it never saw."""
    detector = Detector.load(weights, max_regions=36 if crowded else 16)
    truths, answers = [], []
    for index in track(range(pictures), description="pictures measured"):
        scene = make_scene(EVALUATION_SEED + seed, index, crowded=crowded)
        truth = _truth(scene)
        truths.append(truth)
        answers.extend(detector.look([open_image(draw_jpeg(scene))], [truth.boxes_px]))
    return measure(truths, answers, len(CATEGORIES))


def _truth(scene: Scene) -> Truth:
    """What is in the scene, in the detector's words."""

    def places(name: str, words: tuple[str, ...]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return np.array([words.index(getattr(obj, name)) for obj in scene.objects], np.int64)

    return Truth(
        boxes_px=np.array([obj.box_px for obj in scene.objects], np.float32).reshape(-1, 4),
        kind=places("category", WORDS.kinds),
        colour=places("color", WORDS.colours),
        size=places("size", WORDS.sizes),
        pattern=places("pattern", WORDS.patterns),
    )


def _drawn(seed: int, index: int) -> tuple[RGB, Truth]:
    """A training picture, through JPEG as extraction will see them, and what is in it."""
    scene = make_scene(TRAINING_SEED + seed, index, crowded=index % CROWDED_EVERY == 0)
    return open_image(draw_jpeg(scene)), _truth(scene)


def _lessons(seed: int, batch: int, place: tuple[int, int], drawers: Executor | None) -> Iterator[Lesson]:
    """Endless batches of one shape each, from window ``place[0]`` on, without the first ``place[1]`` of its batches."""
    first, taken = place
    ahead = _window(seed, first, drawers)
    for window in count(first):
        drawn = list(ahead)
        ahead = _window(seed, window + 1, drawers)
        by_shape: dict[tuple[int, ...], list[tuple[RGB, Truth]]] = {}
        for pair in drawn:
            by_shape.setdefault(pair[0].shape, []).append(pair)
        full = [group[i : i + batch] for group in by_shape.values() for i in range(0, len(group) - batch + 1, batch)]
        for number, group in enumerate(_mixed(full, window)):
            if window > first or number >= taken:
                yield _lesson(group, (window, number + 1))


def _mixed(groups: list[list[tuple[RGB, Truth]]], window: int) -> list[list[tuple[RGB, Truth]]]:
    """The batches in an order that does not go shape by shape."""
    order = np.random.Generator(np.random.PCG64(window)).permutation(len(groups))
    return [groups[i] for i in order]


def _window(seed: int, window: int, drawers: Executor | None) -> Iterator[tuple[RGB, Truth]]:
    """The pictures of one window; drawn when asked for, or at once by other processes."""
    indices = range(window * WINDOW, (window + 1) * WINDOW)
    seeds = [seed] * WINDOW
    return drawers.map(_drawn, seeds, indices, chunksize=8) if drawers else map(_drawn, seeds, indices)


def _lesson(group: list[tuple[RGB, Truth]], place: tuple[int, int]) -> Lesson:
    """Pictures and truths as the training wants them."""
    targets = []
    for _, truth in group:
        words = {name: torch.from_numpy(getattr(truth, name)) for name in ("kind", "colour", "size", "pattern")}
        targets.append({"boxes": torch.from_numpy(truth.boxes_px), **words})
    return Lesson(to_tensor([picture for picture, _ in group]), targets, place)


def as_json(measures: Measures) -> dict[str, float]:
    """Measures as a plain dict, rounded to four digits."""
    return {name: round(value, 4) for name, value in asdict(measures).items()}
