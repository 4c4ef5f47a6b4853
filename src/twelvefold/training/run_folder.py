"""A run's folder when training begins (is it empty, the same run to go on with, or another?), and when it is done."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from twelvefold.config.recipe import Recipe
from twelvefold.schema import TwelvefoldError
from twelvefold.store import atomic_files
from twelvefold.training.checkpoints import Checkpoints

FREE = (
    "training.processes",
    "training.device",
    "training.tensorboard",
    "training.keep_last",
    "training.checkpoint_interval",
    "training.num_workers",
)
"""Values that may change between the parts of one run, besides all of ``[evaluation]``: none decides what is learnt
(with other ``processes`` or on another ``device`` sums are rounded otherwise)."""


@dataclass(slots=True)
class Counters:
    """Where a run is: with weights, moments and stop-and-go, all that going on needs. ``seconds``: without breaks.
    ``measures``: of the last validation, by task and name, all that was measured."""

    steps: dict[str, int]
    iteration: int = 0
    seconds: float = 0.0
    scores: dict[str, float] = field(default_factory=dict)
    best_scores: dict[str, float] = field(default_factory=dict)
    measures: dict[str, dict[str, float]] = field(default_factory=dict)
    best_average: float | None = None
    peak_memory_gb: float = 0.0


@dataclass(frozen=True, slots=True)
class TrainSummary:
    """A finished run. ``scores``: the last validation scores, 0..1, by task; ``steps``: updates, by task."""

    run: Path
    checkpoint: Path
    iterations: int
    seconds: float
    steps: Mapping[str, int]
    scores: Mapping[str, float]
    peak_memory_gb: float


def begin(recipe: Recipe, run: Path, checkpoints: Checkpoints, *, resume: bool = True) -> None:
    """Make ``run`` ready: write the recipe as resolved, or see that it is the one that is there.

    Raises:
        TwelvefoldError: the folder holds a run by another recipe, or any run and ``resume`` is off.
    """
    path = run / "recipe.toml"
    checkpoints.tidy()
    if checkpoints.state() is not None:
        if not resume:
            raise TwelvefoldError(
                f"{run} holds a run already; remove {checkpoints.folder} to train it anew, or choose another folder"
            )
        if different := differences(Recipe.load_run(run), recipe):
            raise TwelvefoldError(
                f"{run} was begun by another recipe; different are {'; '.join(different)}. Go on with "
                f"{path}, or choose another folder"
            )
    else:
        for old in (run / "events.jsonl", run / "tensorboard"):  # of a start that never reached a checkpoint
            shutil.rmtree(old) if old.is_dir() else old.unlink(missing_ok=True)
    atomic_files.write_text(path, recipe.to_toml())


def differences(begun: Recipe, wanted: Recipe) -> list[str]:
    """Values in which two recipes would learn differently, each as ``seed: 0 then, 1 now``."""
    then, now = _flat(msgspec.to_builtins(begun)), _flat(msgspec.to_builtins(wanted))
    names = [name for name in {**then, **now} if name not in FREE and not name.startswith("evaluation.")]
    return [f"{n}: {then.get(n)} then, {now.get(n)} now" for n in names if then.get(n) != now.get(n)]


def check_same_data(begun: Mapping[str, str], now: Mapping[str, str], run: Path) -> None:
    """See that a run goes on with the data it was begun with; both are digests by name.

    Raises:
        TwelvefoldError: they differ.
    """
    if changed := [name for name in begun if begun[name] != now.get(name)]:
        raise TwelvefoldError(
            f"{run} was begun with other data than it is to go on with: {', '.join(changed)} changed since. "
            "Bring them back, or train anew in another folder"
        )


def is_finished(checkpoints: Checkpoints) -> bool:
    """Whether the latest checkpoint is that of the last iteration."""
    state = checkpoints.state()
    return state is not None and state["iteration"] == state["iterations"]


def summary(run: Path, checkpoints: Checkpoints) -> TrainSummary:
    """What the latest checkpoint says of a run."""
    state = checkpoints.state()
    if state is None:
        raise TwelvefoldError(f"{run} has no checkpoint; train it first")
    return TrainSummary(
        run=run,
        checkpoint=checkpoints.latest,
        iterations=state["iteration"],
        seconds=state["seconds"],
        steps=state["steps"],
        scores=state["scores"],
        peak_memory_gb=state["peak_memory_gb"],
    )


def _flat(table: dict[str, object], path: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for name, value in table.items():
        flat |= _flat(value, f"{path}{name}.") if isinstance(value, dict) else {f"{path}{name}": value}
    return flat
