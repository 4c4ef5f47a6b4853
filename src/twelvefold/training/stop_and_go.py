"""Dynamic stop-and-go: converged tasks rest, tasks that fall back are trained again. Section 3.3, Algorithm 1."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from twelvefold.schema import TwelvefoldError

Event = Literal["stop", "go"]
Rule = Literal["paper", "original_cooldown"]

GAIN = 0.001
"""A better score counts as a gain when it exceeds the best by this share. Paper: 0.1 %."""
LOSS = 0.005
"""A stopped task has diverged when its score is this share below its best. Paper: 0.5 %."""
EVALUATIONS = 2
"""Evaluations in a row without a gain after which a task has converged. Paper: two epochs."""


@dataclass(slots=True)
class TaskState:
    """One task: whether it is stopped, its best score, the score that a gain is counted from, idle evaluations.

    ``best`` is the highest score measured. ``mark`` follows it in steps of at least 0.1 %, so that two small
    improvements that make 0.1 % together are a gain, as "0.1 % over 2 epochs" says.
    """

    stopped: bool = False
    best: float | None = None
    mark: float | None = None
    idle: int = 0
    cooldown: int = 0


class StopAndGo:
    """Which tasks step, decided from their validation scores (higher is better).

    A task in go mode that gains less than 0.1 % in two evaluations in a row is stopped; a stopped task steps
    only every ``gap`` iterations; a stopped task whose score falls 0.5 % below its best goes again.

    Paper: section 3.3, Algorithm 1. Differs: the original code starts a cool-down of one evaluation at every
    stop and go, measures a fall from the best in 0.1 % steps, and doesn't look for one at every third idle
    evaluation of a stopped task; ``rule="original_cooldown"`` does the same. Its resets at epochs 5 and 7 belong
    to another schedule and are left out.
    """

    def __init__(self, tasks: Iterable[str], *, gap: int = 4, enabled: bool = True, rule: Rule = "paper") -> None:
        self.gap = gap
        self.enabled = enabled
        self.rule = rule
        self.states = {task: TaskState() for task in tasks}

    def active(self, iteration: int) -> list[str]:
        """The tasks that step in ``iteration`` (1 is the first), in order: those in go mode, all at every gap."""
        return [task for task, state in self.states.items() if not state.stopped or iteration % self.gap == 0]

    def report(self, task: str, score: float) -> Event | None:
        """Take in a validation score; what changed for the task, if anything.

        Raises:
            TwelvefoldError: the score is no finite number.
        """
        if not math.isfinite(score):
            raise TwelvefoldError(f"the validation score of {task} is {score}: there must be examples to score")
        state = self.states[task]
        gained = state.mark is None or score > state.mark * (1 + GAIN)
        best = score if state.best is None else max(state.best, score)
        mark = score if gained or state.mark is None else state.mark
        state.best, state.mark = best, mark
        if not self.enabled:
            return None
        if self.rule == "paper":
            event = _paper(state, gained, fallen=score < best * (1 - LOSS))
        else:
            event = _original(state, gained, fallen=score < mark * (1 - LOSS))
        if event is not None:
            state.stopped = event == "stop"
        return event

    def state_dict(self) -> dict[str, dict[str, Any]]:
        """Everything that decisions depend on, as plain JSON values."""
        return {task: asdict(state) for task, state in self.states.items()}

    def load_state_dict(self, states: Mapping[str, Mapping[str, Any]]) -> None:
        """Go on from what :meth:`state_dict` gave.

        Raises:
            TwelvefoldError: the states are of other tasks.
        """
        if list(states) != list(self.states):
            raise TwelvefoldError(
                f"the stop-and-go state is of tasks {', '.join(states)}; this run has {', '.join(self.states)}"
            )
        self.states = {task: TaskState(**state) for task, state in states.items()}


def _paper(state: TaskState, gained: bool, fallen: bool) -> Event | None:
    if state.stopped:  # DSG_t = stop and Diverged(s_t)
        return "go" if fallen else None
    state.idle = 0 if gained else state.idle + 1
    if state.idle < EVALUATIONS:
        return None
    state.idle = 0  # DSG_t = go and Converged(s_t)
    return "stop"


def _original(state: TaskState, gained: bool, fallen: bool) -> Event | None:
    """The original code's order of tests: a stop comes before, and hides, the look for a fall."""
    state.idle = 0 if gained else state.idle + 1
    if state.cooldown > 0:
        state.cooldown -= 1
        state.idle = 0
    if state.idle >= EVALUATIONS:
        event: Event | None = None if state.stopped else "stop"
    elif state.stopped and fallen:
        event = "go"
    else:
        return None
    state.idle, state.cooldown = 0, 1
    return event
