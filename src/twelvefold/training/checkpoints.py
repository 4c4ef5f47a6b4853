"""Checkpoints that a run resumes from exactly: weights, optimizer state, counters. Complete or absent, never pickled.

A checkpoint is a folder with ``model.safetensors``, ``model.json`` and ``card.json`` as any trained model has them,
``optimizer.safetensors`` and ``state.json``. ``latest`` is the newest, ``best`` the one with the highest average
validation score; ``iteration-000400`` and so on are older ones. All share the bytes of ``latest`` by hard links.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from twelvefold.config import renamed
from twelvefold.config.loading import check_run
from twelvefold.model import Model, card, save_load, tensor_files
from twelvefold.model.card import Card
from twelvefold.printable import utf_8_path
from twelvefold.schema import TwelvefoldError
from twelvefold.store import atomic_files
from twelvefold.training.optimizer import load_optimizer_state, optimizer_state

FORMAT = 2
"""Version of ``state.json`` and of the optimizer's file name. Format 1 is translated on reading."""
OPTIMIZER_FILE = "optimizer.safetensors"


class Checkpoints:
    """The checkpoints in ``folder``. ``keep_last`` older ones are kept in addition to ``latest`` and ``best``."""

    def __init__(self, folder: Path, *, keep_last: int = 0) -> None:
        self.folder = folder
        self.keep_last = keep_last
        self.latest = folder / "latest"
        self.best = folder / "best"

    def save(
        self, model: Model, optimizer: torch.optim.Optimizer, state: dict[str, Any], model_card: Card, *, is_best: bool
    ) -> None:
        """Write ``latest``, and link it as ``best`` and as one of the older ones where that applies.

        ``state`` has ``iteration``. ``model_card`` has no temperatures, which belong to other weights.

        Raises:
            TwelvefoldError: writing failed (the disk is full); the previous checkpoint is then still complete.
        """
        with atomic_files.atomic_folder(self.latest) as folder:
            model.save(folder)
            card.write(folder, model_card)
            tensor_files.write(folder / OPTIMIZER_FILE, optimizer_state(model, optimizer))
            atomic_files.write_json(folder / "state.json", {"format": FORMAT, **state})
        if is_best:
            _link_folder(self.latest, self.best)
        if self.keep_last:
            _link_folder(self.latest, self.folder / f"iteration-{state['iteration']:06d}")
            for old in sorted(self.folder.glob("iteration-*"))[: -self.keep_last]:
                shutil.rmtree(old)

    def recover(self) -> None:
        """Complete or remove what a killed process left unfinished. The caller holds the lock of the run."""
        if self.folder.exists():
            atomic_files.recover_folder(self.latest)
            atomic_files.recover_folder(self.best)
            atomic_files.remove_leftovers(self.folder)

    def read_state(self) -> dict[str, Any] | None:
        """Return ``state.json`` of the latest checkpoint with present names, or None if no training has saved one.

        Raises:
            TwelvefoldError: a newer version wrote it.
        """
        path = self.latest / "state.json"
        if not path.exists():
            return None
        remedy = f"remove {self.folder} to train from the start"
        state = atomic_files.convert_json(path, atomic_files.read_json(path), dict[str, Any], remedy=remedy)
        if state.get("format") == 1:
            return renamed.translate_state(state)
        if state.get("format") != FORMAT:
            raise TwelvefoldError(
                f"{self.latest} has format {state.get('format')!r}, this version of twelvefold reads 1 to {FORMAT}; "
                "start the run in a new folder"
            )
        return state

    def load(self, model: Model, optimizer: torch.optim.Optimizer) -> None:
        """Load the weights and optimizer state of the latest checkpoint into ``model`` and ``optimizer``.

        Raises:
            TwelvefoldError: a file is damaged, or belongs to another model.
        """
        model.load_state_dict(save_load.read(self.latest, model.state_dict()))
        path, old_path = self.latest / OPTIMIZER_FILE, self.latest / renamed.OPTIMIZER_FILE
        path = old_path if old_path.exists() else path
        try:
            with utf_8_path(path) as openable:
                state = load_file(openable)
        except (OSError, SafetensorError) as error:
            raise TwelvefoldError(
                f"can't read {path}: {error}; remove {self.folder} to train from the start"
            ) from error
        load_optimizer_state(model, optimizer, state)


def checkpoint_folder(run: Path, name: str) -> Path:
    """Return the folder of a run's checkpoint ``latest``, ``best`` or ``iteration-...``.

    Raises:
        TwelvefoldError: it does not exist.
    """
    folder = run / "checkpoints" / name
    if not folder.exists():
        check_run(run)
        names = sorted(p.name for p in folder.parent.glob("*")) if folder.parent.exists() else []
        hint = f"checkpoints: {', '.join(names)}" if names else "train first: twelvefold train"
        raise TwelvefoldError(f"{folder} does not exist; {hint}")
    return folder


def run_of(folder: Path) -> Path | None:
    """Return the run that ``folder`` is, or is a checkpoint of; None if it is neither."""
    for run in (folder, folder.parent.parent if folder.parent.name == "checkpoints" else folder):
        if (run / "recipe.toml").exists():
            return run
    return None


def _link_folder(source: Path, target: Path) -> None:
    """Replace ``target`` by a folder of hard links to the files of ``source``, which are never changed in place."""
    with atomic_files.atomic_folder(target) as folder:
        for file in source.iterdir():
            link_file(file, folder / file.name)


def link_file(source: Path, target: Path) -> None:
    """Make ``target`` a hard link to the file ``source`` (of a symbolic link, to its target), or else a copy."""
    try:
        os.link(source.resolve(), target)
    except OSError:  # a disk without hard links, or another disk
        shutil.copy2(source, target)
