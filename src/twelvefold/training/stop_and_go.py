"""Dynamic stop-and-go: stop tasks that converged, resume tasks that diverged. Paper: section 3.3, Algorithm 1."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from twelvefold.schema import TwelvefoldError

Transition = Literal["stop", "go"]
Rule = Literal["paper", "original_cooldown"]

MIN_DELTA = 0.001
"""Relative increase over the reference score that counts as an improvement. Paper: 0.1 %."""
DIVERGENCE_DROP = 0.005
"""Relative drop below the best score at which a stopped task has diverged. Paper: 0.5 %."""
PATIENCE = 2
"""Consecutive evaluations without improvement after which a task has converged. Paper: two epochs."""


@dataclass(slots=True)
class TaskState:
    """Stop-and-go state of one task.

    ``best_score`` is the highest score so far. ``reference_score`` is the score that an improvement is measured from:
    it follows the best score in steps of at least MIN_DELTA. So two small increases that make 0.1 % together count as
    an improvement, in accordance with "0.1 % over 2 epochs". ``num_bad_evals`` counts evaluations without improvement.
    """

    stopped: bool = False
    best_score: float | None = None
    reference_score: float | None = None
    num_bad_evals: int = 0
    cooldown: int = 0


class StopAndGo:
    """Decide from validation scores (higher is better) which tasks step.

    A task in go mode stops after two consecutive evaluations with less than 0.1 % improvement. A stopped task steps
    only every ``gap`` iterations, and goes again when its score drops 0.5 % below its best.

    Paper: section 3.3, Algorithm 1. Differs: the original code starts a cool-down of one evaluation at every
    transition, measures divergence from the best score rounded in 0.1 % steps, and skips the divergence test at every
    third bad evaluation of a stopped task; ``rule="original_cooldown"`` does the same. The original code also forgets
    all scores and lets all tasks go at the end of its epochs 5 and 7, counted from 0. That was meant for its learning
    rate that drops at these epochs, but happens with every schedule. ``resets``: the iterations (from 1) after which
    to do so.
    """

    def __init__(
        self,
        tasks: Iterable[str],
        *,
        gap: int = 4,
        enabled: bool = True,
        rule: Rule = "paper",
        resets: Collection[int] = (),
    ) -> None:
        self.gap = gap
        self.enabled = enabled
        self.rule = rule
        self.resets = resets if enabled else ()
        self.states = {task: TaskState() for task in tasks}

    def active_tasks(self, index: int) -> list[str]:
        """Return the tasks that step in an iteration: those in go mode, and every ``gap`` iterations all.

        ``index``: the i of Algorithm 1.
        """
        return [task for task, state in self.states.items() if not state.stopped or index % self.gap == 0]

    def reset_after(self, iteration: int) -> list[str]:
        """Start again if ``iteration`` is one of ``resets``; return the tasks that were stopped and now go."""
        if iteration not in self.resets:
            return []
        stopped = [task for task, state in self.states.items() if state.stopped]
        self.states = {task: TaskState() for task in self.states}
        return stopped

    def update(self, task: str, score: float) -> Transition | None:
        """Record a validation score and return the task's transition, if it has one.

        Raises:
            TwelvefoldError: the score is not finite.
        """
        if not math.isfinite(score):
            raise TwelvefoldError(f"the validation score of {task} is {score}: are there examples to score?")
        state = self.states[task]
        improved = state.reference_score is None or score > state.reference_score * (1 + MIN_DELTA)
        best = score if state.best_score is None else max(state.best_score, score)
        reference = score if improved or state.reference_score is None else state.reference_score
        state.best_score, state.reference_score = best, reference
        if not self.enabled:
            return None
        if self.rule == "paper":
            transition = _paper_rule(state, improved, diverged=score < best * (1 - DIVERGENCE_DROP))
        else:
            transition = _original_rule(state, improved, diverged=score < reference * (1 - DIVERGENCE_DROP))
        if transition is not None:
            state.stopped = transition == "stop"
        return transition

    def state_dict(self) -> dict[str, dict[str, Any]]:
        """Return everything that decisions depend on, as plain JSON values."""
        return {task: asdict(state) for task, state in self.states.items()}

    def load_state_dict(self, states: Mapping[str, Mapping[str, Any]]) -> None:
        """Load what :meth:`state_dict` returned.

        Raises:
            TwelvefoldError: the states belong to other tasks.
        """
        if list(states) != list(self.states):
            raise TwelvefoldError(
                f"the stop-and-go state is of tasks {', '.join(states)}; this run has {', '.join(self.states)}"
            )
        self.states = {task: TaskState(**state) for task, state in states.items()}


def _paper_rule(state: TaskState, improved: bool, diverged: bool) -> Transition | None:
    if state.stopped:  # DSG_t = stop and Diverged(s_t)
        return "go" if diverged else None
    state.num_bad_evals = 0 if improved else state.num_bad_evals + 1
    if state.num_bad_evals < PATIENCE:
        return None
    state.num_bad_evals = 0  # DSG_t = go and Converged(s_t)
    return "stop"


def _original_rule(state: TaskState, improved: bool, diverged: bool) -> Transition | None:
    """Apply the original code's rule: it tests for a stop first, and for divergence only if that test fails."""
    state.num_bad_evals = 0 if improved else state.num_bad_evals + 1
    if state.cooldown > 0:
        state.cooldown -= 1
        state.num_bad_evals = 0
    if state.num_bad_evals >= PATIENCE:
        transition: Transition | None = None if state.stopped else "stop"
    elif state.stopped and diverged:
        transition = "go"
    else:
        return None
    state.num_bad_evals, state.cooldown = 0, 1
    return transition
