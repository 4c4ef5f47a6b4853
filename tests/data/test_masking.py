"""Masking for pretraining: rates, labels, and independence of the number of ranks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from twelvefold import boxes
from twelvefold.batch import MaskedBatch
from twelvefold.config.recipe import PretrainingConfig
from twelvefold.data import masking as masked
from twelvefold.data.masking import MaskedBatches
from twelvefold.data.region_inputs import RegionSource
from twelvefold.data.task_batches import TaskBatches
from twelvefold.data.tokenizer import CLS, MASK, PAD, SEP
from twelvefold.data.write_table import write_table
from twelvefold.schema import Example, HeadSpec, ImageKey, Pair, PositivePair, Regions, TaskSpec, TwelvefoldError
from twelvefold.store.example_table import ExampleTable
from twelvefold.store.region_store import ShardWriter, finish_store

IMAGES, CAPTIONS, REGIONS, CATEGORIES = 40, 120, 8, 5
COCO = TaskSpec("coco", "COCO", "retrieval", "retrieval", "recall_at_1", 14, 30, 1e-4, max_regions=1 + REGIONS)
WORDS = range(1000, 1030)
TOKENS = (100, 0, 101, 102, 103, *WORDS)


def key(number: int) -> ImageKey:
    return ImageKey("coco", str(number))


def words_of(texts: object) -> list[list[int]]:
    assert isinstance(texts, list)
    return [[int(word) for word in text.split()] for text in texts]


def write_regions(folder: Path, *, categories: int) -> RegionSource:
    """Every second region lies close to the one before it, the others far apart."""
    random = np.random.default_rng(1)
    with ShardWriter(folder / "a", feature_size=3, num_categories=categories) as shard:
        for i in range(IMAGES):
            lefts = np.repeat(np.arange(REGIONS // 2) * 100.0, 2) + np.tile([0.0, 5.0], REGIONS // 2)
            corners = np.stack([lefts, lefts * 0, lefts + 40, lefts * 0 + 40], axis=1)[: 3 + i % 6]
            features = random.normal(size=(len(corners), 3)) + 5
            other = random.dirichlet(np.ones(categories), len(corners)) if categories else None
            probabilities = None if other is None else other.astype(np.float32)
            shard.add(key(i), Regions(corners.astype(np.float32), features.astype(np.float32), 500, 100, probabilities))
    return RegionSource(
        finish_store(folder, ["a"], info={}, categories=tuple(f"category {k}" for k in range(categories)))
    )


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> RegionSource:
    return write_regions(tmp_path_factory.mktemp("regions"), categories=CATEGORIES)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> ExampleTable:
    random = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("tables") / "coco-train.arrow"
    texts = [" ".join(map(str, random.choice(WORDS, 1 + n % 15))) for n in range(CAPTIONS)]  # some beyond the limit
    examples = [Example(str(n), (Pair(key(n % IMAGES), text),), PositivePair()) for n, text in enumerate(texts)]
    write_table(path, examples, words_of, digest="d")
    return ExampleTable.open(path)


Make = Callable[..., MaskedBatches]


@pytest.fixture(scope="module")
def make(table: ExampleTable, source: RegionSource) -> Make:
    def make(seed: int = 0, **config: float) -> MaskedBatches:
        captions = TaskBatches(table, source, COCO, HeadSpec("retrieval", "retrieval"), seed=seed)
        return MaskedBatches(captions, TOKENS, PretrainingConfig(**config))  # type: ignore[arg-type]

    return make


def many(batches: MaskedBatches, count: int = 60) -> list[MaskedBatch]:
    return [batches.train_batch(step).with_padded_regions() for step in range(count)]


def unmasked(batches: MaskedBatches, batch: MaskedBatch) -> tuple[torch.Tensor, torch.Tensor]:
    """Return features and token ids of the same images and captions unmasked, with the true captions."""
    index = {id_: n for n, id_ in enumerate(batches.table.ids())}
    batch_ = batches.captions.batch([index[id_] for id_ in batch.example_ids])
    return batch_.with_padded_regions().features, batch_.token_ids


def test_tokens_are_masked_at_the_configured_rates_and_special_tokens_never(make: Make) -> None:
    batches = make(mismatch_prob=0.0)
    selected = words = masks = same = 0
    for batch in many(batches):
        _, ids = unmasked(batches, batch)
        real = (ids != CLS) & (ids != SEP) & (ids != PAD)
        assert not (batch.predict_tokens & ~real).any()
        assert torch.equal(batch.token_labels, ids[batch.predict_tokens])  # the original tokens in row order
        assert torch.equal(batch.token_ids[~batch.predict_tokens], ids[~batch.predict_tokens])
        now = batch.token_ids[batch.predict_tokens]
        assert ((now == MASK) | torch.isin(now, torch.tensor(list(WORDS)))).all()
        selected, words = selected + int(batch.predict_tokens.sum()), words + int(real.sum())
        masks, same = masks + int((now == MASK).sum()), same + int((now == batch.token_labels).sum())
    assert selected / words == pytest.approx(0.15, abs=0.015)
    assert masks / selected == pytest.approx(0.8, abs=0.04)
    assert same / selected == pytest.approx(0.1 + 0.1 / len(WORDS), abs=0.03)


def test_regions_are_masked_at_the_configured_rates_with_the_detectors_labels(make: Make, source: RegionSource) -> None:
    batches = make(mismatch_prob=0.0, mask_overlapping=False)
    selected = regions = zero = 0
    for batch in many(batches):
        features, _ = unmasked(batches, batch)
        assert not batch.predict_regions[:, 0].any()
        assert not (batch.predict_regions & ~batch.region_mask).any()
        now = batch.features[batch.predict_regions]
        empty = (now == 0).all(dim=1)
        assert torch.equal(now[~empty], features[batch.predict_regions][~empty])
        assert torch.equal(
            batch.features[:, 1:][~batch.predict_regions[:, 1:]], features[:, 1:][~batch.predict_regions[:, 1:]]
        )
        index = {id_: n for n, id_ in enumerate(batches.table.ids())}
        rows = torch.nonzero(batch.predict_regions).tolist()
        for (row, region), other in zip(rows, batch.region_labels, strict=True):
            detected = source.detected[batches.table[index[batch.example_ids[row]]].pairs[0].image]
            assert detected.class_probs is not None
            np.testing.assert_array_equal(other.numpy(), detected.class_probs[region - 1].astype(np.float32))
        selected, zero = selected + len(rows), zero + int(empty.sum())
        regions += int(batch.region_mask[:, 1:].sum())
    assert selected / regions == pytest.approx(0.15, abs=0.015)
    assert zero / selected == pytest.approx(0.9, abs=0.03)


def test_regions_that_overlap_a_region_to_predict_are_masked_too(make: Make) -> None:
    batches = make(mismatch_prob=0.0, mask_overlapping=True)
    num_overlapping = 0
    for batch in many(batches, 20):
        masked_rows = (batch.features[:, 1:] == 0).all(dim=2) & batch.region_mask[:, 1:]
        for row in range(len(batch.example_ids)):
            corners = batch.boxes_px[row, 1:].numpy()
            overlaps = boxes.iou(corners, corners, "vilbert_mt") > 0.4
            np.fill_diagonal(overlaps, False)
            near = (overlaps & batch.predict_regions[row, 1:].numpy()).any(axis=1) & batch.region_mask[row, 1:].numpy()
            assert masked_rows[row].numpy()[near].all()
            assert not (masked_rows[row].numpy() & ~near & ~batch.predict_regions[row, 1:].numpy()).any()
            num_overlapping += int((near & ~batch.predict_regions[row, 1:].numpy()).sum())
    assert num_overlapping > 50
    other = [
        (a.predict_regions, b.predict_regions)
        for a, b in zip(many(batches, 5), many(make(mismatch_prob=0.0, mask_overlapping=False), 5), strict=True)
    ]
    assert all(torch.equal(single, other) for single, other in other)  # overlaps are masked, not predicted


def test_only_an_overlap_above_0_4_is_masked() -> None:
    corners = np.array([[[0, 0, 99, 99], [0, 0, 99, 39], [0, 0, 99, 40]]], dtype=np.float32)  # IoU 0.40 and 0.41
    selected = np.array([[True, False, False]])
    near = masked.overlapping(corners, np.ones((1, 3), dtype=bool), selected)
    assert near.tolist() == [[False, False, True]]


def test_img_is_the_mean_of_the_unmasked_regions(make: Make) -> None:
    for batch in many(make(), 5):
        detected = batch.region_mask[:, 1:] & (batch.features[:, 1:] != 0).any(dim=2)
        means = (batch.features[:, 1:] * detected[..., None]).sum(dim=1) / detected.sum(dim=1, keepdim=True).clamp(
            min=1
        )
        torch.testing.assert_close(batch.features[:, 0], means, atol=1e-2, rtol=1e-3)


def test_nothing_is_predicted_on_mismatched_captions_by_default(make: Make) -> None:
    batches, with_mismatched = make(), make(predict_on_mismatched=True)
    index = {id_: n for n, id_ in enumerate(batches.table.ids())}
    mismatched = 0
    for batch, other in zip(many(batches), many(with_mismatched), strict=True):
        assert batch.target is not None
        off = batch.target.bool()
        mismatched += int(off.sum())
        assert not batch.predict_tokens[off].any()
        assert not batch.predict_regions[off].any()
        assert torch.equal(batch.token_ids, other.token_ids)  # masked alike, whether predicted or not
        assert torch.equal(batch.features, other.features)
        assert other.predict_tokens[off].any() or other.predict_regions[off].any()
        assert torch.equal(other.predict_tokens[~off], batch.predict_tokens[~off])
        for row in torch.nonzero(~off).flatten().tolist():
            own = batches.table.token_ids(index[batch.example_ids[row]])[:12]
            there = batch.token_ids[row, 1 : 1 + len(own)]
            kept = ~batch.predict_tokens[row, 1 : 1 + len(own)]
            assert torch.equal(there[kept], torch.from_numpy(own.astype(np.int64))[kept])
    assert mismatched / (60 * COCO.batch_size) == pytest.approx(0.5, abs=0.03)


def test_mismatched_captions_are_drawn_uniformly_from_other_images(make: Make) -> None:
    choices = make().captions.multiple_choice
    assert choices is not None
    uniforms = (np.arange(1170) + 0.5) / 1170  # 117 captions are not of image 3
    found = choices.draw_captions_of_other_images(np.full(1170, 43), uniforms)
    indices, counts = np.unique(found, return_counts=True)
    assert not set(indices % IMAGES) & {3}
    assert (len(indices), set(counts.tolist())) == (117, {10})


def test_a_batch_depends_on_seed_and_step_only_and_parts_concatenate_to_it(make: Make) -> None:
    whole = make().train_batch(3)
    assert torch.equal(whole.token_ids, make().train_batch(3).token_ids)
    assert not torch.equal(whole.token_ids, make().train_batch(4).token_ids)
    assert not torch.equal(whole.token_ids, make(seed=1).train_batch(3).token_ids)
    shards = [make().train_batch(3, shard, 4) for shard in range(4)]
    assert torch.equal(torch.cat([shard.token_labels for shard in shards]), whole.token_labels)
    assert torch.equal(torch.cat([shard.region_labels for shard in shards]), whole.region_labels)
    assert [id_ for shard in shards for id_ in shard.example_ids] == whole.example_ids
    assert {shard.whole_batch_counts for shard in shards} == {(30, len(whole.token_labels), len(whole.region_labels))}


def test_validation_masks_are_the_same_for_every_seed_and_batch_size(make: Make) -> None:
    whole = list(make(seed=0).eval_batches(30))
    cut = [batch for shard in range(3) for batch in make(seed=5).eval_batches(7, shard, 3)]
    assert torch.equal(torch.cat([b.token_labels for b in whole]), torch.cat([b.token_labels for b in cut]))
    assert torch.equal(torch.cat([b.region_labels for b in whole]), torch.cat([b.region_labels for b in cut]))
    assert sum(len(b.example_ids) for b in whole) == CAPTIONS


def test_with_probability_0_nothing_is_masked(make: Make) -> None:
    batch = make(token_mask_prob=0.0, region_mask_prob=0.0).train_batch(0)
    assert (len(batch.token_labels), batch.region_labels.shape, batch.whole_batch_counts) == (
        0,
        (0, CATEGORIES),
        (30, 0, 0),
    )


def test_regions_without_probabilities_and_tasks_without_captions_are_refused(
    table: ExampleTable, source: RegionSource, tmp_path: Path
) -> None:
    head = HeadSpec("retrieval", "retrieval")
    with pytest.raises(TwelvefoldError, match=r"image coco/0: its regions in .* have no class probabilities"):
        MaskedBatches(
            TaskBatches(table, write_regions(tmp_path, categories=0), COCO, head), TOKENS, PretrainingConfig()
        )
    snli = TaskSpec("snli_ve", "SNLI-VE", "verification", "snli_ve", "accuracy", 9, 5, 2e-5)
    other = TaskBatches(table, source, snli, HeadSpec("snli_ve", "verification", ("yes", "no")))
    with pytest.raises(TwelvefoldError, match="can't pretrain on 'snli_ve'"):
        MaskedBatches(other, TOKENS, PretrainingConfig())
