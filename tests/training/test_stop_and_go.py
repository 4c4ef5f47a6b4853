"""Stop-and-go: traces of the paper's rule, test vectors of the original code, saving and loading."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twelvefold.schema import TwelvefoldError
from twelvefold.training.stop_and_go import Rule, StopAndGo

# original_code's own two vectors (its tools/test_controller.py, and one that shows the priority of stopping)
ORIGINAL = [
    ("10 20 30 40 50 50 50 50 49 48 50 51 52 52 52 52 52", "F F F F F F T T F F F F F F T T T"),
    (
        "60 70 70 70 69.9 69.5 69.0 68 67 66 65 64 70 70 71 71 71 71",
        "F F F T T F F F T F F F T T T T T T",
    ),
]

# from section 3.3: two evaluations without 0.1 % improvement stop, 0.5 % below the best goes
PAPER = [
    ("10 20 30 30 30", "F F F F T"),
    ("10 20 30 30 31 31 31", "F F F F F F T"),  # an improvement in between resets the count
    ("50 50.04 50.08", "F F F"),  # two small steps that make 0.16 % together are an improvement over two epochs
    ("50 50.02 50.04", "F F T"),  # two that make 0.08 % are none
    ("50 50 50 49.76 49.75 49.74", "F F T T T F"),  # 49.75 is not below 50 less 0.5 %, 49.74 is
    ("50 50 50 60 60 59.71 59.69", "F F T T T T F"),  # a better score while stopped counts as best, but is no go
    ("50 50 50 40 41 42", "F F T F F T"),  # after a go it must improve on its best, or it stops after two
    ("0 0 0 0.1 0", "F F T T F"),
    ("50 50.04 50 49.81 49.79 49.78", "F F T T T F"),  # divergence is measured from the highest score, 50.04
]


def trace(scores: str, rule: Rule) -> str:
    controller = StopAndGo(["a"], rule=rule)
    states = []
    for score in scores.split():
        before = controller.states["a"].stopped
        transition = controller.update("a", float(score))
        after = controller.states["a"].stopped
        assert transition == (None if before == after else "stop" if after else "go")
        states.append("T" if after else "F")
    return " ".join(states)


@pytest.mark.parametrize(("scores", "states"), PAPER)
def test_traces_of_the_papers_rule(scores: str, states: str) -> None:
    assert trace(scores, "paper") == states


@pytest.mark.parametrize(("scores", "states"), ORIGINAL)
def test_traces_of_the_original_codes_rule(scores: str, states: str) -> None:
    assert trace(scores, "original_cooldown") == states


def test_a_stopped_task_steps_once_in_a_gap_and_the_others_always() -> None:
    controller = StopAndGo(["a", "b"], gap=4)
    for _ in range(3):
        controller.update("a", 0.5)
    assert [controller.active_tasks(i) for i in range(1, 6)] == [["b"], ["b"], ["b"], ["a", "b"], ["b"]]


def test_disabled_it_records_the_best_score_and_stops_no_task() -> None:
    controller = StopAndGo(["a"], enabled=False)
    assert [controller.update("a", s) for s in (0.5, 0.5, 0.5, 0.1)] == [None] * 4
    assert controller.states["a"].best_score == 0.5
    assert controller.active_tasks(1) == ["a"]


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_a_score_that_is_not_finite_is_refused(score: float) -> None:
    with pytest.raises(TwelvefoldError, match=f"validation score of a is {score}"):
        StopAndGo(["a"]).update("a", score)


def test_the_state_of_other_tasks_is_refused() -> None:
    with pytest.raises(TwelvefoldError, match="is of tasks a; this run has b"):
        StopAndGo(["b"]).load_state_dict(StopAndGo(["a"]).state_dict())


@given(st.lists(st.floats(0, 1), max_size=30), st.integers(0, 30), st.sampled_from(["paper", "original_cooldown"]))
def test_decisions_after_loading_a_state_equal_those_without_a_stop(scores: list[float], cut: int, rule: Rule) -> None:
    whole, first, second = (StopAndGo(["a"], rule=rule) for _ in range(3))
    events = [whole.update("a", score) for score in scores]
    before = [first.update("a", score) for score in scores[:cut]]
    second.load_state_dict(json.loads(json.dumps(first.state_dict(), allow_nan=False)))
    assert before + [second.update("a", score) for score in scores[cut:]] == events
    assert second.state_dict() == whole.state_dict()
