"""The order of a task: the same whoever asks, however many share it, and wherever one starts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from twelvefold.batch import Batch
from twelvefold.data.region_inputs import RegionSource
from twelvefold.data.task_loader import TaskBatches
from twelvefold.schema import (
    ClassName,
    Example,
    HeadSpec,
    ImageKey,
    Pair,
    PositivePair,
    Regions,
    TaskSpec,
    TwelvefoldError,
)
from twelvefold.store.example_table import ExampleTable, write_table
from twelvefold.store.region_store import ShardWriter, finish_store

PICTURES, N = 7, 23
SNLI = TaskSpec("snli_ve", "SNLI-VE", "verification", "snli_ve", "accuracy", 9, 5, 2e-5, classes=("no", "yes"))
COCO = TaskSpec("coco", "COCO", "retrieval", "alignment", "recall_at_1", 9, 5, 2e-5)
NEAR = np.array([[(i + 1) % PICTURES, (i + 2) % PICTURES] for i in range(PICTURES)], dtype=np.int32)


def key(number: int) -> ImageKey:
    return ImageKey("coco", str(number))


def codes(texts: object) -> list[list[int]]:
    assert isinstance(texts, list)
    return [[1000 + int(word) for word in text.split()] for text in texts]


def write(path: Path, examples: list[Example]) -> ExampleTable:
    write_table(path, examples, codes, digest="d")
    return ExampleTable.open(path)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> RegionSource:
    folder = tmp_path_factory.mktemp("regions")
    with ShardWriter(folder / "a", feature_size=2) as shard:
        for i in range(PICTURES):  # a picture is known by its width, its first number, in every batch
            shard.add(key(i), Regions(np.ones((1, 4), dtype=np.float32), np.full((1, 2), float(i)), 100 + i, 50))
    return RegionSource(finish_store(folder, ["a"], info={}))


Make = Callable[..., TaskBatches]


@pytest.fixture
def snli(tmp_path: Path, source: RegionSource) -> Make:
    examples = [Example(str(n), (Pair(key(n % PICTURES), str(n)),), ClassName("yes")) for n in range(N)]
    table = write(tmp_path / "snli_ve-train.arrow", examples)
    head = HeadSpec("snli_ve", "verification", SNLI.classes)

    def make(batch_size: int = 5, seed: int = 0, limit: int = 0) -> TaskBatches:
        return TaskBatches(table, source, replace(SNLI, batch_size=batch_size), head, seed=seed, limit=limit)

    return make


@pytest.fixture
def coco(tmp_path: Path, source: RegionSource) -> Make:
    # The caption "2 n" of picture n % 7; every picture also has the caption "9", which all pictures share.
    examples = [Example(str(n), (Pair(key(n % PICTURES), f"2 {n}"),), PositivePair()) for n in range(N)]
    examples += [Example(f"s{n}", (Pair(key(n), "9"),), PositivePair()) for n in range(PICTURES)]
    table = write(tmp_path / "coco-train.arrow", examples)

    def make(seed: int = 0, batch_size: int = 5, near: bool = True) -> TaskBatches:
        task = replace(COCO, batch_size=batch_size)
        head = HeadSpec("alignment", "retrieval")
        return TaskBatches(table, source, task, head, seed=seed, negatives=NEAR if near else None)

    return make


def same(one: Batch, other: Batch) -> bool:
    tensors = ("token_ids", "token_mask", "features", "boxes_px", "locations", "region_mask", "target")
    return one.example_ids == other.example_ids and all(
        torch.equal(getattr(one, name), getattr(other, name)) for name in tensors
    )


def ids(data: TaskBatches, steps: range) -> list[str]:
    return [id_ for step in steps for id_ in data.train_batch(step).example_ids]


@pytest.mark.parametrize("batch_size", [1, 5, 23, 40])
def test_every_epoch_has_every_example_once_and_in_another_order(snli: Make, batch_size: int) -> None:
    data = snli(batch_size)
    assert data.steps_per_epoch == -(-N // batch_size)
    stream = ids(data, range(-(-3 * N // batch_size)))
    epochs = [stream[e * N : (e + 1) * N] for e in range(3)]
    for epoch in epochs:
        assert sorted(epoch, key=int) == [str(n) for n in range(N)]
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_every_batch_is_full(snli: Make) -> None:
    data = snli()
    assert {len(data.train_batch(step).example_ids) for step in range(12)} == {5}


def test_a_step_is_the_same_reached_or_jumped_to(snli: Make, coco: Make) -> None:
    for make in (snli, coco):
        walked = make()
        steps = [walked.train_batch(step) for step in range(9)]
        assert same(make().train_batch(8), steps[8])
        assert same(walked.train_batch(0), steps[0])


def test_seed_and_task_decide_the_order(snli: Make, coco: Make) -> None:
    assert ids(snli(seed=0), range(4)) == ids(snli(seed=0), range(4))
    assert ids(snli(seed=0), range(4)) != ids(snli(seed=1), range(4))
    other = snli()
    other.task = replace(other.task, name="nlvr2")
    assert ids(other, range(4)) != ids(snli(), range(4))


@pytest.mark.parametrize("ranks", [2, 3, 5])
def test_ranks_share_a_batch_without_gap_or_overlap(snli: Make, coco: Make, ranks: int) -> None:
    for make in (snli, coco):
        data = make()
        for step in (0, 4):  # step 4 reaches into the second epoch
            whole = data.train_batch(step)
            parts = [data.train_batch(step, rank, ranks) for rank in range(ranks)]
            assert all(part.example_ids for part in parts)
            assert [id_ for part in parts for id_ in part.example_ids] == whole.example_ids
            features = torch.cat([part.features[:, 0] for part in parts])
            assert torch.equal(features, whole.features[:, 0])


def test_more_ranks_than_examples_are_refused(snli: Make) -> None:
    with pytest.raises(TwelvefoldError, match="a batch of 5 examples can't be split into 6"):
        snli().train_batch(0, 0, 6)


@pytest.mark.parametrize("ranks", [1, 2, 4])
@pytest.mark.parametrize("size", [1, 4, 0])
def test_evaluation_has_every_example_once_in_order(snli: Make, coco: Make, ranks: int, size: int) -> None:
    for make in (snli, coco):
        data = make()
        found = [i for rank in range(ranks) for b in data.eval_batches(size, rank, ranks) for i in b.example_ids]
        assert found == data.table.ids()


def test_a_limit_spreads_over_the_table(snli: Make) -> None:
    data = snli(limit=3)
    assert [id_ for batch in data.eval_batches() for id_ in batch.example_ids] == ["0", "11", "22"]
    assert set(ids(data, range(5))) == {"0", "11", "22"}
    assert len(snli(limit=99)) == N


def test_a_batch_of_places_is_as_the_table_has_it(coco: Make) -> None:
    batch = coco().batch([4, 0])
    assert (batch.pairs_per_example, batch.example_ids) == (1, ["4", "0"])
    assert batch.token_ids[:, 1:3].tolist() == [[1002, 1004], [1002, 1000]]


def picture(batch: Batch, p: int) -> int:
    return round(float(batch.boxes_px[p, 0, 2])) - 100


def caption(batch: Batch, p: int) -> list[int]:
    return [id_ - 1000 for id_ in batch.token_ids[p][batch.token_mask[p]].tolist()[1:-1]]


def test_a_choice_has_the_true_pair_first_and_three_wrong_ones(coco: Make) -> None:
    data = coco()
    places: Counter[tuple[int, int]] = Counter()
    for step in range(60):
        batch = data.train_batch(step)
        assert batch.pairs_per_example == 4
        assert batch.target is not None
        assert batch.target.tolist() == [0] * 5
        for b, id_ in enumerate(batch.example_ids):
            own = int(id_.removeprefix("s")) % PICTURES
            true, wrong, elsewhere, hard = range(4 * b, 4 * b + 4)
            assert [picture(batch, p) == own for p in (true, wrong, elsewhere, hard)] == [True, True, False, True]
            assert caption(batch, true) == caption(batch, elsewhere) == ([9] if id_[0] == "s" else [2, int(id_)])
            for p in (wrong, hard):
                if caption(batch, p) != [9]:  # the shared caption belongs to every picture
                    assert caption(batch, p)[1] % PICTURES != own
            if caption(batch, hard) != [9]:
                places[own, (caption(batch, hard)[1] - own) % PICTURES] += 1
    assert {step for _, step in places} == {1, 2}  # hard captions are neighbours' and of both neighbours
    assert len(places) == 2 * PICTURES


def test_a_wrong_caption_seldom_reads_like_the_true_one(coco: Make) -> None:
    shared = equal = 0
    data = coco()
    for step in range(120):
        batch = data.train_batch(step)
        for b, id_ in enumerate(batch.example_ids):
            if id_[0] == "s":
                shared += 2
                equal += sum(caption(batch, 4 * b + p) == [9] for p in (1, 3))
    assert shared > 100
    assert equal / shared < 0.15  # one try alone would give 7 of 30 captions: 0.23; two give 0.05


def test_validation_choices_do_not_depend_on_seed_batch_or_ranks(coco: Make) -> None:
    def texts(data: TaskBatches, size: int, ranks: int) -> list[tuple[int, list[int]]]:
        batches = [b for rank in range(ranks) for b in data.eval_batches(size, rank, ranks)]
        return [(picture(b, p), caption(b, p)) for b in batches for p in range(len(b.token_ids))]

    wanted = texts(coco(near=False), 5, 1)
    assert texts(coco(seed=3, near=False), 7, 2) == wanted


def test_choices_need_two_pictures_and_their_own_neighbours(tmp_path: Path, source: RegionSource, coco: Make) -> None:
    lone = write(tmp_path / "lone.arrow", [Example("a", (Pair(key(0), "1"),), PositivePair())])
    head = HeadSpec("alignment", "retrieval")
    with pytest.raises(TwelvefoldError, match="at least two images, got 1"):
        TaskBatches(lone, source, COCO, head)
    with pytest.raises(TwelvefoldError, match="7 images, but its hard negatives have 6"):
        TaskBatches(coco().table, source, COCO, head, negatives=NEAR[:6])


def test_an_empty_table_is_named(tmp_path: Path, source: RegionSource) -> None:
    empty = write(tmp_path / "snli_ve-val.arrow", [])
    with pytest.raises(TwelvefoldError, match=r"'snli_ve' has no examples in .*snli_ve-val"):
        TaskBatches(empty, source, SNLI, HeadSpec("snli_ve", "verification", SNLI.classes))
