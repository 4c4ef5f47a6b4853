"""Make a run of any model, such as an imported one, so that it is evaluated and reported like a run trained here."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import msgspec

from twelvefold.config.recipe import Recipe
from twelvefold.datasets.reading.recipe_tasks import resolve_tasks
from twelvefold.environment import is_main_process
from twelvefold.evaluation.run_inputs import RunInputs
from twelvefold.export import hub
from twelvefold.model import card, feature_statistics, provenance, save_load, twin_encoder
from twelvefold.schema import TwelvefoldError
from twelvefold.store import atomic_files
from twelvefold.training.checkpoints import checkpoint_folder, link_file, run_of
from twelvefold.training.data_folders import find_data_folders, remember_data_folders
from twelvefold.training.run_folder import recipe_differences

MODEL_FILES = (
    save_load.TENSORS,
    card.CARD,
    feature_statistics.FILE,
    twin_encoder.FILE,
    provenance.ORIGIN,
    provenance.CARRIED,
)
"""Files of a model's folder that the run gets too, where the folder has them, besides ``model.json``."""


def make_run(
    model: Path, out: Path, recipe: str, *, prepared: Path | None, regions: Path | None, checkpoint: str
) -> RunInputs:
    """Write recipe, model and the folders of the data to ``out``; return what an evaluation reads.

    The model becomes the run's latest checkpoint. Its weights are hard links where the disk allows it, so they take no
    space; its card is a copy, so calibration and scores do not change the model's folder. Of several ranks only rank 0
    writes.

    Args:
        model: A model's folder, a run, a checkpoint's folder, ``user/name`` on a hub, or ``shipped``.
        out: Folder of the run.
        recipe: Name of a shipped recipe, or a .toml file; empty: that of the model's run.
        prepared: Folder that ``prepare`` wrote; default: the one that the model's run or ``out`` remembers.
        regions: Folder that ``extract`` wrote; default: as ``prepared``.
        checkpoint: Checkpoint of ``model``, if it is a run.

    Raises:
        TwelvefoldError: there is no such model, recipe or folder; the model does not fit recipe and data; or ``out``
            holds another run.
    """
    trained = run_of(model)
    source = checkpoint_folder(model, checkpoint) if trained == model else hub.resolve_folder(model)
    resolved = _find_recipe(model, trained, recipe)
    folders = find_data_folders(trained or out, prepared=prepared, regions=regions)
    inputs = RunInputs(out, resolved, *folders, source)
    inputs.check_model(str(model))
    if is_main_process():
        with atomic_files.lock_folder(out):
            latest = out / "checkpoints" / "latest"
            atomic_files.recover_folder(latest)
            _check_free(out, latest, inputs, model)
            atomic_files.write_text(out / "recipe.toml", resolved.to_toml())
            remember_data_folders(out, folders)
            if not latest.exists() or _has_changed(inputs, out, latest):
                _write_checkpoint(inputs, latest)
    return dataclasses.replace(inputs, checkpoint=out / "checkpoints" / "latest")


def _find_recipe(model: Path, trained: Path | None, name: str) -> Recipe:
    """Return the recipe of that name, or else that of the model's run."""
    if not name and trained is None:
        raise TwelvefoldError(
            f"{model} has no recipe.toml, so it is not a run: state a recipe, as in --recipe paper/multi_task"
        )
    recipe = resolve_tasks(Recipe.load(name)) if name or trained is None else Recipe.load_run(trained)
    if recipe.pretraining is not None:
        raise TwelvefoldError(f"recipe {recipe.name} pretrains and has no tasks to score; state one with tasks")
    return recipe


def _check_free(out: Path, latest: Path, inputs: RunInputs, model: Path) -> None:
    """Check that ``out`` is new, or holds an evaluation of the same model by the same recipe.

    Raises:
        TwelvefoldError: it holds a model, a training run, another model's results or another recipe's.
    """
    if (latest / "state.json").exists() or (out / "events.jsonl").exists():
        raise TwelvefoldError(
            f"{out} is a run that was trained: `twelvefold evaluate {out}` scores it; for {model} choose another --out"
        )
    if any((out / name).exists() for name in (save_load.DESCRIPTION, save_load.HUB_DESCRIPTION)):
        raise TwelvefoldError(
            f"{out} is the folder of a model; choose another --out for recipe, scores and predictions"
        )
    if latest.exists():
        digests = [atomic_files.digest_file(folder / save_load.TENSORS) for folder in (latest, inputs.checkpoint)]
        if digests[0] != digests[1]:
            raise TwelvefoldError(
                f"{out} holds results of another model: its weights have digest {digests[0]}, those of {model} "
                f"{digests[1]}; choose another --out, or remove {out}"
            )
    if (out / "recipe.toml").exists():
        if differences := recipe_differences(Recipe.load_run(out), inputs.recipe):
            raise TwelvefoldError(
                f"{out} holds results by another recipe; differences: {'; '.join(differences)}. Choose another --out, "
                f"or use its recipe: --recipe {out / 'recipe.toml'}"
            )
    elif latest.exists():
        raise TwelvefoldError(f"{out} has checkpoints but no recipe.toml; choose another --out")


def _has_changed(inputs: RunInputs, out: Path, latest: Path) -> bool:
    """Return whether the model has the weights of ``latest``, but other answers or settings, or other temperatures.

    Temperatures that were fitted for ``out`` itself are kept.
    """
    if _describe(inputs) != save_load.describe(latest):
        return True
    temperatures = [card.read(folder).temperatures for folder in (inputs.checkpoint, latest)]
    return temperatures[0] != temperatures[1] and not (out / "calibration").exists()


def _describe(inputs: RunInputs) -> save_load.Description:
    """Return the model's description with the recipe's values (such as ``max_regions``) for the recipe's tasks."""
    description = save_load.describe(inputs.checkpoint)
    specs = {task.name: task for task in inputs.tasks()}
    description.tasks = [specs.get(task.name, task) for task in description.tasks]
    return description


def _write_checkpoint(inputs: RunInputs, latest: Path) -> None:
    """Write the model as a checkpoint."""
    source, description = inputs.checkpoint, _describe(inputs)
    with atomic_files.atomic_folder(latest) as folder:
        for name in MODEL_FILES:
            if (source / name).exists():
                link_file(source / name, folder / name)
        atomic_files.write_json(folder / save_load.DESCRIPTION, msgspec.to_builtins(description))
