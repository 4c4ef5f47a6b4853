"""Answers as the official evaluator compares them, and lists of them.

Expected values were worked out by hand from the evaluator's published rules, quirks included.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twelvefold.datasets.reading import answers
from twelvefold.schema import TwelvefoldError


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("A teddy bear.", "teddy bear"),
        ("The  Two\n dogs", "2 dogs"),
        ("none", "0"),
        ("black/white", "black white"),
        ("black / white", "black white"),
        ("t-shirt", "t shirt"),
        ("well-known - yes", "wellknown yes"),  # a lone sign beside a blank makes all of its kind vanish
        ("well-known - e/f", "wellknown e f"),  # ... and leaves other kinds alone
        ("1,000", "1000"),
        ("1,000-2,000 a/b", "10002000 ab"),  # a comma inside a number makes every sign vanish
        ("red,blue", "red blue"),
        ("3.5", "3.5"),
        ("mr. t.", "mr t"),
        (".5", ".5"),
        ("dont", "don't"),
        ("Dont", "don't"),
        ("Im", "im"),  # the table's key is "Im"; by then the text is lower-case
        ("couldntve", "couldntve"),
        ("couldnt've", "couldn't've"),
        ("couldn'tve", "couldn't've"),
        ("yall'd've", "y'all'd've"),
        ("somebody'd", "somebodyd"),
        ("twas", "'twas"),
        ("whos", "who's"),
        ("the", ""),
        ("it's", "it's"),
    ],
)
def test_normaliser(raw: str, clean: str) -> None:
    assert answers.normalise(raw) == clean


def test_only_the_first_32_periods_go() -> None:
    assert answers.normalise("x." * 40) == "x" * 32 + "x." * 8


def test_contractions_hold_no_word_of_their_own() -> None:
    words = {"shed", "wed", "were", "well", "hell", "ill", "id", "its", "shell", "cant've", "wholl've"}
    assert not words & answers.CONTRACTIONS.keys()
    assert len(answers.CONTRACTIONS) == 116


def official(given_answers: Sequence[str], prediction: str) -> float:
    """The evaluator's loop, one annotator left out at a time."""
    total = 0.0
    for i in range(len(given_answers)):
        others = [answer for j, answer in enumerate(given_answers) if j != i]
        total += min(1.0, others.count(prediction) / 3)
    return total / len(given_answers)


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=12))
def test_soft_scores_are_the_leave_one_out_average(given_answers: list[str]) -> None:
    scores = answers.soft_scores(given_answers).scores
    assert set(scores) == set(given_answers)
    for answer, score in scores.items():
        assert score == pytest.approx(official(given_answers, answer), abs=1e-12)


@pytest.mark.parametrize(("c", "score"), [(1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (10, 1.0)])
def test_with_ten_annotators_the_rule_is_0_3_for_each(c: int, score: float) -> None:
    given_answers = ["boat"] * c + [f"other {i}" for i in range(10 - c)]
    assert answers.soft_scores(given_answers).scores["boat"] == pytest.approx(score)


def test_a_lone_annotator_scores_nothing_and_an_empty_answer_is_none() -> None:
    assert answers.soft_scores(["boat"]).scores == {"boat": 0.0}
    assert set(answers.soft_scores(["", "boat", ""]).scores) == {"boat"}


def test_where_all_agree_nothing_is_cleaned() -> None:
    assert answers.compared([" Red.\n"] * 10) == ["Red."] * 10
    assert answers.compared(["Red."] * 9 + ["a red"]) == ["red"] * 10


def test_frequent_answers_come_in_a_settled_order() -> None:
    given_answers = ["b", "c", "a", "c", "b", "a", "c", "rare", "", "", ""]
    assert answers.frequent(given_answers, 2) == ["c", "a", "b"]
    assert answers.frequent(reversed(given_answers), 2) == ["c", "a", "b"]
    with pytest.raises(TwelvefoldError, match="'c', occurs 3 times"):
        answers.frequent(given_answers, 4)


@pytest.mark.parametrize("value", [["yes", "no"], {"no": 1, "yes": 0}])
@pytest.mark.parametrize("protocol", [None, 0, 2, 4])
def test_a_given_list_or_its_inverse_is_loaded(tmp_path: Path, value: Any, protocol: int | None) -> None:
    path = tmp_path / ("answers.json" if protocol is None else "trainval_label2ans.pkl")
    path.write_bytes(json.dumps(value).encode() if protocol is None else pickle.dumps(value, protocol))
    assert answers.load_answers(path) == ["yes", "no"]


@pytest.mark.parametrize("value", [[], ["yes", "yes"], {"yes": 0, "no": 2}, {"yes": 0, "no": 0}, "yes", [1], {}])
def test_what_is_no_answer_list_is_refused_by_name(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "answers.json"
    path.write_text(json.dumps(value))
    with pytest.raises(TwelvefoldError, match=r"answers\.json"):
        answers.load_answers(path)


def test_a_missing_or_cut_answer_list_is_named(tmp_path: Path) -> None:
    with pytest.raises(TwelvefoldError, match="no answer list"):
        answers.load_answers(tmp_path / "answers.json")
    (tmp_path / "answers.json").write_text('["yes", "n')
    with pytest.raises(TwelvefoldError, match="truncated"):
        answers.load_answers(tmp_path / "answers.json")
