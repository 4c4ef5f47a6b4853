"""Pretrain on captioned pictures: hidden words and regions are told, and whether a caption belongs. Paper: section 3.1.

The loop, its checkpoints, its log and its exact resume are those of :func:`twelvefold.train.train`; a caption set
takes turns as a task does. The model that comes out has no tasks: a recipe whose ``[model] initial`` names the run
starts from it. ``pretraining.json`` in the run's folder says what was learnt.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from twelvefold.config.recipe import Recipe
from twelvefold.schema import TwelvefoldError
from twelvefold.store import atomic_files
from twelvefold.train import train
from twelvefold.training.checkpoints import Checkpoints

SUMMARY = "pretraining.json"


@dataclass(frozen=True, slots=True)
class PretrainSummary:
    """A finished pretraining. measures: of each caption set's validation, 0..1: ``words``, ``regions`` and
    ``alignment`` told right, and ``recall_at_1``, ``_5``, ``_10`` of captions in a pool of pictures. steps: updates."""

    run: Path
    checkpoint: Path
    iterations: int
    seconds: float
    steps: Mapping[str, int]
    measures: Mapping[str, Mapping[str, float]]


def pretrain(recipe: Recipe, prepared: Path, regions: Path, run: Path, *, resume: bool = True) -> PretrainSummary:
    """Pretrain by ``recipe`` on the captions of its tasks; leave events, checkpoints and a summary in ``run``.

    Raises:
        Interrupted: SIGINT or SIGTERM came; the checkpoint is saved, and the same call goes on.
        TwelvefoldError: the recipe has no ``[pretraining]``; a task has no captions, or its regions no probabilities
            of kinds; and all that ``train`` refuses.
    """
    if recipe.pretraining is None:
        raise TwelvefoldError(
            f"recipe {recipe.name} trains tasks: use `twelvefold train`, or give it a table [pretraining]"
        )
    trained = train(recipe, prepared, regions, run, resume=resume)
    state = Checkpoints(run / "checkpoints").state() or {}
    summary = PretrainSummary(
        run=run,
        checkpoint=trained.checkpoint,
        iterations=trained.iterations,
        seconds=trained.seconds,
        steps=trained.steps,
        measures=state["measures"],
    )
    if os.environ.get("RANK", "0") != "0":
        return summary
    said = dataclasses.asdict(summary) | {"run": str(run), "checkpoint": str(summary.checkpoint)}
    atomic_files.write_json(run / SUMMARY, said | {"pretraining": msgspec.to_builtins(recipe.pretraining)})
    return summary
