"""Collating: the order of rows, padding, candidates with their own features."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from twelvefold.batch import Batch
from twelvefold.data.collate import collate
from twelvefold.data.region_inputs import RegionSource
from twelvefold.schema import (
    Candidate,
    ClassName,
    Example,
    HeadSpec,
    ImageKey,
    Pair,
    Regions,
    SoftAnswers,
    TargetBox,
    TaskSpec,
    TwelvefoldError,
)
from twelvefold.store.region_store import ShardWriter, finish_store

D = 5
COUNTS = {"1": 4, "2": 0, "3": 9}
CANDIDATES = [(0.0, 0.0, 10.5, 10.0), (5.0, 5.0, 50.0, 60.0), (-1.0, 3.0, 7.0, 9.1)]

VQA = TaskSpec("vqav2", "VQAv2", "answers", "vqa", "accuracy", 8, 4, 4e-5, max_regions=6, vocabulary="vqav2")
VQA_HEAD = HeadSpec("vqa", "answers", ("yes", "no"))
V7W = TaskSpec("visual7w", "Visual7W", "grounding", "regions", "accuracy", 8, 4, 2e-5, max_regions=6)
V7W_HEAD = HeadSpec("regions", "grounding")
NLVR = TaskSpec(
    "nlvr2", "NLVR2", "verification", "nlvr2", "accuracy", 8, 4, 2e-5, pairs_per_example=2, classes=("False", "True")
)
NLVR_HEAD = HeadSpec("nlvr2", "verification", NLVR.classes, 2)


def key(name: str) -> ImageKey:
    return ImageKey("vg", name)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> RegionSource:
    folder = tmp_path_factory.mktemp("regions")
    random = np.random.default_rng(1)
    with ShardWriter(folder / "a", feature_size=D) as shard:
        for name, count in COUNTS.items():
            boxes = random.uniform(0, 40, (count, 4)).astype(np.float32)
            boxes[:, 2:] += boxes[:, :2]
            shard.add(key(name), Regions(boxes, random.normal(size=(count, D)), 100, 80))
    with ShardWriter(folder / "given" / "a", feature_size=D) as shard:
        boxes = np.array(CANDIDATES[::-1], dtype=np.float32)
        shard.add(key("1"), Regions(boxes, np.arange(3 * D).reshape(3, D).astype(float), 100, 80))
    return RegionSource(finish_store(folder, ["a"], info={}), finish_store(folder / "given", ["a"], info={}))


def question(name: str, image: str, answer: str = "yes") -> Example:
    return Example(name, (Pair(key(image), "?"),), SoftAnswers({answer: 1.0}))


def unpadded_row(batch: Batch, p: int) -> dict[str, torch.Tensor]:
    """Return row p without its padding."""
    text, rows, padded = batch.token_mask[p], batch.region_mask[p], batch.with_padded_regions()
    return {
        "ids": batch.token_ids[p][text],
        "features": padded.features[p][rows],
        "boxes": batch.boxes_px[p][rows],
        "locations": padded.locations[p][rows],
        "candidates": batch.candidate_mask[p][rows],
    }


def test_a_batch_of_many_equals_batches_of_one(source: RegionSource) -> None:
    examples = [question("a", "1"), question("b", "2", "no"), question("c", "3")]
    ids = [[7, 8], [], list(range(1000, 1020))]
    many = collate(examples, ids, source, VQA, VQA_HEAD)
    assert many.target is not None
    for p, example in enumerate(examples):
        single = collate([example], [ids[p]], source, VQA, VQA_HEAD)
        assert single.target is not None
        assert single.token_mask.all()
        assert single.region_mask.all()
        for name, value in unpadded_row(single, 0).items():
            assert torch.equal(value, unpadded_row(many, p)[name]), name
        assert torch.equal(single.target[0], many.target[p])
    assert not many.token_ids[~many.token_mask].any()
    assert many.features.shape == (many.region_mask.sum(), D)  # no padding
    assert many.locations.shape == (many.region_mask.sum(), 5)
    texts, images = many.lengths
    assert texts.tolist() == many.token_mask.sum(dim=1).tolist()
    assert images.tolist() == many.region_mask.sum(dim=1).tolist()
    assert not (many.candidate_mask & ~many.region_mask).any()


def test_rows_are_img_then_the_most_confident_regions(source: RegionSource) -> None:
    batch = collate([question("a", "3")], [[7]], source, VQA, VQA_HEAD)
    stored = source.detected[key("3")]
    assert batch.features.dtype == batch.boxes_px.dtype == batch.locations.dtype == torch.float32
    assert batch.features.shape == (6, D)  # IMG and five of nine
    mean = stored.features.astype(np.float64).mean(axis=0)  # of all nine
    np.testing.assert_allclose(batch.features[0], mean, rtol=1e-6)
    np.testing.assert_array_equal(batch.features[1:], stored.features[:5].astype(np.float32))
    assert batch.boxes_px[0, 0].tolist() == [0, 0, 100, 80]
    assert batch.locations[0].tolist() == [0, 0, 1, 1, 1]
    np.testing.assert_array_equal(batch.boxes_px[0, 1:], stored.boxes_px[:5])
    x1, y1, x2, y2 = stored.boxes_px[0].tolist()
    expected = [x1 / 100, y1 / 80, x2 / 100, y2 / 80, (x2 - x1) * (y2 - y1) / 8000]
    np.testing.assert_allclose(batch.locations[1], expected, rtol=1e-6)
    assert batch.candidate_mask[0].tolist() == [False, *[True] * 5]


def test_without_regions_there_is_only_img_and_no_candidate(source: RegionSource) -> None:
    box = TargetBox((0.0, 0.0, 5.0, 5.0))
    batch = collate([Example("a", (Pair(key("2"), "it"),), box)], [[7]], source, V7W, V7W_HEAD)
    assert batch.features.shape == (1, D)
    assert not batch.features.any()
    assert batch.region_mask.tolist() == [[True]]
    assert batch.candidate_mask.tolist() == [[False]]
    assert batch.target is not None
    assert not batch.target.any()


def test_candidates_come_last_with_their_own_features_and_are_never_cut(source: RegionSource) -> None:
    example = Example("a", (Pair(key("1"), "which", tuple(CANDIDATES)),), Candidate(1))
    batch = collate([example], [[7]], source, replace(V7W, max_regions=3), V7W_HEAD)
    assert batch.features.shape == (1 + 2 + 3, D)
    # The store holds the boxes the other way round: they are found by their corners, not by their place.
    expected = np.arange(3 * D).reshape(3, D)[::-1]
    np.testing.assert_array_equal(batch.features[3:], expected)
    np.testing.assert_array_equal(batch.boxes_px[0, 3:], np.array(CANDIDATES, dtype=np.float32))
    assert batch.candidate_mask[0].tolist() == [False, False, False, True, True, True]
    assert batch.target is not None
    assert batch.target[0, :, 1].tolist() == [0, 0, 0, 0, 1, 0]


def test_a_candidate_without_features_is_an_error(source: RegionSource) -> None:
    missing = Example("a", (Pair(key("1"), "", (CANDIDATES[0], (1.0, 2.0, 3.0, 4.0))),), Candidate(0))
    with pytest.raises(TwelvefoldError, match=r"vg/1: candidate box \[1.0, 2.0, 3.0, 4.0\] has no features"):
        collate([missing], [[]], source, V7W, V7W_HEAD)
    elsewhere = Example("a", (Pair(key("3"), "", (CANDIDATES[0],)),), Candidate(0))
    with pytest.raises(TwelvefoldError, match="vg/3: candidate boxes need features"):
        collate([elsewhere], [[]], source, V7W, V7W_HEAD)
    with pytest.raises(TwelvefoldError, match="no store of them"):
        collate([missing], [[]], RegionSource(source.detected), V7W, V7W_HEAD)


def test_an_image_missing_from_the_store_is_an_error(source: RegionSource) -> None:
    with pytest.raises(TwelvefoldError, match="has no image vg/77"):
        collate([question("a", "77")], [[]], source, VQA, VQA_HEAD)


def test_stores_of_two_detectors_are_refused(source: RegionSource, tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "a", feature_size=D + 1) as shard:
        shard.add(key("1"), Regions(np.zeros((1, 4), dtype=np.float32), np.zeros((1, D + 1)), 10, 10))
    with pytest.raises(TwelvefoldError, match="the same detector"):
        RegionSource(source.detected, finish_store(tmp_path, ["a"], info={}))


@pytest.mark.parametrize(("count", "kept"), [(0, 0), (5, 5), (6, 6), (7, 6), (500, 6)])
def test_long_texts_are_truncated_and_keep_sep(source: RegionSource, count: int, kept: int) -> None:
    ids = np.arange(1000, 1000 + count, dtype=np.int32)
    batch = collate([question("a", "1")], [ids], source, VQA, VQA_HEAD)
    assert batch.token_ids.dtype == torch.int64
    assert batch.token_ids[0].tolist() == [101, *ids[:kept].tolist(), 102]


def test_pairs_of_an_example_are_adjacent_rows_and_each_image_is_padded_unpadded_row(source: RegionSource) -> None:
    examples = [
        Example("a", (Pair(key("1"), "x"), Pair(key("3"), "x")), ClassName("True")),
        Example("b", (Pair(key("3"), "y"), Pair(key("2"), "y")), ClassName("False")),
    ]
    batch = collate(examples, [[1], [1], [2, 3], [2, 3]], source, NLVR, NLVR_HEAD)
    assert (batch.pairs_per_example, batch.example_ids) == (2, ["a", "b"])
    assert batch.region_mask.sum(dim=1).tolist() == [5, 10, 10, 1]
    assert batch.target is not None
    assert batch.target.tolist() == [1, 0]


def test_examples_with_different_numbers_of_pairs_are_refused(source: RegionSource) -> None:
    examples = [
        Example("a", (Pair(key("1"), "x"), Pair(key("3"), "x")), ClassName("True")),
        Example("b", (Pair(key("3"), "y"),), ClassName("False")),
    ]
    with pytest.raises(TwelvefoldError, match="'b' has 1, 'a' has 2"):
        collate(examples, [[1]] * 3, source, NLVR, NLVR_HEAD)


def test_withheld_labels_give_no_target(source: RegionSource) -> None:
    batch = collate([msgspec.structs.replace(question("a", "1"), label=None)], [[1]], source, VQA, VQA_HEAD)
    assert batch.target is None
