"""Open what evaluation reads: a run's recipe, prepared data, regions and checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from twelvefold.config.recipe import Recipe
from twelvefold.data.region_inputs import RegionSource
from twelvefold.data.task_batches import TaskBatches
from twelvefold.datasets.reading.recipe_tasks import task_specs
from twelvefold.device import select_device
from twelvefold.evaluation.check_model import check_model
from twelvefold.model import Model, save_load, twin_encoder
from twelvefold.schema import Split, TaskSpec, TwelvefoldError
from twelvefold.store import atomic_files
from twelvefold.store.prepared import DataSource, Prepared
from twelvefold.training.checkpoints import checkpoint_folder
from twelvefold.training.data_folders import find_data_folders, remember_moved_folders


@dataclass(frozen=True, slots=True)
class RunInputs:
    """Recipe, data and model of a run. It is sent to worker processes, which open the files themselves.

    run, prepared, regions, checkpoint: folders. shortlist: images that each caption of a retrieval task is compared
    with; 0 means all.
    """

    run: Path
    recipe: Recipe
    prepared: Path
    regions: Path
    checkpoint: Path
    shortlist: int = 0

    @classmethod
    def open(
        cls, run: Path, *, prepared: Path | None, regions: Path | None, checkpoint: str | None = None
    ) -> RunInputs:
        """Read the recipe and find the folders; None for ``prepared`` or ``regions``: the one that the run remembers.

        ``checkpoint``: name of the checkpoint; None if no model is needed.

        Raises:
            TwelvefoldError: the recipe, the checkpoint or a folder is missing, the checkpoint has no tasks, or it does
                not fit the data (:meth:`check_model`).
        """
        folder = run / "checkpoints" / "latest" if checkpoint is None else checkpoint_folder(run, checkpoint)
        recipe = Recipe.load_run(run)
        if recipe.pretraining is not None and checkpoint is not None:
            raise TwelvefoldError(
                f"{run} is a pretraining run and has no tasks to score; its results are in {run}/pretraining.json"
            )
        folders = find_data_folders(run, prepared=prepared, regions=regions)
        inputs = cls(run, recipe, *folders, folder)
        if checkpoint is not None:
            inputs.check_model(str(folder))
        if prepared is not None or regions is not None:
            remember_moved_folders(run, folders)
        return inputs

    def check_model(self, name: str) -> None:
        """Check that the model has the recipe's tasks, and the answers and region features of the data.

        ``name``: of the model, for errors.

        Raises:
            TwelvefoldError: it does not fit (:func:`twelvefold.evaluation.check_model.check_model`).
        """
        prepared, regions = Prepared.open(self.prepared), RegionSource.open(self.regions)
        check_model(self.checkpoint, name, self.tasks(), prepared, regions)

    def tasks(self) -> list[TaskSpec]:
        """Return the recipe's tasks with the recipe's limits and batch sizes."""
        return task_specs(self.recipe, Prepared.open(self.prepared))

    def tasks_with_examples(self, split: Split) -> list[TaskSpec]:
        """Return the tasks of which the split has examples; RefCOCOg's older files have none for test, for one."""
        prepared = Prepared.open(self.prepared)
        return [
            task
            for task in self.tasks()
            if split in prepared.splits(task.name) and len(prepared.table(task.name, split))
        ]

    def digest(self, *others: str | int) -> str:
        """Return a digest of tables, regions and ``others``, such as weights and limits."""
        tables, regions = Prepared.open(self.prepared).digest, RegionSource.open(self.regions).detected.digest
        return atomic_files.digest_value([tables, regions, *others])

    def data_source(self) -> DataSource | None:
        """Return the data folder that the tables were made from; None if it was not recorded."""
        return Prepared.open(self.prepared).manifest.source

    def weights_digest(self) -> str:
        """Return the digest of the checkpoint's weights."""
        return atomic_files.digest_file(self.checkpoint / save_load.TENSORS)

    def twin_digest(self) -> str:
        """Return the digest of the checkpoint's twin encoder; empty if it has none or the search is exact."""
        path = self.checkpoint / twin_encoder.FILE
        return atomic_files.digest_file(path) if self.shortlist and path.exists() else ""

    def load_model(self) -> tuple[Model, torch.device]:
        """Load the checkpoint to the recipe's device; return model and device."""
        device = select_device(self.recipe.training.device)
        return Model.load(self.checkpoint).to(device), device

    def batches(self, task: TaskSpec, split: Split) -> TaskBatches:
        """Return the batches of a task's split, whose targets are about the outputs of the checkpoint's head."""
        head = {head.name: head for head in save_load.describe(self.checkpoint).heads}.get(task.head)
        prepared, regions = Prepared.open(self.prepared), RegionSource.open(self.regions)
        return TaskBatches.open(prepared, regions, task, split, head=head)
