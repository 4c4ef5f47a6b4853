"""Answers (G1): targets, loss, score, decode and GQA's consistency against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from twelvefold.batch import Batch
from twelvefold.families.answers import FAMILY as ANSWERS
from twelvefold.families.shared.consistency import entailment_consistency
from twelvefold.schema import ClassName, Example, HeadSpec, ImageKey, Label, Pair, SoftAnswers, TwelvefoldError

HEAD = HeadSpec("vqa", "answers", ("yes", "no", "red"))
BOXES, MASK = np.zeros((1, 1, 4)), np.zeros((1, 1), dtype=bool)


def example(label: Label | None, id_: str = "q1") -> Example:
    return Example(id_, (Pair(ImageKey("coco", "1"), "what color?"),), label)


def batch(target: Tensor | None, size: int) -> Batch:
    none = torch.zeros(size, 1)
    return Batch("vqav2", 1, [f"q{i}" for i in range(size)], none, none, none, none, none, none, none, target)


def test_the_target_has_the_scores_of_known_answers_only() -> None:
    examples = [example(SoftAnswers({"red": 0.9, "crimson": 0.3})), example(SoftAnswers({"crimson": 1.0}))]
    target = ANSWERS.target(examples, BOXES, MASK, HEAD)
    assert target is not None
    np.testing.assert_array_equal(target, np.array([[0, 0, 0.9], [0, 0, 0]], dtype=np.float32))
    assert target.dtype == np.float32


def test_the_loss_sums_over_answers_and_averages_over_the_batch() -> None:
    # ln(1 + e^x) - x y: example one 3 ln 2 (all logits 0); example two ln(1 + e^2) - 2 * 0.6 + 2 ln 2
    logits = torch.tensor([[0.0, 0.0, 0.0], [2.0, 0.0, 0.0]])
    target = torch.tensor([[1.0, 0.0, 0.3], [0.6, 1.0, 0.0]])
    by_hand = (3 * math.log(2) + math.log(1 + math.exp(2)) - 1.2 + 2 * math.log(2)) / 2
    assert ANSWERS.loss(logits, batch(target, 2)).item() == pytest.approx(by_hand, rel=1e-6)


def test_the_score_is_the_soft_score_of_the_most_probable_answer() -> None:
    target = torch.tensor([[1.0, 0.0, 0.3], [0.6, 1.0, 0.0], [0.0, 0.0, 0.0]])
    logits = torch.tensor([[0.0, 1.0, 2.0], [-1.0, 3.0, 2.0], [1.0, 0.0, 0.0]])
    assert ANSWERS.score(logits, batch(target, 3)).tolist() == pytest.approx([0.3, 1.0, 0.0])


def test_decoding_ranks_answers_by_independent_probabilities() -> None:
    (prediction,) = ANSWERS.decode(torch.tensor([[0.0, -1.0, 1.0]]), batch(None, 1), HEAD, top=2)
    assert [(r.name, round(r.probability, 4)) for r in prediction.ranked] == [("red", 0.7311), ("yes", 0.5)]
    assert (prediction.example_id, prediction.task, prediction.best.name) == ("q0", "vqav2", "red")
    (whole,) = ANSWERS.decode(torch.tensor([[0.0, -1.0, 1.0]]), batch(None, 1), HEAD, top=50)
    assert len(whole.ranked) == 3


def test_withheld_labels_give_no_target_and_no_loss() -> None:
    assert ANSWERS.target([example(None)], BOXES, MASK, HEAD) is None
    with pytest.raises(TwelvefoldError, match="withheld"):
        ANSWERS.loss(torch.zeros(1, 3), batch(None, 1))
    with pytest.raises(TwelvefoldError, match=r"'q7'.*withheld label among others"):
        ANSWERS.target([example(SoftAnswers({})), example(None, "q7")], BOXES, MASK, HEAD)


def test_a_label_of_another_type_is_an_error() -> None:
    with pytest.raises(TwelvefoldError, match=r"'q1'.*'vqa'.*SoftAnswers, got ClassName"):
        ANSWERS.target([example(ClassName("yes"))], BOXES, MASK, HEAD)


def test_consistency_averages_the_scores_of_entailed_questions() -> None:
    scores = {"01": 1.0, "02": 1.0, "03": 0.0, "04": 0.0, "05": 1.0}
    linked = {"01": ["01", "02", "03"], "03": ["02"], "02": ["09"], "05": []}
    # 01 is right and entails 02 (right) and 03 (wrong); 03 is wrong; 02 entails only a question that was not answered
    assert entailment_consistency(scores, linked) == {"01": 0.5}
    examples = [Example(id_, (), None, linked=tuple(linked.get(id_, ()))) for id_ in scores]
    assert ANSWERS.extra_metrics(examples, [None] * 5, list(scores.values())) == {"consistency": 0.5}
    assert ANSWERS.extra_metrics(examples[3:], [None] * 2, [0.0, 1.0]) == {}
    (limitation,) = ANSWERS.limitations(examples, list(scores.values()))
    assert "leaves out 1 entailed question that was not asked (09)" in limitation
    assert ANSWERS.limitations(examples[:1] + examples[2:], [1.0, 0.0, 0.0, 1.0])[0].startswith(
        "consistency leaves out 1 entailed question that was not asked (02)"
    )
    assert ANSWERS.limitations(examples[3:], [0.0, 1.0]) == []


def test_consistency_counts_a_repeated_entailed_question_each_time_and_is_0_where_nothing_is_right() -> None:
    # Expected values: GQA's official script.
    examples = [Example("1", (), None, linked=("2", "2", "3")), Example("2", (), None), Example("3", (), None)]
    assert ANSWERS.extra_metrics(examples, [None] * 3, [1.0, 0.0, 1.0]) == {"consistency": pytest.approx(1 / 3)}
    assert ANSWERS.extra_metrics(examples, [None] * 3, [0.0, 1.0, 1.0]) == {"consistency": 0.0}
    assert ANSWERS.extra_metrics(examples, [None] * 3, [0.0, 0.0, 0.0]) == {"consistency": 0.0}
