"""Checkpoints from which a run goes on exactly: weights, moments, counters. Whole or not at all; never unpickled.

A checkpoint is a folder: ``model.safetensors``, ``model.json`` and ``card.json`` as any trained model,
``optimiser.safetensors`` and ``state.json``. ``latest`` is the newest, ``best`` the one with the highest average
validation score, and ``iteration-000400`` older ones that are kept. The last two share their files' bytes with
``latest`` (hard links).
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from twelvefold.model import Model, card, save_load, tensor_files
from twelvefold.model.card import Card
from twelvefold.schema import TwelvefoldError
from twelvefold.store import atomic_files
from twelvefold.training import optimizer as optimisers

FORMAT = 1
"""Version of ``state.json``."""


class Checkpoints:
    """The checkpoints of a run, in ``folder``; ``keep`` older ones stay besides latest and best."""

    def __init__(self, folder: Path, *, keep: int = 0) -> None:
        self.folder = folder
        self.keep = keep
        self.latest = folder / "latest"
        self.best = folder / "best"

    def save(
        self, model: Model, optimiser: torch.optim.Optimizer, state: dict[str, Any], said: Card, *, is_best: bool
    ) -> Path:
        """Write ``latest``, and make it ``best`` and a kept one too where wanted. ``state`` has ``iteration``;
        ``said``: the model's card, without temperatures, which were those of other weights.

        Raises:
            TwelvefoldError: the disk is full, ...; the checkpoint before is then whole.
        """
        with atomic_files.atomic_folder(self.latest) as folder:
            model.save(folder)
            card.write(folder, said)
            tensor_files.write(folder / "optimiser.safetensors", optimisers.moments(model, optimiser))
            atomic_files.write_json(folder / "state.json", {"format": FORMAT, **state})
        if is_best:
            _link(self.latest, self.best)
        if self.keep:
            _link(self.latest, self.folder / f"iteration-{state['iteration']:06d}")
            for old in sorted(self.folder.glob("iteration-*"))[: -self.keep]:
                shutil.rmtree(old)
        return self.latest

    def tidy(self) -> None:
        """Mend what a killed process left half done; while nobody else writes here."""
        if self.folder.exists():
            atomic_files.recover_folder(self.latest)
            atomic_files.recover_folder(self.best)
            atomic_files.remove_leftovers(self.folder)

    def state(self) -> dict[str, Any] | None:
        """The counters of the latest checkpoint, None where there is none.

        Raises:
            TwelvefoldError: it is of another version.
        """
        if not self.latest.exists():
            return None
        state: dict[str, Any] = atomic_files.read_json(self.latest / "state.json")
        if state.get("format") != FORMAT:
            raise TwelvefoldError(
                f"{self.latest} has format {state.get('format')!r}, this version of twelvefold reads {FORMAT}; "
                "start the run in a new folder"
            )
        return state

    def load(self, model: Model, optimiser: torch.optim.Optimizer) -> None:
        """Put the latest checkpoint's weights and moments into ``model`` and ``optimiser``.

        Raises:
            TwelvefoldError: a file is damaged, or of another model.
        """
        model.load_state_dict(save_load.read(self.latest, model.state_dict()))
        path = self.latest / "optimiser.safetensors"
        try:
            saved = load_file(path)
        except (OSError, SafetensorError) as error:
            raise TwelvefoldError(f"can't read {path}: {error}; remove {self.folder} to start anew") from error
        optimisers.load_moments(model, optimiser, saved)


def checkpoint_of(run: Path, name: str) -> Path:
    """The folder of a run's checkpoint.

    Raises:
        TwelvefoldError: it is not there.
    """
    folder = run / "checkpoints" / name
    if not folder.exists():
        there = sorted(p.name for p in folder.parent.glob("*")) if folder.parent.exists() else []
        raise TwelvefoldError(
            f"{folder} is not there; {'checkpoints: ' + ', '.join(there) if there else 'train first: twelvefold train'}"
        )
    return folder


def _link(source: Path, target: Path) -> None:
    """``target`` becomes a folder with the same files as ``source``, which are never changed in place."""
    with atomic_files.atomic_folder(target) as folder:
        for file in source.iterdir():
            try:
                os.link(file, folder / file.name)
            except OSError:  # a disk without hard links
                shutil.copy2(file, folder / file.name)
