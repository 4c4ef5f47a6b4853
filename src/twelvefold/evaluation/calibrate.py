"""Fit one temperature for each task on val and store it in the checkpoint's card.

A temperature makes probabilities match scores; no score and no ranking changes. Retrieval is calibrated over the pool
of images that evaluation searches, as ``decode_names`` shows it. Not in the paper; ``evaluation/reliability.py`` says
what is fitted.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import torch
from torch import Tensor

from twelvefold.batch import Batch
from twelvefold.evaluation.per_task import run_per_task
from twelvefold.evaluation.reliability import fit_temperature
from twelvefold.evaluation.run_inputs import RunInputs
from twelvefold.evaluation.score import ScoredModel, score_task
from twelvefold.families import Family, load_family
from twelvefold.model import card
from twelvefold.schema import TwelvefoldError

MAX_EXAMPLES = 1000
"""Examples that a temperature is fitted on, evenly spaced over val: enough for one number."""
MAX_CAPTIONS = 200
"""The same for retrieval, where each caption is compared with a whole pool of images."""
VERSION = 1
"""Version of the fit: a new version fits again."""


class FittedTemperature(msgspec.Struct, frozen=True):
    """A task's temperature, and the number of validation examples behind it."""

    temperature: float
    n: int


def calibrate(
    run: Path,
    *,
    prepared: Path | None = None,
    regions: Path | None = None,
    checkpoint: str = "latest",
    processes: int = 2,
) -> dict[str, FittedTemperature]:
    """Fit a temperature for each task of a run's model and store them in the checkpoint's card.

    ``evaluate`` and ``load`` then use them. Later checkpoints have none. Temperatures that were fitted with the same
    weights and data are kept.

    Args:
        run: Folder of the run.
        prepared: Folder that ``prepare`` wrote; ``RUN/prepared`` by default.
        regions: Folder that ``extract`` wrote; ``RUN/regions`` by default.
        checkpoint: ``latest``, ``best``, or the name of a kept checkpoint.
        processes: Number of tasks fitted at the same time.

    Raises:
        TwelvefoldError: the run or checkpoint is missing, a task has no validation examples, or the run is a
            pretraining run.
    """
    inputs = RunInputs.open(run, prepared=prepared, regions=regions, checkpoint=checkpoint)
    fitted = run_per_task(
        fit_task_temperature,
        {task.name: (inputs, task.name) for task in inputs.tasks()},
        type_=FittedTemperature,
        folder=run / "calibration",
        inputs_digest=inputs.digest(inputs.weights_digest(), inputs.recipe.evaluation.retrieval_pool, VERSION),
        processes=processes,
        description="tasks calibrated",
    )
    temperatures = {name: result.temperature for name, result in fitted.items()}
    old_card = card.read(inputs.checkpoint)
    if old_card.temperatures != temperatures:
        card.write(inputs.checkpoint, msgspec.structs.replace(old_card, temperatures=temperatures))
    return fitted


class LogitRecorder:
    """A model that records the logits of every example, in order; rows that are no candidate have minus infinity."""

    def __init__(self, model: ScoredModel, family: Family) -> None:
        self.model, self.family = model, family
        self.rows: list[Tensor] = []

    def __call__(self, batch: Batch) -> Tensor:
        logits = self.model(batch)
        self.rows += self.family.mask_logits(logits, batch).cpu().unbind()
        return logits

    def alignments(self, captions: Batch, images: Batch) -> Tensor:
        logits = self.model.alignments(captions, images)
        self.rows += logits.float().cpu().unbind()
        return logits


def fit_task_temperature(inputs: RunInputs, name: str) -> FittedTemperature:
    """Fit one task's temperature on val. Runs in a process of its own.

    Raises:
        TwelvefoldError: no validation example has a label.
    """
    torch.set_num_threads(1)
    model, device = inputs.load_model()
    task = model.tasks[name]
    family = load_family(task.family)
    recorder = LogitRecorder(model, family)
    limits = inputs.recipe.evaluation
    result = score_task(
        recorder,
        inputs.batches(task, "val"),
        max_examples=MAX_CAPTIONS if family.searches_images else MAX_EXAMPLES,
        pool=limits.retrieval_pool,
        batch_size=limits.batch_size,
        device=device,
    )
    rows, scores = [], []
    for row, record in zip(recorder.rows, result.records, strict=True):
        if record.score is not None and bool(row.isfinite().any()):
            rows.append(row)
            scores.append(record.score)
    if not rows:
        raise TwelvefoldError(f"task {name} has no labeled validation examples to calibrate on; prepare more data")
    logits = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=float("-inf"))
    temperature = fit_temperature(logits, torch.tensor(scores), independent=family.independent)
    return FittedTemperature(temperature, len(rows))
