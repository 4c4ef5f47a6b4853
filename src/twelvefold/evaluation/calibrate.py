"""Make a model's probabilities mean what they say: one temperature for each task, fitted on val, kept in its card.

Scores don't change by it, nor the order of answers: only how sure the model says it is. A search is calibrated over
the pool of pictures in which evaluation searches, as ``decode_pool`` shows it. Paper: not in it;
``evaluation/reliability.py`` says what is fitted.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import torch
from torch import Tensor

from twelvefold import datasets
from twelvefold.batch import Batch
from twelvefold.config.recipe import EvaluationConfig, Recipe
from twelvefold.data.region_inputs import RegionSource
from twelvefold.data.task_loader import TaskBatches
from twelvefold.device import select_device
from twelvefold.evaluation.per_task import made_from, per_task
from twelvefold.evaluation.placed import Placed
from twelvefold.evaluation.reliability import fitted_temperature
from twelvefold.evaluation.score import score_task
from twelvefold.families.grounding import among_candidates
from twelvefold.model import Model, card
from twelvefold.schema import FamilyName, TwelvefoldError
from twelvefold.store import atomic_files
from twelvefold.store.prepared import Prepared
from twelvefold.training.checkpoints import checkpoint_of

EXAMPLES = 1000
"""Examples that a temperature is fitted on, spread over val: one number needs no more."""
CAPTIONS = 200
"""Captions where each is searched for in a whole pool of pictures."""
VERSION = 1
"""Of how temperatures are fitted: another one fits again."""


class Fitted(msgspec.Struct, frozen=True):
    """A task's temperature and on how many validation examples it was fitted."""

    temperature: float
    n: int


def calibrate(
    run: Path,
    *,
    prepared: Path | None = None,
    regions: Path | None = None,
    checkpoint: str = "latest",
    processes: int = 2,
) -> dict[str, Fitted]:
    """Fit a temperature for each task of a run's model and leave them in the checkpoint's card.

    Whatever is decoded with this checkpoint from then on (``evaluate``, ``load``) uses them. A checkpoint written
    later has none. Tasks that were fitted with the same weights and data are not fitted again.

    Raises:
        TwelvefoldError: no such run or checkpoint, a task has no validation examples, the run was pretrained.
    """
    prepared, regions = prepared or run / "prepared", regions or run / "regions"
    folder = checkpoint_of(run, checkpoint)
    recipe = Recipe.load(run / "recipe.toml")
    if recipe.pretraining is not None:
        raise TwelvefoldError(f"{run} was pretrained and has no tasks whose answers could be calibrated")
    specs = recipe.specs(lambda name: datasets.load(name).TASK)
    found = per_task(
        fit_one,
        {
            spec.name: (folder, prepared, regions, spec.name, recipe.evaluation, recipe.training.device)
            for spec in specs
        },
        kind=Fitted,
        folder=run / "calibration",
        made_from=made_from(
            prepared, regions, atomic_files.digest_file(folder / "model.safetensors"), recipe.evaluation.pool, VERSION
        ),
        processes=processes,
        what="tasks calibrated",
    )
    temperatures = {name: fitted.temperature for name, fitted in found.items()}
    said = card.read(folder)
    if said.temperatures != temperatures:
        card.write(folder, msgspec.structs.replace(said, temperatures=temperatures))
    return found


class Heard:
    """A model that keeps the logits of every example it was asked about, in the order of the asking."""

    def __init__(self, model: Placed, family: FamilyName) -> None:
        self.model, self.family = model, family
        self.rows: list[Tensor] = []

    def __call__(self, batch: Batch) -> Tensor:
        logits = self.model(batch)
        self.rows += (among_candidates(logits, batch) if self.family == "grounding" else logits).float().unbind()
        return logits

    def alignments(self, captions: Batch, images: Batch) -> Tensor:
        logits = self.model.alignments(captions, images)
        self.rows += logits.float().unbind()
        return logits


def fit_one(
    checkpoint: Path, prepared: Path, regions: Path, name: str, limits: EvaluationConfig, device: str = "auto"
) -> Fitted:
    """Fit one task's temperature on val; runs in a process of its own.

    Raises:
        TwelvefoldError: there are no validation examples whose labels are known.
    """
    torch.set_num_threads(1)
    model, opened = Model.load(checkpoint), Prepared.open(prepared)
    spec = model.tasks[name]
    heard = Heard(Placed(model, select_device(device)), spec.family)
    data = TaskBatches.open(opened, RegionSource.open(regions), spec, "val")
    most = CAPTIONS if spec.family == "retrieval" else EXAMPLES
    outcome = score_task(heard, data, max_examples=most, pool=limits.pool, batch_size=limits.batch_size)
    rows, scores = [], []
    for row, line in zip(heard.rows, outcome.lines, strict=True):
        if line.score is not None and bool(row.isfinite().any()):
            rows.append(row)
            scores.append(line.score)
    if not rows:
        raise TwelvefoldError(f"task {name} has no labelled validation examples to calibrate by: prepare more data")
    logits = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=float("-inf"))
    return Fitted(fitted_temperature(logits, torch.tensor(scores), own=spec.family == "answers"), len(rows))
