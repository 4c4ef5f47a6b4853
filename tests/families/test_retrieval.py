"""Retrieval (G2): 4-way choices and ranks in a pool against numbers worked out by hand; ties count as wrong."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from twelvefold.batch import Batch
from twelvefold.families.retrieval import FAMILY as RETRIEVAL
from twelvefold.families.retrieval import rank_true_images, rank_true_texts, recall_at
from twelvefold.families.shared.probabilities import decode_names
from twelvefold.schema import Example, HeadSpec, ImageKey, Pair, PositivePair

HEAD = HeadSpec("alignment", "retrieval", (), 4)


def batch(target: list[int]) -> Batch:
    none = torch.zeros(4 * len(target), 1)
    ids = [f"c{i}" for i in range(len(target))]
    return Batch("coco", 4, ids, none, none, none, none, none, none, none, torch.tensor(target))


def test_the_target_is_the_index_of_the_true_pair() -> None:
    pair = Pair(ImageKey("coco", "1"), "a dog")
    examples = [Example("a", (pair,) * 4, PositivePair()), Example("b", (pair,) * 4, PositivePair(2))]
    target = RETRIEVAL.target(examples, np.zeros((8, 1, 4)), np.zeros((8, 1), dtype=bool), HEAD)
    assert target is not None
    assert target.tolist() == [0, 2]
    assert target.dtype == np.int64


def test_the_loss_is_cross_entropy_over_four_pairs() -> None:
    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0], [math.log(3), 0.0, 0.0, 0.0]])
    # 1/4 for the first; 3 / (3 + 1 + 1 + 1) = 1/2 for the second
    assert RETRIEVAL.loss(logits, batch([0, 0])).item() == pytest.approx((math.log(4) + math.log(2)) / 2, rel=1e-6)


def test_the_true_pair_must_score_strictly_highest() -> None:
    logits = torch.tensor([[2.0, 1, 0, 0], [2, 2, 0, 0], [0, 0, 3, 0], [math.nan, 0, 0, 0]])
    assert RETRIEVAL.score(logits, batch([0, 0, 2, 0])).tolist() == [1, 0, 1, 0]


def test_ranks_count_ties_against_the_model() -> None:
    scores = torch.tensor([[3.0, 1, 2], [5, 5, 5], [1, 3, 2]])
    result = rank_true_images(scores, torch.tensor([0, 0, 0]))
    assert result.tolist() == [0, 2, 2]
    assert recall_at(result, 1) == pytest.approx(1 / 3)
    assert recall_at(result, 3) == 1.0


def test_nan_counts_as_wrong() -> None:
    scores = torch.tensor([[math.nan, 1.0, 2.0], [3.0, math.nan, 1.0]])
    assert rank_true_images(scores, torch.tensor([0, 0])).tolist() == [2, 1]


@given(st.integers(1, 8), st.integers(0, 2**31))
def test_without_ties_the_rank_is_the_index_in_descending_order(m: int, seed: int) -> None:
    scores = torch.rand(5, m, generator=torch.Generator().manual_seed(seed))
    true = torch.arange(5) % m
    order: Tensor = scores.argsort(dim=1, descending=True)
    assert rank_true_images(scores, true).tolist() == [order[i].tolist().index(int(true[i])) for i in range(5)]


def test_any_caption_of_an_image_counts_and_ties_and_nan_are_wrong_in_text_retrieval() -> None:
    true_image = torch.tensor([0, 0, 1, 1, 2])
    scores = torch.tensor([[1.0, 0, 5], [9, 2, 5], [8, 1, 5], [7, 2, 5], [6, 0, 5]])
    # image 0: its second caption is first; image 1: its best caption ties with one of image 0; image 2: all tie
    assert rank_true_texts(lambda: [scores], true_image).tolist() == [0, 1, 4]
    scores[:, 2] = torch.tensor([math.nan, 1.0, 1.0, 1.0, 5.0])  # another image's NaN precedes
    scores[1, 0] = math.nan  # the first image is left with its other caption, which is the worst
    scores[2:4, 1] = math.nan
    assert rank_true_texts(lambda: [scores], true_image).tolist() == [3, 3, 1]
    scores[2:, 0] = float("inf")
    assert rank_true_texts(lambda: [torch.full((5, 3), float("inf"))], true_image).tolist() == [3, 3, 4]


def test_images_without_captions_are_no_queries_of_text_retrieval() -> None:
    assert rank_true_texts(lambda: [torch.eye(3)[:2]], torch.tensor([0, 2])).tolist() == [0, 1]
    assert rank_true_texts(lambda: [torch.zeros(0, 3)], torch.zeros(0, dtype=torch.int64)).tolist() == []


@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 2**31))
def test_without_ties_the_rank_of_texts_is_the_index_of_the_first_own_caption(m: int, each: int, seed: int) -> None:
    scores = torch.rand(m * each, m, generator=torch.Generator().manual_seed(seed))
    true_image = torch.arange(m * each) % m
    order = scores.argsort(dim=0, descending=True)
    expected = [true_image[order[:, image]].tolist().index(image) for image in range(m)]
    for size in (m * each, 2):  # blocks of captions add up
        assert rank_true_texts(partial(scores.split, size), true_image).tolist() == expected


def test_decoding_a_pool_ranks_image_keys() -> None:
    first, second = decode_names(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), ["a", "b"], ["coco/1", "coco/2"], "coco")
    assert [first.best.name, second.best.name] == ["coco/2", "coco/1"]
    assert first.best.probability == pytest.approx(1 / (1 + math.exp(-1)))
    (choice,) = RETRIEVAL.decode(torch.tensor([[0.0, 0, 5, 1]]), batch([0]), HEAD, top=2)
    assert [r.name for r in choice.ranked] == ["2", "3"]
