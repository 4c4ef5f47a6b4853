"""A run's folder when training starts (empty, this run to resume, or another run) and when it is finished."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from twelvefold.config.recipe import Recipe
from twelvefold.schema import TwelvefoldError
from twelvefold.store import atomic_files
from twelvefold.training.checkpoints import Checkpoints

CHANGEABLE = (
    "training.processes",
    "training.device",
    "training.tensorboard",
    "training.keep_last",
    "training.checkpoint_interval",
    "training.num_workers",
    "training.gradient_accumulation_steps",
    "training.activation_checkpointing",
)
"""Recipe values that may change when a run is resumed, in addition to all of ``[evaluation]`` and ``[extract]``. None
of them changes what is learned, except that other ``processes``, ``gradient_accumulation_steps`` or another ``device``
round sums differently and draw other dropout."""

EXTENDABLE = ("training.iterations", "training.lr_factor", "training.lr_schedule")
"""Recipe values that may also change when a finished run is trained for longer."""


@dataclass(slots=True)
class Counters:
    """Progress of a run; a checkpoint holds it with the weights, the optimizer state and stop-and-go.

    ``steps``: updates by task. ``seconds``: training time without interruptions. ``scores``, ``best_scores``:
    validation scores, 0..1, by task. ``metrics``: everything measured in the last validation, by task and name.
    ``best_average``: of the best checkpoint. ``lr_steps``: iterations in which any task has stepped.
    """

    steps: dict[str, int]
    iteration: int = 0
    seconds: float = 0.0
    scores: dict[str, float] = field(default_factory=dict)
    best_scores: dict[str, float] = field(default_factory=dict)
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    best_average: float | None = None
    peak_memory_gb: float = 0.0
    lr_steps: int = 0


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


def prepare_run_folder(recipe: Recipe, run: Path, checkpoints: Checkpoints, *, resume: bool = True) -> None:
    """Write the resolved recipe into ``run``; if it holds a run to resume, check that its recipe is the same.

    A finished run may be given more iterations.

    Raises:
        TwelvefoldError: the folder holds a run with another recipe, any run and ``resume`` is false, or a model that
            was only evaluated.
    """
    checkpoints.recover()
    state = checkpoints.read_state()
    if state is None and checkpoints.latest.exists():
        raise TwelvefoldError(
            f"{checkpoints.latest} has no state.json: no training to resume, such as after `twelvefold evaluate MODEL "
            f"--out {run}`. Choose another folder, and --initial {run} to train from these weights"
        )
    if state is not None:
        if not resume:
            raise TwelvefoldError(
                f"{run} already holds a run; remove {checkpoints.folder} to train from the start, or choose another "
                "folder"
            )
        old, done, iterations = Recipe.load_run(run), state["iteration"], recipe.training.iterations
        extends = done == state["iterations"] and iterations > done
        if differences := recipe_differences(old, recipe, EXTENDABLE if extends else ()):
            raise TwelvefoldError(
                f"{run} was started with another recipe; differences: {'; '.join(differences)}. Resume with "
                f"{run / 'recipe.toml'}, or choose another folder. {_extension_advice(run, state)}"
            )
    else:
        for leftover in (run / "events.jsonl", run / "tensorboard"):  # of a start that reached no checkpoint
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink(missing_ok=True)
    atomic_files.write_text(run / "recipe.toml", recipe.to_toml())


def _extension_advice(run: Path, state: Mapping[str, Any]) -> str:
    """Return how the run can be trained for longer."""
    done, iterations = state["iteration"], state["iterations"]
    how = f"`twelvefold train {run / 'recipe.toml'} {run} --iterations N`, with N above {iterations}"
    if done == iterations:
        return f"It is finished after {done} iterations; to train it for longer: {how}"
    return f"It has {done} of {iterations} iterations; when it is finished it can be trained for longer: {how}"


def recipe_differences(old: Recipe, new: Recipe, allowed: Sequence[str] = ()) -> list[str]:
    """Return the values that change what is learned, each as ``seed: 0 before, 1 now``, without the ``allowed``."""
    before, now = _flatten(msgspec.to_builtins(old)), _flatten(msgspec.to_builtins(new))
    names = [
        name
        for name in {**before, **now}
        if name not in (*CHANGEABLE, *allowed) and not name.startswith(("evaluation.", "extract."))
    ]
    return [f"{n}: {before.get(n)} before, {now.get(n)} now" for n in names if before.get(n) != now.get(n)]


def check_same_data(before: Mapping[str, str], now: Mapping[str, str], run: Path) -> None:
    """Check that a run is resumed with the data it was started with; both are digests by name.

    Raises:
        TwelvefoldError: a digest differs.
    """
    if changed := [name for name in before if before[name] != now.get(name)]:
        raise TwelvefoldError(
            f"{run} was started with other data: {', '.join(changed)} changed since. "
            "Restore the data, or train in another folder"
        )


def is_finished(checkpoints: Checkpoints, recipe: Recipe) -> bool:
    """Return whether the latest checkpoint is that of the last iteration, also of a recipe with more iterations."""
    state = checkpoints.read_state()
    return state is not None and state["iteration"] >= max(state["iterations"], recipe.training.iterations)


def summarize(run: Path, checkpoints: Checkpoints) -> TrainSummary:
    """Return the summary of a run from its latest checkpoint.

    Raises:
        TwelvefoldError: there is no checkpoint.
    """
    state = checkpoints.read_state()
    if state is None:
        raise TwelvefoldError(f"{run} has no checkpoint; train it first")
    fields = {name: state[name] for name in ("seconds", "steps", "scores", "peak_memory_gb")}
    return TrainSummary(run=run, checkpoint=checkpoints.latest, iterations=state["iteration"], **fields)


def _flatten(table: dict[str, object], path: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for name, value in table.items():
        flat |= _flatten(value, f"{path}{name}.") if isinstance(value, dict) else {f"{path}{name}": value}
    return flat
