"""Fit one temperature for each task on one half of val, check it on the other, and store it in the checkpoint's card.

A temperature makes probabilities match scores; no score and no ranking changes. It is kept for a task only if it helps
on the half that it was not fitted on. The halves have no image in common. Retrieval is calibrated over the pool of
images that evaluation searches, as ``decode_names`` shows it. Not in the paper; ``evaluation/reliability.py`` says what
is fitted.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import torch
from torch import Tensor

from twelvefold.batch import Batch
from twelvefold.data.region_inputs import RegionSource
from twelvefold.evaluation.fit_statistics import fit_feature_statistics
from twelvefold.evaluation.per_task import run_per_task
from twelvefold.evaluation.reliability import (
    calibration_bins,
    expected_calibration_error,
    fit_temperature,
    mean_cross_entropy,
    split_by_image,
)
from twelvefold.evaluation.run_inputs import RunInputs
from twelvefold.evaluation.score import ScoredModel, TaskScoring
from twelvefold.families import Family, load_family
from twelvefold.families.shared.probabilities import probabilities
from twelvefold.model import card, feature_statistics
from twelvefold.schema import TwelvefoldError
from twelvefold.store.prepared import Prepared

MAX_EXAMPLES = 2000
"""Examples of both halves, evenly spaced over val: a thousand are enough for one number."""
MAX_CAPTIONS = 400
"""The same for retrieval, where each caption is compared with a whole pool of images."""
SEED = 0
"""Seed of the split into halves. It is the same for all runs, so that their calibration errors can be compared."""
VERSION = 2
"""Version of the fit: a new version fits again."""


NOT_FITTED = card.Calibration(temperature=1.0, kept=False, seed=SEED, n_fit=0, n_check=0, error=None, error_raw=None)
"""The calibration of a task without validation labels."""


class FittedTemperature(msgspec.Struct, frozen=True):
    """The temperature that a task uses, 1 if the fitted one was not kept; ``n``: validation examples of both halves.

    test_is_labeled: whether ``evaluate`` can measure the calibration on test.
    """

    temperature: float
    n: int
    calibration: card.Calibration
    test_is_labeled: bool = True


def calibrate(
    run: Path,
    *,
    prepared: Path | None = None,
    regions: Path | None = None,
    checkpoint: str = "latest",
    processes: int = 2,
) -> dict[str, FittedTemperature]:
    """Fit a temperature for each task of a run's model and store them in the checkpoint's card.

    A temperature is fitted on one half of the validation images, and kept only if it lowers both the calibration error
    and the cross-entropy on the other half; the card says for which tasks it was not. ``evaluate`` and ``load`` then
    use it. Later checkpoints have none. A second call with the same weights and data fits nothing again.
    The statistics of the training images' region features are stored, too: ``load`` lowers probabilities about images
    that are unlike them. With few validation images that no task trains on there are none, and nothing is lowered.
    Test labels are not read: a task whose test labels are withheld is calibrated as any other. A task without
    validation labels is not, and the result and the card say so.

    Args:
        run: Folder of the run.
        prepared: Folder that ``prepare`` wrote; by default the one that the run remembers.
        regions: Folder that ``extract`` wrote; by default the one that the run remembers.
        checkpoint: ``latest``, ``best``, or the name of a kept checkpoint.
        processes: Number of tasks fitted at the same time.

    Raises:
        TwelvefoldError: the run or checkpoint is missing, a task has no validation examples, no task has validation
            labels, or the run is a pretraining run.
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
    calibrations = {name: result.calibration for name, result in fitted.items()}
    if not any(each.n_fit for each in calibrations.values()):
        raise TwelvefoldError(f"no task of {run} has labeled validation examples to calibrate on; prepare more data")
    temperatures = {name: each.temperature for name, each in calibrations.items() if each.kept}
    old_card = card.read(inputs.checkpoint)
    new_card = msgspec.structs.replace(old_card, temperatures=temperatures, calibrations=calibrations)
    if new_card != old_card:
        card.write(inputs.checkpoint, new_card)
    detected, tables = RegionSource.open(inputs.regions).detected, Prepared.open(inputs.prepared)
    statistics = fit_feature_statistics(tables, detected, [task.name for task in inputs.tasks()])
    if statistics is None:
        (inputs.checkpoint / feature_statistics.FILE).unlink(missing_ok=True)
    else:
        statistics.write(inputs.checkpoint)
    tested = {task.name for task in inputs.tasks_with_examples("test")}
    withheld = [name for name in fitted if name in tested and not tables.table(name, "test").is_labeled().any()]
    return {name: msgspec.structs.replace(each, test_is_labeled=name not in withheld) for name, each in fitted.items()}


class LogitRecorder:
    """A model that records the logits of every example but captions, in order; rows that are no candidate have minus
    infinity."""

    def __init__(self, model: ScoredModel, family: Family) -> None:
        self.model, self.family = model, family
        self.rows: list[Tensor] = []

    def __call__(self, batch: Batch) -> Tensor:
        logits = self.model(batch)
        self.rows += self.family.mask_logits(logits, batch).cpu().unbind()
        return logits

    def alignments(self, captions: Batch, images: Batch) -> Tensor:
        return self.model.alignments(captions, images)


def fit_task_temperature(inputs: RunInputs, name: str) -> FittedTemperature:
    """Fit and check one task's temperature on val. Runs in a process of its own."""
    torch.set_num_threads(1)
    model, device = inputs.load_model()
    task = model.tasks[name]
    family = load_family(task.family)
    recorder = LogitRecorder(model, family)
    limits = inputs.recipe.evaluation
    scoring = TaskScoring(
        inputs.batches(task, "val"),
        max_examples=MAX_CAPTIONS if family.searches_images else MAX_EXAMPLES,
        pool=limits.retrieval_pool,
        batch_size=limits.batch_size,
    )
    parts = [scoring.score(recorder, rows, device) for rows in scoring.parts()]
    result = scoring.merge(parts)
    rows = [row for part in parts for row in part.pool_rows()] if family.searches_images else recorder.rows
    usable = [
        (row, record.score, [str(pair.image) for pair in example.pairs])
        for row, record, example in zip(rows, result.records, result.examples, strict=True)
        if record.score is not None and bool(row.isfinite().any())
    ]
    if not usable:
        return FittedTemperature(1.0, 0, NOT_FITTED)
    logits = torch.nn.utils.rnn.pad_sequence(
        [row for row, _, _ in usable], batch_first=True, padding_value=float("-inf")
    )
    scores = torch.tensor([score for _, score, _ in usable])
    calibration = fit_on_half(logits, scores, [images for _, _, images in usable], independent=family.independent)
    return FittedTemperature(calibration.temperature if calibration.kept else 1.0, len(usable), calibration)


def fit_on_half(
    logits: Tensor, scores: Tensor, images: Sequence[Sequence[str]], *, independent: bool, seed: int = SEED
) -> card.Calibration:
    """Fit a temperature on one half of the examples, and decide on the other half whether it is kept.

    logits: (N, A), minus infinity where there is no output. scores: (N,) in 0..1, of each row's best output. images: of
    each example. If all examples share images, there is no other half, and the temperature is not kept.
    """
    first = torch.from_numpy(split_by_image(images, seed))
    temperature = fit_temperature(logits[first], scores[first], independent=independent)
    after, before = (
        probabilities(logits[~first], each, independent=independent).amax(dim=1).tolist() if (~first).any() else []
        for each in (temperature, 1.0)
    )
    checked = scores[~first].tolist()
    error, error_raw = (expected_calibration_error(calibration_bins(each, checked)) for each in (after, before))
    entropy, entropy_raw = mean_cross_entropy(after, checked), mean_cross_entropy(before, checked)
    return card.Calibration(
        temperature=temperature,
        kept=error <= error_raw and entropy < entropy_raw,
        seed=seed,
        n_fit=int(first.sum()),
        n_check=len(checked),
        error=error if checked else None,
        error_raw=error_raw if checked else None,
    )
