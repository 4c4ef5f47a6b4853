"""Verification (G4): classes, the soft-max loss and NLVR2's consistency against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from twelvefold.batch import Batch
from twelvefold.families.shared.consistency import group_consistency
from twelvefold.families.verification import FAMILY as VERIFICATION
from twelvefold.schema import ClassName, Example, HeadSpec, ImageKey, Pair, TwelvefoldError

HEAD = HeadSpec("snli_ve", "verification", ("contradiction", "neutral", "entailment"))
BOXES, MASK = np.zeros((1, 1, 4)), np.zeros((1, 1), dtype=bool)


def example(name: str) -> Example:
    return Example("s1", (Pair(ImageKey("flickr30k", "1"), "a man sleeps"),), ClassName(name))


def batch(target: list[int]) -> Batch:
    none = torch.zeros(len(target), 1)
    ids = [f"s{i}" for i in range(len(target))]
    return Batch("snli_ve", 1, ids, none, none, none, none, none, none, none, torch.tensor(target))


def test_the_target_is_the_class_index_and_minus_one_without_a_gold_label() -> None:
    target = VERIFICATION.target([example("entailment"), example(""), example("contradiction")], BOXES, MASK, HEAD)
    assert target is not None
    assert target.tolist() == [2, -1, 0]
    assert target.dtype == np.int64


def test_an_unknown_class_is_an_error_with_the_closest_name() -> None:
    with pytest.raises(TwelvefoldError, match=r"'s1'.*'entailmnt'.*did you mean 'entailment'"):
        VERIFICATION.target([example("entailmnt")], BOXES, MASK, HEAD)


def test_the_loss_is_softmax_cross_entropy_over_gold_labels() -> None:
    logits = torch.tensor([[0.0, 0.0, math.log(2)], [5.0, -3.0, 1.0]], requires_grad=True)
    loss = VERIFICATION.loss(logits, batch([2, -1]))
    assert loss.item() == pytest.approx(math.log(2) / 2, rel=1e-6)  # probability 2 / 4; mean over two examples
    torch.autograd.backward(loss)
    assert logits.grad is not None
    assert logits.grad[0].tolist() == pytest.approx([0.125, 0.125, -0.25])
    assert not logits.grad[1].any()
    assert VERIFICATION.loss(logits, batch([-1, -1])).item() == 0.0


def test_without_a_gold_label_the_score_is_0() -> None:
    logits = torch.tensor([[0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [3.0, 0.0, 0.0]])
    assert VERIFICATION.score(logits, batch([1, -1, 2])).tolist() == [1.0, 0.0, 0.0]


def test_decoding_ranks_classes_whose_probabilities_sum_to_one() -> None:
    (prediction,) = VERIFICATION.decode(torch.tensor([[0.0, 0.0, math.log(2)]]), batch([0]), HEAD)
    assert prediction.best.name == "entailment"
    assert [r.probability for r in prediction.ranked] == pytest.approx([0.5, 0.25, 0.25])


def test_consistency_needs_every_example_of_a_group_right() -> None:
    scores = {"a-0": 1.0, "a-1": 1.0, "b-0": 1.0, "b-1": 0.0, "c-0": 1.0}
    assert group_consistency(scores, {k: k[0] for k in scores}) == {"a": 1.0, "b": 0.0, "c": 1.0}
    examples = [Example(id_, (), None, group=id_[0]) for id_ in scores]
    assert VERIFICATION.extra_metrics(examples, [None] * 5, [1.0, 1.0, 1.0, 0.0, 1.0]) == {"consistency": 2 / 3}
