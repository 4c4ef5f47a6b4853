"""Train a twin encoder for a run's model: ``twelvefold index train``. The model itself is frozen and stays as it is.

Captions and images of the training splits of the retrieval tasks are matched within a batch, by labels alone: what a
shortlist must have is the caption's own image, whatever the cross-encoder says of the others. Not in the paper.
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twelvefold.data.region_inputs import RegionSource
from twelvefold.data.retrieval_pool import RetrievalPool
from twelvefold.data.task_batches import TaskBatches
from twelvefold.evaluation.run_inputs import RunInputs
from twelvefold.evaluation.shortlist import embed_captions, embed_images
from twelvefold.families import load_family, retrieval
from twelvefold.model import Model
from twelvefold.model.twin_encoder import FILE, TwinEncoder
from twelvefold.progress import progress_bar
from twelvefold.schema import TaskSpec, TwelvefoldError
from twelvefold.store.prepared import Prepared

BATCH_SIZE = 256
"""Captions of a batch, each of which is compared with the images of all."""
LR = 1e-3
WARMUP_ITERATIONS = 50
WEIGHT_DECAY = 1.0
"""Of every parameter, also of the factor on inner products. Chosen on validation images of the drawn world: with 0.1
the factor grows and the recall in large pools falls."""
RECALLS = (1, 10, 32, 64, 128, 256)
"""Sizes of a shortlist for which the share of captions whose own image is on it is measured."""


class ListedShare(msgspec.Struct, frozen=True):
    """Share of validation captions, in percent, whose own image is on a shortlist of so many of these images."""

    captions: int
    images: int
    listed: dict[int, float]


class TwinSummary(msgspec.Struct, frozen=True):
    """What was trained: the file, its last training loss, and its recall on the validation split of each task."""

    file: Path
    iterations: int
    seconds: float
    loss: float
    tasks: dict[str, ListedShare]


def train_twin_encoder(
    run: Path,
    *,
    prepared: Path | None = None,
    regions: Path | None = None,
    checkpoint: str = "latest",
    iterations: int = 600,
    seed: int = 0,
) -> TwinSummary:
    """Train the twin encoder of a run's model: it makes shortlists, so that a search compares few pairs.

    It is trained on the captions of the run's retrieval tasks and written to the checkpoint's folder, next to the
    model's weights, which do not change. ``evaluate``, ``find`` and ``index search`` use it with ``--shortlist``. The
    result is the share of validation captions whose own image is on a shortlist. A stopped training starts again.

    Args:
        run: Folder of the run. ``twelvefold evaluate MODEL --out RUN`` makes one of an imported model.
        prepared: Folder that ``prepare`` wrote; by default the one that the run remembers.
        regions: Folder that ``extract`` wrote; by default the one that the run remembers.
        checkpoint: ``latest``, ``best``, or the name of a kept checkpoint.
        iterations: Number of batches of 256 captions.
        seed: Seed of the new weights and of the order of the captions.

    Raises:
        TwelvefoldError: the run or checkpoint is missing, it has no retrieval task, or ``iterations`` is below 1.
    """
    if iterations < 1:
        raise TwelvefoldError(f"iterations must be at least 1, got {iterations}")
    inputs = RunInputs.open(run, prepared=prepared, regions=regions, checkpoint=checkpoint)
    started = time.monotonic()
    model, device = inputs.load_model()
    model.requires_grad_(False)
    tasks = [model.tasks[task.name] for task in inputs.tasks() if load_family(task.family).searches_images]
    if not tasks:
        raise TwelvefoldError(f"{run} has no retrieval task ({', '.join(model.tasks)}): a twin encoder needs captions")
    batches = [_train_batches(inputs, model, task, seed) for task in tasks]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        twin = TwinEncoder(model.config.text_hidden_size, model.trunk.region_hidden_size)
    twin = twin.to(device)
    loss = _train(model, twin, batches, iterations, device)
    twin = twin.eval().requires_grad_(False)
    validated = {task.name for task in inputs.tasks_with_examples("val")}
    shares = {task.name: _listed(inputs, task, model, twin, device) for task in tasks if task.name in validated}
    twin.write(inputs.checkpoint)
    return TwinSummary(inputs.checkpoint / FILE, iterations, round(time.monotonic() - started, 1), loss, shares)


def _train_batches(inputs: RunInputs, model: Model, task: TaskSpec, seed: int) -> TaskBatches:
    prepared, regions = Prepared.open(inputs.prepared), RegionSource.open(inputs.regions)
    task = dataclasses.replace(task, batch_size=BATCH_SIZE)
    return TaskBatches.open(prepared, regions, task, "train", seed=seed, head=model.head_specs[task.head])


def _train(model: Model, twin: TwinEncoder, batches: list[TaskBatches], iterations: int, device: torch.device) -> float:
    """Train with AdamW; tasks take turns. Return the mean loss of the last tenth of the iterations."""
    optimizer = torch.optim.AdamW(twin.parameters(), lr=LR, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / WARMUP_ITERATIONS) * (1 - step / iterations)
    )
    images = [data.table.first_images()[1] for data in batches]
    losses: list[Tensor] = []
    with progress_bar(description="training the twin encoder", total=iterations) as bar:
        for iteration in range(iterations):
            turn, step = iteration % len(batches), iteration // len(batches)
            loss = _loss(model, twin, batches[turn], step, images[turn], device)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            losses.append(loss.detach())
            bar.advance()
    return round(float(torch.stack(losses[-max(1, iterations // 10) :]).mean()), 4)


def _loss(
    model: Model,
    twin: TwinEncoder,
    data: TaskBatches,
    step: int,
    image_of_caption: NDArray[np.int32],
    device: torch.device,
) -> Tensor:
    """Return the loss of a batch of captions and the images that they are about."""
    indices = data.indices_for_step(step)
    _, first, true_image = np.unique(image_of_caption[indices], return_index=True, return_inverse=True)
    batch = data.batch(indices.tolist()).to(device)
    with torch.no_grad():
        texts, images = model.encode_texts(batch), model.encode_images(batch)
    return twin.loss(texts, images.select(first), torch.from_numpy(true_image).to(device))


@torch.inference_mode()
def _listed(inputs: RunInputs, task: TaskSpec, model: Model, twin: TwinEncoder, device: torch.device) -> ListedShare:
    """Measure on the validation split, in which every caption is searched in all images."""
    pool = RetrievalPool.with_all_captions(inputs.batches(task, "val"), 0, 0)
    scores = embed_captions(pool, model, twin, device) @ embed_images(pool, model, twin, device).T
    ranks = retrieval.rank_true_images(scores, torch.from_numpy(pool.true_images))
    shares = {k: round(100 * retrieval.recall_at(ranks, k), 2) for k in RECALLS}
    return ListedShare(len(pool.captions), len(pool.images), shares)
