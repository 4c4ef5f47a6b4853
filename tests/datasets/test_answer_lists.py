"""Normalized answers, soft scores and answer lists.

Expected values were derived by hand from the evaluator's published rules, including its quirks.
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
    ("raw", "normalized"),
    [
        ("A teddy bear.", "teddy bear"),
        ("The  Two\n dogs", "2 dogs"),
        ("none", "0"),
        ("black/white", "black white"),
        ("black / white", "black white"),
        ("t-shirt", "t shirt"),
        ("well-known - yes", "wellknown yes"),  # one sign next to a space removes all signs of its kind
        ("well-known - e/f", "wellknown e f"),  # ... and keeps other kinds
        ("1,000", "1000"),
        ("1,000-2,000 a/b", "10002000 ab"),  # a comma inside a number removes every sign
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
def test_answers_are_normalized_as_by_the_official_evaluator(raw: str, normalized: str) -> None:
    assert answers.normalize_answer(raw) == normalized


def test_only_the_first_32_periods_are_removed() -> None:
    assert answers.normalize_answer("x." * 40) == "x" * 32 + "x." * 8


def test_no_contraction_is_also_a_word_without_apostrophe() -> None:
    words = {"shed", "wed", "were", "well", "hell", "ill", "id", "its", "shell", "cant've", "wholl've"}
    assert not words & answers.CONTRACTIONS.keys()
    assert len(answers.CONTRACTIONS) == 116


def official_score(answer_texts: Sequence[str], prediction: str) -> float:
    """Compute the evaluator's loop, which leaves out one annotator at a time."""
    total = 0.0
    for i in range(len(answer_texts)):
        others = [answer for j, answer in enumerate(answer_texts) if j != i]
        total += min(1.0, others.count(prediction) / 3)
    return total / len(answer_texts)


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=12))
def test_soft_scores_are_the_leave_one_out_average(answer_texts: list[str]) -> None:
    scores = answers.soft_scores(answer_texts).scores
    assert set(scores) == set(answer_texts)
    for answer, score in scores.items():
        assert score == pytest.approx(official_score(answer_texts, answer), abs=1e-12)


@pytest.mark.parametrize(("c", "score"), [(1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (10, 1.0)])
def test_with_ten_annotators_the_rule_is_0_3_for_each(c: int, score: float) -> None:
    answer_texts = ["boat"] * c + [f"other {i}" for i in range(10 - c)]
    assert answers.soft_scores(answer_texts).scores["boat"] == pytest.approx(score)


def test_a_single_annotator_scores_0_and_an_empty_answer_has_no_score() -> None:
    assert answers.soft_scores(["boat"]).scores == {"boat": 0.0}
    assert set(answers.soft_scores(["", "boat", ""]).scores) == {"boat"}


def test_answers_that_all_agree_are_not_normalized() -> None:
    assert answers.normalize_answers([" Red.\n"] * 10) == ["Red."] * 10
    assert answers.normalize_answers(["Red."] * 9 + ["a red"]) == ["red"] * 10


def test_frequent_answers_do_not_depend_on_the_input_order() -> None:
    answer_texts = ["b", "c", "a", "c", "b", "a", "c", "rare", "", "", ""]
    assert answers.frequent_answers(answer_texts, 2) == ["c", "a", "b"]
    assert answers.frequent_answers(reversed(answer_texts), 2) == ["c", "a", "b"]
    with pytest.raises(TwelvefoldError, match="'c', occurs 3 times"):
        answers.frequent_answers(answer_texts, 4)


@pytest.mark.parametrize("value", [["yes", "no"], {"no": 1, "yes": 0}])
@pytest.mark.parametrize("protocol", [None, 0, 2, 4])
def test_an_answer_list_or_its_inverse_is_loaded(tmp_path: Path, value: Any, protocol: int | None) -> None:
    path = tmp_path / ("answers.json" if protocol is None else "trainval_label2ans.pkl")
    path.write_bytes(json.dumps(value).encode() if protocol is None else pickle.dumps(value, protocol))
    assert answers.load_answer_list(path) == ["yes", "no"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("answers", b'["yes", "no"]'),  # the content decides
        ("answers.pkl", b'\xef\xbb\xbf {"yes": 0, "no": 1}'),
        ("answers.JSON", '["yes", "no"]'.encode("utf-16")),
        ("answers.json", b'{"0": "yes", "1": "no"}'),  # as JSON writes a mapping from each index to its answer
        ("answers.pkl", pickle.dumps({1: "no", 0: "yes"}, protocol=2)),
        ("answers.txt", b"yes\r\nno\r\n"),
        ("answers.txt", b"\xef\xbb\xbfyes\nno"),
    ],
)
def test_a_list_of_any_origin_is_read(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert answers.load_answer_list(tmp_path / name) == ["yes", "no"]


def test_tasks_that_share_a_list_have_one_and_differences_are_described(tmp_path: Path) -> None:
    owners = {"vqav2": "vqav2", "vgqa": "vqav2", "gqa": "gqa"}
    for name, content in (("a", '["yes", "no"]'), ("b", '{"no": 1, "yes": 0}'), ("c", '["no", "yes"]')):
        (tmp_path / name).write_text(content)
    lists = answers.read_answer_lists({"vqav2": tmp_path / "a", "vgqa": tmp_path / "b"}, owners)
    assert lists == {"vqav2": (tmp_path / "a", ("yes", "no"))}
    assert set(answers.read_answer_lists({"vgqa": tmp_path / "a"}, owners)) == {"vqav2"}
    with pytest.raises(TwelvefoldError, match=r"the same 2 answers in another order; at index 0 'no' and 'yes'"):
        answers.read_answer_lists({"vqav2": tmp_path / "a", "vgqa": tmp_path / "c"}, owners)
    with pytest.raises(TwelvefoldError, match=r"no answer list is needed for 'refcoco'; the tasks with one are vqav2"):
        answers.read_answer_lists({"refcoco": tmp_path / "a"}, owners)
    assert answers.compare_answer_lists(("a", "b"), ["a", "b"]) == ""
    assert answers.compare_answer_lists("ab", "abc") == "2 and 3 answers, 2 of them in both"


@pytest.mark.parametrize("value", [[], ["yes", "yes"], {"yes": 0, "no": 2}, {"yes": 0, "no": 0}, "yes", [1], {}])
def test_a_file_that_is_not_an_answer_list_is_rejected(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "answers.json"
    path.write_text(json.dumps(value))
    with pytest.raises(TwelvefoldError, match=r"answers\.json"):
        answers.load_answer_list(path)


def test_a_missing_or_truncated_answer_list_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(TwelvefoldError, match="no answer list"):
        answers.load_answer_list(tmp_path / "answers.json")
    (tmp_path / "answers.json").write_text('["yes", "n')
    with pytest.raises(TwelvefoldError, match="truncated"):
        answers.load_answer_list(tmp_path / "answers.json")
