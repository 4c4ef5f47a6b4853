"""What pretraining hides: at the stated rates, never the ends of a text, the same for any number of ranks."""

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
from twelvefold.data.task_loader import TaskBatches
from twelvefold.data.tokenizer import CLS, MASK, PAD, SEP
from twelvefold.schema import Example, HeadSpec, ImageKey, Pair, PositivePair, Regions, TaskSpec, TwelvefoldError
from twelvefold.store.example_table import ExampleTable, write_table
from twelvefold.store.region_store import ShardWriter, finish_store

PICTURES, CAPTIONS, REGIONS, KINDS = 40, 120, 8, 5
COCO = TaskSpec("coco", "COCO", "retrieval", "retrieval", "recall_at_1", 14, 30, 1e-4, max_regions=1 + REGIONS)
WORDS = range(1000, 1030)
PIECES = (100, 0, 101, 102, 103, *WORDS)


def key(number: int) -> ImageKey:
    return ImageKey("coco", str(number))


def words_of(texts: object) -> list[list[int]]:
    assert isinstance(texts, list)
    return [[int(word) for word in text.split()] for text in texts]


def write_regions(folder: Path, *, kinds: int) -> RegionSource:
    """Every second region lies close to the one before it, the others far apart."""
    random = np.random.default_rng(1)
    with ShardWriter(folder / "a", feature_size=3, num_categories=kinds) as shard:
        for i in range(PICTURES):
            lefts = np.repeat(np.arange(REGIONS // 2) * 100.0, 2) + np.tile([0.0, 5.0], REGIONS // 2)
            corners = np.stack([lefts, lefts * 0, lefts + 40, lefts * 0 + 40], axis=1)[: 3 + i % 6]
            features = random.normal(size=(len(corners), 3)) + 5
            told = random.dirichlet(np.ones(kinds), len(corners)) if kinds else None
            probabilities = None if told is None else told.astype(np.float32)
            shard.add(key(i), Regions(corners.astype(np.float32), features.astype(np.float32), 500, 100, probabilities))
    return RegionSource(finish_store(folder, ["a"], info={}, categories=tuple(f"kind {k}" for k in range(kinds))))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> RegionSource:
    return write_regions(tmp_path_factory.mktemp("regions"), kinds=KINDS)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> ExampleTable:
    random = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("tables") / "coco-train.arrow"
    texts = [" ".join(map(str, random.choice(WORDS, 1 + n % 15))) for n in range(CAPTIONS)]  # some beyond the limit
    examples = [Example(str(n), (Pair(key(n % PICTURES), text),), PositivePair()) for n, text in enumerate(texts)]
    write_table(path, examples, words_of, digest="d")
    return ExampleTable.open(path)


Make = Callable[..., MaskedBatches]


@pytest.fixture(scope="module")
def make(table: ExampleTable, source: RegionSource) -> Make:
    def made(seed: int = 0, **config: float) -> MaskedBatches:
        captions = TaskBatches(table, source, COCO, HeadSpec("retrieval", "retrieval"), seed=seed)
        return MaskedBatches(captions, PIECES, PretrainingConfig(**config))  # type: ignore[arg-type]

    return made


def many(batches: MaskedBatches, count: int = 60) -> list[MaskedBatch]:
    return [batches.train_batch(step) for step in range(count)]


def plain(batches: MaskedBatches, batch: MaskedBatch) -> tuple[torch.Tensor, torch.Tensor]:
    """The features and word pieces of the same pictures and captions with nothing hidden; captions not swapped."""
    place = {id_: n for n, id_ in enumerate(batches.table.ids())}
    shown = batches.captions.batch([place[id_] for id_ in batch.example_ids])
    return shown.features, shown.token_ids


def test_words_are_hidden_at_the_stated_rates_and_never_the_ends(make: Make) -> None:
    batches = make(mismatch_prob=0.0)
    chosen = words = masks = same = 0
    for batch in many(batches):
        _, ids = plain(batches, batch)
        real = (ids != CLS) & (ids != SEP) & (ids != PAD)
        assert not (batch.predict_tokens & ~real).any()
        assert torch.equal(batch.token_labels, ids[batch.predict_tokens])  # what stood there, in the order of rows
        assert torch.equal(batch.token_ids[~batch.predict_tokens], ids[~batch.predict_tokens])
        now = batch.token_ids[batch.predict_tokens]
        assert ((now == MASK) | torch.isin(now, torch.tensor(list(WORDS)))).all()
        chosen, words = chosen + int(batch.predict_tokens.sum()), words + int(real.sum())
        masks, same = masks + int((now == MASK).sum()), same + int((now == batch.token_labels).sum())
    assert chosen / words == pytest.approx(0.15, abs=0.015)
    assert masks / chosen == pytest.approx(0.8, abs=0.04)
    assert same / chosen == pytest.approx(0.1 + 0.1 / len(WORDS), abs=0.03)


def test_regions_are_hidden_at_the_stated_rates_and_told_by_the_detector(make: Make, source: RegionSource) -> None:
    batches = make(mismatch_prob=0.0, mask_overlapping=False)
    chosen = regions = blank = 0
    for batch in many(batches):
        features, _ = plain(batches, batch)
        assert not batch.predict_regions[:, 0].any()
        assert not (batch.predict_regions & ~batch.region_mask).any()
        now = batch.features[batch.predict_regions]
        empty = (now == 0).all(dim=1)
        assert torch.equal(now[~empty], features[batch.predict_regions][~empty])
        assert torch.equal(
            batch.features[:, 1:][~batch.predict_regions[:, 1:]], features[:, 1:][~batch.predict_regions[:, 1:]]
        )
        place = {id_: n for n, id_ in enumerate(batches.table.ids())}
        rows = torch.nonzero(batch.predict_regions).tolist()
        for (row, region), told in zip(rows, batch.region_labels, strict=True):
            seen = source.detected[batches.table[place[batch.example_ids[row]]].pairs[0].image]
            assert seen.class_probs is not None
            np.testing.assert_array_equal(told.numpy(), seen.class_probs[region - 1].astype(np.float32))
        chosen, blank = chosen + len(rows), blank + int(empty.sum())
        regions += int(batch.region_mask[:, 1:].sum())
    assert chosen / regions == pytest.approx(0.15, abs=0.015)
    assert blank / chosen == pytest.approx(0.9, abs=0.03)


def test_what_overlaps_a_region_to_be_told_is_hidden_with_it(make: Make) -> None:
    batches = make(mismatch_prob=0.0, mask_overlapping=True)
    hidden_neighbours = 0
    for batch in many(batches, 20):
        hidden = (batch.features[:, 1:] == 0).all(dim=2) & batch.region_mask[:, 1:]
        for row in range(len(batch.example_ids)):
            corners = batch.boxes_px[row, 1:].numpy()
            overlaps = boxes.iou(corners, corners, "vilbert_mt") > 0.4
            np.fill_diagonal(overlaps, False)
            near = (overlaps & batch.predict_regions[row, 1:].numpy()).any(axis=1) & batch.region_mask[row, 1:].numpy()
            assert hidden[row].numpy()[near].all()
            assert not (hidden[row].numpy() & ~near & ~batch.predict_regions[row, 1:].numpy()).any()
            hidden_neighbours += int((near & ~batch.predict_regions[row, 1:].numpy()).sum())
    assert hidden_neighbours > 50
    told = [
        (a.predict_regions, b.predict_regions)
        for a, b in zip(many(batches, 5), many(make(mismatch_prob=0.0, mask_overlapping=False), 5), strict=True)
    ]
    assert all(torch.equal(one, other) for one, other in told)  # the change hides more; it asks for nothing else


def test_the_overlap_that_hides_is_above_four_tenths() -> None:
    corners = np.array([[[0, 0, 99, 99], [0, 0, 99, 39], [0, 0, 99, 40]]], dtype=np.float32)  # IoU 0.40 and 0.41
    chosen = np.array([[True, False, False]])
    near = masked.overlapping(corners, np.ones((1, 3), dtype=bool), chosen)
    assert near.tolist() == [[False, False, True]]


def test_the_whole_picture_is_the_mean_of_what_is_seen(make: Make) -> None:
    for batch in many(make(), 5):
        seen = batch.region_mask[:, 1:] & (batch.features[:, 1:] != 0).any(dim=2)
        means = (batch.features[:, 1:] * seen[..., None]).sum(dim=1) / seen.sum(dim=1, keepdim=True).clamp(min=1)
        torch.testing.assert_close(batch.features[:, 0], means, atol=1e-2, rtol=1e-3)


def test_a_swapped_caption_is_another_pictures_and_nothing_is_told_of_it_unless_asked(make: Make) -> None:
    batches, told = make(), make(predict_on_mismatched=True)
    place = {id_: n for n, id_ in enumerate(batches.table.ids())}
    swapped = 0
    for batch, other in zip(many(batches), many(told), strict=True):
        assert batch.target is not None
        off = batch.target.bool()
        swapped += int(off.sum())
        assert not batch.predict_tokens[off].any()
        assert not batch.predict_regions[off].any()
        assert torch.equal(batch.token_ids, other.token_ids)  # hidden alike, whether told or not
        assert torch.equal(batch.features, other.features)
        assert other.predict_tokens[off].any() or other.predict_regions[off].any()
        assert torch.equal(other.predict_tokens[~off], batch.predict_tokens[~off])
        for row in torch.nonzero(~off).flatten().tolist():
            own = batches.table.token_ids(place[batch.example_ids[row]])[:12]
            there = batch.token_ids[row, 1 : 1 + len(own)]
            kept = ~batch.predict_tokens[row, 1 : 1 + len(own)]
            assert torch.equal(there[kept], torch.from_numpy(own.astype(np.int64))[kept])
    assert swapped / (60 * COCO.batch_size) == pytest.approx(0.5, abs=0.03)


def test_swapped_captions_are_drawn_evenly_from_all_other_pictures(make: Make) -> None:
    choices = make().captions.choices
    assert choices is not None
    draws = (np.arange(1170) + 0.5) / 1170  # 117 captions are not of picture 3
    found = choices.captions_of_other_images(np.full(1170, 43), draws)
    places, counts = np.unique(found, return_counts=True)
    assert not set(places % PICTURES) & {3}
    assert (len(places), set(counts.tolist())) == (117, {10})


def test_a_batch_depends_on_seed_and_step_alone_and_its_parts_are_the_whole(make: Make) -> None:
    whole = make().train_batch(3)
    assert torch.equal(whole.token_ids, make().train_batch(3).token_ids)
    assert not torch.equal(whole.token_ids, make().train_batch(4).token_ids)
    assert not torch.equal(whole.token_ids, make(seed=1).train_batch(3).token_ids)
    parts = [make().train_batch(3, rank, 4) for rank in range(4)]
    assert torch.equal(torch.cat([part.token_labels for part in parts]), whole.token_labels)
    assert torch.equal(torch.cat([part.region_labels for part in parts]), whole.region_labels)
    assert [id_ for part in parts for id_ in part.example_ids] == whole.example_ids
    assert {part.whole_batch_counts for part in parts} == {(30, len(whole.token_labels), len(whole.region_labels))}


def test_validation_hides_the_same_in_every_run_and_however_it_is_cut(make: Make) -> None:
    whole = list(make(seed=0).eval_batches(30))
    cut = [batch for rank in range(3) for batch in make(seed=5).eval_batches(7, rank, 3)]
    assert torch.equal(torch.cat([b.token_labels for b in whole]), torch.cat([b.token_labels for b in cut]))
    assert torch.equal(torch.cat([b.region_labels for b in whole]), torch.cat([b.region_labels for b in cut]))
    assert sum(len(b.example_ids) for b in whole) == CAPTIONS


def test_nothing_hidden_and_nothing_to_hide(make: Make) -> None:
    batch = make(token_mask_prob=0.0, region_mask_prob=0.0).train_batch(0)
    assert (len(batch.token_labels), batch.region_labels.shape, batch.whole_batch_counts) == (0, (0, KINDS), (30, 0, 0))


def test_regions_without_probabilities_and_tasks_without_captions_are_refused(
    table: ExampleTable, source: RegionSource, tmp_path: Path
) -> None:
    head = HeadSpec("retrieval", "retrieval")
    with pytest.raises(TwelvefoldError, match=r"image coco/0: its regions in .* have no class probabilities"):
        MaskedBatches(TaskBatches(table, write_regions(tmp_path, kinds=0), COCO, head), PIECES, PretrainingConfig())
    snli = TaskSpec("snli_ve", "SNLI-VE", "verification", "snli_ve", "accuracy", 9, 5, 2e-5)
    other = TaskBatches(table, source, snli, HeadSpec("snli_ve", "verification", ("yes", "no")))
    with pytest.raises(TwelvefoldError, match="can't pretrain on 'snli_ve'"):
        MaskedBatches(other, PIECES, PretrainingConfig())
