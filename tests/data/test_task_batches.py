"""Batches of a task: a function of seed, task and step, the same however it is split into shards."""

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
from twelvefold.data.task_batches import TaskBatches
from twelvefold.data.write_table import write_table
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
from twelvefold.store.example_table import ExampleTable
from twelvefold.store.region_store import ShardWriter, finish_store

IMAGES, N = 7, 23
SNLI = TaskSpec("snli_ve", "SNLI-VE", "verification", "snli_ve", "accuracy", 9, 5, 2e-5, classes=("no", "yes"))
COCO = TaskSpec("coco", "COCO", "retrieval", "alignment", "recall_at_1", 9, 5, 2e-5)
NEGATIVES = np.array([[(i + 1) % IMAGES, (i + 2) % IMAGES] for i in range(IMAGES)], dtype=np.int32)


def key(number: int) -> ImageKey:
    return ImageKey("coco", str(number))


def encode(texts: object) -> list[list[int]]:
    assert isinstance(texts, list)
    return [[1000 + int(word) for word in text.split()] for text in texts]


def make_table(path: Path, examples: list[Example]) -> ExampleTable:
    write_table(path, examples, encode, digest="d")
    return ExampleTable.open(path)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> RegionSource:
    folder = tmp_path_factory.mktemp("regions")
    with ShardWriter(folder / "a", feature_size=2) as shard:
        for i in range(IMAGES):  # an image is recognized in a batch by its width
            shard.add(key(i), Regions(np.ones((1, 4), dtype=np.float32), np.full((1, 2), float(i)), 100 + i, 50))
    return RegionSource(finish_store(folder, ["a"], info={}))


Make = Callable[..., TaskBatches]


@pytest.fixture
def snli(tmp_path: Path, source: RegionSource) -> Make:
    examples = [Example(str(n), (Pair(key(n % IMAGES), str(n)),), ClassName("yes")) for n in range(N)]
    table = make_table(tmp_path / "snli_ve-train.arrow", examples)
    head = HeadSpec("snli_ve", "verification", SNLI.classes)

    def make(batch_size: int = 5, seed: int = 0, limit: int = 0) -> TaskBatches:
        return TaskBatches(table, source, replace(SNLI, batch_size=batch_size), head, seed=seed, limit=limit)

    return make


@pytest.fixture
def coco(tmp_path: Path, source: RegionSource) -> Make:
    # The caption "2 n" of image n % 7; every image also has the caption "9", which all images share.
    examples = [Example(str(n), (Pair(key(n % IMAGES), f"2 {n}"),), PositivePair()) for n in range(N)]
    examples += [Example(f"s{n}", (Pair(key(n), "9"),), PositivePair()) for n in range(IMAGES)]
    table = make_table(tmp_path / "coco-train.arrow", examples)

    def make(seed: int = 0, batch_size: int = 5, hard: bool = True) -> TaskBatches:
        task = replace(COCO, batch_size=batch_size)
        head = HeadSpec("alignment", "retrieval")
        return TaskBatches(table, source, task, head, seed=seed, negatives=NEGATIVES if hard else None)

    return make


def equal(a: Batch, b: Batch) -> bool:
    tensors = ("token_ids", "token_mask", "features", "boxes_px", "locations", "region_mask", "target")
    return a.example_ids == b.example_ids and all(torch.equal(getattr(a, name), getattr(b, name)) for name in tensors)


def ids(data: TaskBatches, steps: range) -> list[str]:
    return [id_ for step in steps for id_ in data.train_batch(step).example_ids]


@pytest.mark.parametrize("batch_size", [1, 5, 23, 40])
def test_every_epoch_has_every_example_once_in_its_own_order(snli: Make, batch_size: int) -> None:
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


def test_a_step_does_not_depend_on_the_steps_before(snli: Make, coco: Make) -> None:
    for make in (snli, coco):
        walked = make()
        steps = [walked.train_batch(step) for step in range(9)]
        assert equal(make().train_batch(8), steps[8])
        assert equal(walked.train_batch(0), steps[0])


@pytest.mark.parametrize(("batch_size", "limit"), [(5, 0), (5, 9), (23, 0), (60, 0), (7, 3)])
def test_a_step_is_a_window_on_the_permutations_of_the_epochs(snli: Make, batch_size: int, limit: int) -> None:
    data = snli(batch_size, limit=limit)
    epochs = [data.indices[data.generator("order", epoch).permutation(len(data))] for epoch in range(60)]
    order, steps = np.concatenate(epochs), 60 * len(data) // batch_size
    indices = [data.indices_for_step(step) for step in range(steps)]
    np.testing.assert_array_equal(np.concatenate(indices), order[: steps * batch_size])


def test_the_order_depends_on_seed_and_task(snli: Make, coco: Make) -> None:
    assert ids(snli(seed=0), range(4)) == ids(snli(seed=0), range(4))
    assert ids(snli(seed=0), range(4)) != ids(snli(seed=1), range(4))
    other = snli()
    other.task = replace(other.task, name="nlvr2")
    assert ids(other, range(4)) != ids(snli(), range(4))


@pytest.mark.parametrize("num_shards", [2, 3, 5])
def test_all_shards_concatenate_to_the_batch(snli: Make, coco: Make, num_shards: int) -> None:
    for make in (snli, coco):
        data = make()
        for step in (0, 4):  # step 4 reaches into the second epoch
            whole = data.train_batch(step)
            shards = [data.train_batch(step, shard, num_shards) for shard in range(num_shards)]
            assert all(shard.example_ids for shard in shards)
            assert [id_ for shard in shards for id_ in shard.example_ids] == whole.example_ids
            features = torch.cat([shard.features[:, 0] for shard in shards])
            assert torch.equal(features, whole.features[:, 0])


def test_more_shards_than_examples_are_refused(snli: Make) -> None:
    with pytest.raises(TwelvefoldError, match="a batch of 5 examples can't be split into 6"):
        snli().train_batch(0, 0, 6)


@pytest.mark.parametrize("num_shards", [1, 2, 4])
@pytest.mark.parametrize("size", [1, 4, 0])
def test_evaluation_has_every_example_once_in_order(snli: Make, coco: Make, num_shards: int, size: int) -> None:
    for make in (snli, coco):
        data = make()
        found = [i for k in range(num_shards) for b in data.eval_batches(size, k, num_shards) for i in b.example_ids]
        assert found == data.table.ids()


def test_a_limit_gives_evenly_spaced_examples(snli: Make) -> None:
    data = snli(limit=3)
    assert [id_ for batch in data.eval_batches() for id_ in batch.example_ids] == ["0", "11", "22"]
    assert set(ids(data, range(5))) == {"0", "11", "22"}
    assert len(snli(limit=99)) == N


def test_a_batch_by_index_has_the_examples_of_the_table(coco: Make) -> None:
    batch = coco().batch([4, 0])
    assert (batch.pairs_per_example, batch.example_ids) == (1, ["4", "0"])
    assert batch.token_ids[:, 1:3].tolist() == [[1002, 1004], [1002, 1000]]


def image_of(batch: Batch, p: int) -> int:
    return round(float(batch.boxes_px[p, 0, 2])) - 100


def caption_of(batch: Batch, p: int) -> list[int]:
    return [id_ - 1000 for id_ in batch.token_ids[p][batch.token_mask[p]].tolist()[1:-1]]


def test_a_multiple_choice_has_the_true_pair_first_and_three_wrong_ones(coco: Make) -> None:
    data = coco()
    hard_captions: Counter[tuple[int, int]] = Counter()
    for step in range(60):
        batch = data.train_batch(step)
        assert batch.pairs_per_example == 4
        assert batch.target is not None
        assert batch.target.tolist() == [0] * 5
        for b, id_ in enumerate(batch.example_ids):
            image = int(id_.removeprefix("s")) % IMAGES
            true, wrong, other_image, hard = range(4 * b, 4 * b + 4)
            assert [image_of(batch, p) == image for p in (true, wrong, other_image, hard)] == [True, True, False, True]
            assert (
                caption_of(batch, true) == caption_of(batch, other_image) == ([9] if id_[0] == "s" else [2, int(id_)])
            )
            for p in (wrong, hard):
                if caption_of(batch, p) != [9]:  # the shared caption belongs to every image
                    assert caption_of(batch, p)[1] % IMAGES != image
            if caption_of(batch, hard) != [9]:
                hard_captions[image, (caption_of(batch, hard)[1] - image) % IMAGES] += 1
    assert {step for _, step in hard_captions} == {1, 2}  # hard captions are those of both neighbors
    assert len(hard_captions) == 2 * IMAGES


def test_a_wrong_caption_rarely_has_the_text_of_the_true_one(coco: Make) -> None:
    shared = equal = 0
    data = coco()
    for step in range(120):
        batch = data.train_batch(step)
        for b, id_ in enumerate(batch.example_ids):
            if id_[0] == "s":
                shared += 2
                equal += sum(caption_of(batch, 4 * b + p) == [9] for p in (1, 3))
    assert shared > 100
    assert equal / shared < 0.15  # one try alone would give 7 of 30 captions: 0.23; two give 0.05


def test_validation_choices_do_not_depend_on_seed_batch_size_or_shards(coco: Make) -> None:
    def texts(data: TaskBatches, size: int, num_shards: int) -> list[tuple[int, list[int]]]:
        batches = [b for k in range(num_shards) for b in data.eval_batches(size, k, num_shards)]
        return [(image_of(b, p), caption_of(b, p)) for b in batches for p in range(len(b.token_ids))]

    expected = texts(coco(hard=False), 5, 1)
    builder, uniforms = coco(hard=False).multiple_choice, np.random.Generator(np.random.PCG64((12, 1)))
    assert builder is not None
    built = [builder.build(n, row)[0] for n, row in enumerate(uniforms.random((N + IMAGES, builder.NUM_UNIFORMS)))]
    assert expected == [
        (int(pair.image.id), [int(word) for word in pair.text.split()]) for choice in built for pair in choice.pairs
    ]
    assert texts(coco(seed=3, hard=False), 7, 2) == expected


def test_multiple_choice_needs_two_images_and_negatives_for_the_same_images(
    tmp_path: Path, source: RegionSource, coco: Make
) -> None:
    single = make_table(tmp_path / "single.arrow", [Example("a", (Pair(key(0), "1"),), PositivePair())])
    head = HeadSpec("alignment", "retrieval")
    with pytest.raises(TwelvefoldError, match="at least two images, got 1"):
        TaskBatches(single, source, COCO, head)
    with pytest.raises(TwelvefoldError, match="7 images, but its hard negatives have 6"):
        TaskBatches(coco().table, source, COCO, head, negatives=NEGATIVES[:6])


def test_an_empty_table_is_refused(tmp_path: Path, source: RegionSource) -> None:
    empty = make_table(tmp_path / "snli_ve-val.arrow", [])
    with pytest.raises(TwelvefoldError, match=r"'snli_ve' has no examples in .*snli_ve-val"):
        TaskBatches(empty, source, SNLI, HeadSpec("snli_ve", "verification", SNLI.classes))
