"""Grounding (G3): targets, both losses, scores and decoding against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from twelvefold.batch import Batch
from twelvefold.config.training import TrainingConfig
from twelvefold.families.grounding import FAMILY as GROUNDING
from twelvefold.schema import (
    Box,
    Candidate,
    Example,
    HeadSpec,
    ImageKey,
    Label,
    Pair,
    Ranked,
    TargetBox,
    TargetBoxes,
    TwelvefoldError,
)

HEAD = HeadSpec("grounding", "grounding")
SOFTMAX = TrainingConfig(grounding_loss="softmax")
TRUE_BOX: Box = (0, 0, 10, 10)
ROWS = np.array([[[0, 0, 100, 100], [0, 0, 10, 10], [0, 0, 10, 5], [0, 0, 10, 4], [50, 50, 60, 60], [0, 0, 0, 0]]])
MASK = np.array([[False, True, True, True, True, False]])


def example(label: Label | None, candidates: tuple[Box, ...] = ()) -> Example:
    return Example("r1", (Pair(ImageKey("coco", "1"), "the one on the left", candidates),), label)


def target(label: Label, candidates: tuple[Box, ...] = (), **options: str) -> Tensor:
    result = GROUNDING.target([example(label, candidates)], ROWS, MASK, HEAD, **options)  # type: ignore[arg-type]
    assert result is not None
    assert result.dtype == np.float32
    return torch.from_numpy(result)


def batch(target_: Tensor | None, mask: np.ndarray[tuple[int, ...], np.dtype[np.bool_]] = MASK) -> Batch:
    none = torch.zeros(len(mask), 1)
    boxes, ids = torch.from_numpy(ROWS).float(), [f"r{i}" for i in range(len(mask))]
    return Batch("refcoco", 1, ids, none, none, none, boxes, none, none, torch.from_numpy(mask), target_)


def test_training_targets_are_ious_of_at_least_half_as_in_vilbert_mt() -> None:
    trained = target(TargetBox(TRUE_BOX))[0, :, 0]
    # sides with one added: 11 x 11 = 121; 11 x 6 = 66 and 11 x 5 = 55 lie inside it: 66/121 stays, 55/121 does not
    assert trained.tolist() == pytest.approx([0, 1, 66 / 121, 0, 0, 0])


def test_scoring_uses_the_iou_by_the_given_convention() -> None:
    assert target(TargetBox(TRUE_BOX))[0, :, 1].tolist() == pytest.approx([0, 1, 0.5, 0.4, 0, 0])
    original = target(TargetBox(TRUE_BOX), convention="vilbert_mt")[0, :, 1]
    assert original.tolist() == pytest.approx([0, 1, 66 / 121, 55 / 121, 0, 0])


def test_choosing_a_candidate_is_right_only_for_the_true_box() -> None:
    candidates: tuple[Box, ...] = ((0, 0, 10, 10), (0, 0, 10, 5), (0, 0, 10, 4), (0, 0, 10, 10))
    rows = ROWS.copy()
    rows[0, 4] = (0, 0, 10, 10)
    result = GROUNDING.target([example(Candidate(0), candidates)], rows, MASK, HEAD)
    assert result is not None
    assert result[0, :, 1].tolist() == [0, 1, 0, 0, 1, 0]  # a box identical to the right one is right too
    assert result[0, :, 0].tolist() == pytest.approx([0, 1, 66 / 121, 0, 1, 0])  # but overlap trains, as published


def test_a_candidate_index_out_of_range_is_an_error() -> None:
    with pytest.raises(TwelvefoldError, match=r"'r1'.*candidate 4, but there are 4 candidates"):
        target(Candidate(4), (TRUE_BOX,) * 4)
    with pytest.raises(TwelvefoldError, match=r"'r1'.*3 candidates, but the batch has 4 rows"):
        target(Candidate(0), (TRUE_BOX,) * 3)


def test_the_sigmoid_loss_sums_over_candidates_only() -> None:
    target_ = torch.zeros(1, 6, 2)
    target_[0, :2, 0] = torch.tensor([1.0, 0.5])
    logits = torch.tensor([[9.0, 1.0, 0.0, 0.0, -1.0, 9.0]])
    # rows 1 to 4 (target 0.5, 0, 0, 0): ln(1 + e) - 0.5, ln 2, ln 2, ln(1 + 1/e)
    by_hand = math.log(1 + math.e) - 0.5 + 2 * math.log(2) + math.log(1 + math.exp(-1))
    assert GROUNDING.loss(logits, batch(target_)).item() == pytest.approx(by_hand, rel=1e-6)


def test_the_softmax_loss_normalizes_the_targets() -> None:
    target_ = torch.zeros(1, 6, 2)
    target_[0, 1:3, 0] = torch.tensor([1.0, 0.6])
    logits = torch.tensor([[9.0, math.log(2), 0.0, 0.0, 0.0, 9.0]])
    # probabilities 2/5, 1/5, 1/5, 1/5; shares 5/8 and 3/8
    by_hand = -(5 / 8 * math.log(2 / 5) + 3 / 8 * math.log(1 / 5))
    assert GROUNDING.loss(logits, batch(target_), SOFTMAX).item() == pytest.approx(by_hand, rel=1e-6)


def test_an_expression_without_a_target_adds_nothing_to_the_softmax_loss() -> None:
    logits = torch.randn(1, 6, requires_grad=True)
    loss = GROUNDING.loss(logits, batch(torch.zeros(1, 6, 2)), SOFTMAX)
    torch.autograd.backward(loss)
    assert loss.item() == 0.0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_an_iou_of_exactly_half_is_a_hit_except_in_vilbert_mt() -> None:
    b = batch(target(TargetBox(TRUE_BOX)))
    second, third = torch.tensor([[9.0, 0, 1, 0, 0, 9]]), torch.tensor([[9.0, 0, 0, 1, 0, 9]])
    assert GROUNDING.score(second, b).tolist() == [1.0]
    assert GROUNDING.score(second, b, "vilbert_mt").tolist() == [0.0]
    assert GROUNDING.score(third, b).tolist() == [0.0]
    assert GROUNDING.chosen_value(third, b).tolist() == pytest.approx([0.4])


def test_the_worst_of_tied_rows_counts() -> None:
    target_ = torch.zeros(3, 6, 2)
    target_[:, 1:3, 1] = torch.tensor([1.0, 0.7])
    logits = torch.tensor([[0.0, 5, 5, 0, 0, 0], [0, 5, 5, 5, 0, 0], [5, 5, 0, 0, 0, 5]])
    b = batch(target_, np.repeat(MASK, 3, axis=0))
    assert GROUNDING.chosen_value(logits, b).tolist() == pytest.approx([0.7, 0.0, 1.0])
    assert GROUNDING.score(logits, b).tolist() == [1.0, 0.0, 1.0]


def test_without_candidates_score_and_ranking_are_empty() -> None:
    b = batch(torch.zeros(1, 6, 2), np.zeros((1, 6), dtype=bool))
    for config in (None, SOFTMAX):
        assert GROUNDING.loss(torch.randn(1, 6), b, config).item() == 0.0
    assert GROUNDING.score(torch.randn(1, 6), b).tolist() == [0.0]
    assert GROUNDING.decode(torch.randn(1, 6), b, HEAD)[0].ranked == ()


def test_decoding_ranks_the_boxes_of_candidates() -> None:
    (prediction,) = GROUNDING.decode(torch.tensor([[9.0, 0, math.log(3), 0, 0, 9]]), batch(None), HEAD, top=5)
    assert prediction.best.box_px == (0.0, 0.0, 10.0, 5.0)
    assert [round(r.probability, 4) for r in prediction.ranked] == [0.5, 0.1667, 0.1667, 0.1667]


def test_withheld_labels_give_no_target() -> None:
    assert GROUNDING.target([example(None)], ROWS, MASK, HEAD) is None


def test_a_phrase_is_trained_on_and_scored_by_its_first_box_as_in_vilbert_mt() -> None:
    rows = ROWS.astype(np.float64)
    rows[0, 4] = (0, 0, 10, 4.5)  # sides with one added: 11 x 5.5 of 11 x 11: exactly half, which is no hit
    result = GROUNDING.target([example(TargetBoxes((TRUE_BOX, (50, 50, 60, 60))))], rows, MASK, HEAD)
    assert result is not None
    assert result[0, :, 0].tolist() == pytest.approx([0, 1, 66 / 121, 0, 0.5, 0])
    assert result[0, :, 1].tolist() == [0, 1, 1, 0, 0, 0]


def ranked(*boxes: Box) -> list[Ranked]:
    return [Ranked(0.1, box_px=box) for box in boxes]


def test_hits_of_phrases_with_several_boxes_count_by_three_rules() -> None:
    label = TargetBoxes(((0, 0, 9, 9), (20, 0, 29, 9)))  # 10 x 10 each with one added; around both: 30 x 10
    half, elsewhere = (0, 0, 9, 4), (50, 50, 59, 59)  # half: 10 x 5 of the first box, exactly 0.5
    regions = {
        "first": ranked((0, 0, 9, 9)),
        "second": ranked((20, 0, 29, 9)),
        "around": ranked((0, 0, 29, 9)),
        "half, then first": ranked(half, (0, 0, 9, 9)),
        "sixth": ranked(*[elsewhere] * 5, (0, 0, 9, 9)),
        "nothing": [],
        "wrong": ranked(*[elsewhere] * 10),
        "merged at half": ranked((0, 0, 14, 9)),  # 15 x 10: half of both; 10 / 15 of the first
    }
    metrics = GROUNDING.ranked_metrics([example(label)] * len(regions), list(regions.values()))
    assert {name: round(8 * value) for name, value in metrics.items()} == {
        "recall_at_5": 3,  # first, half then first, merged at half
        "recall_at_10": 4,  # and sixth
        "any_box_recall_at_1": 4,  # first, second, half, merged at half
        "any_box_recall_at_5": 4,
        "any_box_recall_at_10": 5,
        "merged_box_recall_at_1": 2,  # around, merged at half
        "merged_box_recall_at_5": 2,
        "merged_box_recall_at_10": 2,
    }
    assert GROUNDING.num_ranked(label) == 10


def test_labels_of_one_box_have_no_recalls() -> None:
    assert GROUNDING.ranked_metrics([example(TargetBox(TRUE_BOX))], [ranked(TRUE_BOX)]) == {}
    assert GROUNDING.num_ranked(TargetBox(TRUE_BOX)) == 5
