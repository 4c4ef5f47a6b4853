"""Estimate the time and disk space of an evaluation before it starts."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import torch

from twelvefold.data.retrieval_pool import CAPTION_BATCH_SIZE, IMAGE_BATCH_SIZE
from twelvefold.evaluation.predictions import MAX_RANKED_IMAGES
from twelvefold.evaluation.score import ScoredModel, TaskScoring
from twelvefold.store.disk_space import format_bytes
from twelvefold.training.distributed import ProcessGroup

CPU_EXAMPLES = 8
"""Examples of a measured batch on a CPU, where time is proportional to their number; on a GPU it is a whole batch."""
CPU_IMAGES = 4
"""Images with which a batch of captions is compared then."""
BYTES_PER_ANSWER = 110
"""Upper estimate of a ranked answer in a prediction file, and of what an example has besides its answers."""
ANSWERS = 5
"""Ranked answers of an example; a caption has ``MAX_RANKED_IMAGES`` images."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Upper estimates for the examples that are left. ``num_bytes``: of the files to write."""

    examples: int
    seconds: float
    num_bytes: int

    def describe(self, group: ProcessGroup, free: int) -> str:
        """Return the estimate as a line."""
        duration = (
            f"about {timedelta(minutes=round(self.seconds / 60))}" if self.seconds >= 60 else "less than a minute"
        )
        where = f"{group.world_size} process{'es' if group.world_size > 1 else ''} on {group.device.type}"
        return (
            f"{self.examples:,} examples, {duration} with {where}; files of up to {format_bytes(self.num_bytes)} "
            f"({format_bytes(free)} free)"
        )


def count_bytes(scoring: TaskScoring, examples: int) -> int:
    """Return the size of a task's files: of its parts and, once they are merged, of its predictions."""
    answers = ANSWERS if scoring.pool is None else MAX_RANKED_IMAGES
    pool_scores = 0 if scoring.pool is None else 4 * len(scoring.pool.images)
    return examples * (2 * BYTES_PER_ANSWER * (answers + 1) + pool_scores)


def measure_seconds(
    scorings: Mapping[str, TaskScoring], num_missing: Mapping[str, int], model: ScoredModel, group: ProcessGroup
) -> float:
    """Return the seconds that the ``num_missing`` examples of each task take: a batch of each task is timed.

    The tasks are split over the ranks. Pairs of a pool are timed by a batch of captions and of images.
    """
    names = [name for name in scorings if num_missing[name]]
    seconds = torch.zeros(len(names), device=group.device)
    indices = range(group.rank, len(names), group.world_size)
    if indices:
        _time_batch(scorings[names[indices[0]]], model, group.device)  # the first batch on a GPU is slower
    for index in indices:
        scoring = scorings[names[index]]
        seconds[index] = _time_batch(scoring, model, group.device) * num_missing[names[index]]
    return float(group.all_reduce(seconds).sum()) / group.world_size


@torch.inference_mode()
def _time_batch(scoring: TaskScoring, model: ScoredModel, device: torch.device) -> float:
    """Return the seconds that an example takes."""
    started = time.perf_counter()
    if scoring.pool is None:
        count = min(len(scoring), scoring.batch_size if device.type != "cpu" else CPU_EXAMPLES)
        scoring.score(model, range(count), device)
        return (time.perf_counter() - started) / count
    pool, num_images = scoring.pool, IMAGE_BATCH_SIZE if device.type != "cpu" else CPU_IMAGES
    captions = next(iter(pool.caption_batches(range(min(CAPTION_BATCH_SIZE, len(scoring))))))
    images = pool.image_batch(0, num_images)
    started = time.perf_counter()  # a part reads its captions and images once
    model.alignments(captions.to(device), images.to(device)).cpu()
    pairs = len(captions.example_ids) * len(images.example_ids)
    return (time.perf_counter() - started) * scoring.pairs_per_caption / pairs
