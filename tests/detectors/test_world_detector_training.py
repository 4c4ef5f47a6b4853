"""Training the detector: its batches, that the loss decreases, and that an interruption changes nothing."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from twelvefold.detectors.world_detector import train_on_world as module
from twelvefold.detectors.world_detector.fit import (
    DetectorBatch,
    DetectorSchedule,
    DetectorTrainState,
    compute_losses,
    fit,
    jitter_boxes,
)
from twelvefold.detectors.world_detector.train_on_world import LABELS, TRAINING_SEED, evaluate_detector, train_detector
from twelvefold.schema import TwelvefoldError
from twelvefold.world.scene import make_scene


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WINDOW", 8)


def stream_batches(position: tuple[int, int] = (0, 0), seed: int = 0) -> Iterator[DetectorBatch]:
    return module._stream_batches(seed, 2, position, None)


def test_a_batch_has_the_objects_of_its_images() -> None:
    batch = next(stream_batches())
    assert batch.images.shape[:2] == (2, 3)
    shapes = {(s.height, s.width): s for s in (make_scene(TRAINING_SEED, i, crowded=i % 5 == 0) for i in range(8))}
    assert tuple(batch.images.shape[2:]) in shapes
    for target in batch.targets:
        assert target["boxes"].shape == (len(target["category"]), 4)
        assert (target["boxes"][:, 2:] > target["boxes"][:, :2]).all()
        assert target["category"].max() < len(LABELS.categories)
        assert target["pattern"].max() < len(LABELS.patterns)


def test_batches_continue_from_any_position() -> None:
    stream = stream_batches()
    first = [next(stream) for _ in range(6)]
    for number in (0, 2, 4):
        following = next(stream_batches(first[number].position))
        assert following.position == first[number + 1].position
        torch.testing.assert_close(following.images, first[number + 1].images, rtol=0, atol=0)


def test_images_drawn_ahead_are_the_same() -> None:
    with ThreadPoolExecutor(2) as pool:
        ahead = [module._stream_batches(0, 2, (0, 0), pool), stream_batches()]
        for _ in range(4):
            first, second = (next(stream) for stream in ahead)
            assert first.position == second.position
            torch.testing.assert_close(first.images, second.images, rtol=0, atol=0)


def test_another_seed_gives_other_images() -> None:
    assert not torch.equal(
        next(stream_batches()).images[0, :, :32, :32], next(stream_batches(seed=1)).images[0, :, :32, :32]
    )


@pytest.mark.parametrize("images", [0, -3])
def test_an_evaluation_needs_an_image(images: int) -> None:
    with pytest.raises(TwelvefoldError, match="at least 1"):
        evaluate_detector(images=images)


@pytest.mark.parametrize("lr", [0.0, -1.0, float("nan"), float("inf")])
def test_a_learning_rate_is_finite_and_positive(lr: float, tmp_path: Path) -> None:
    with pytest.raises(TwelvefoldError, match="lr must be"):
        train_detector(tmp_path / "detector", images=8, lr=lr)


def test_jittered_boxes_stay_near_and_inside() -> None:
    torch.manual_seed(0)
    boxes = torch.tensor([[0.0, 0.0, 40.0, 40.0], [200.0, 100.0, 288.0, 224.0]])
    copies = jitter_boxes(boxes, (224, 288))
    assert len(copies) == 3
    for copy in copies:
        assert (copy >= 0).all()
        assert (copy <= torch.tensor([288.0, 224.0, 288.0, 224.0])).all()
        assert (copy - boxes).abs().max() < 40
        assert not torch.equal(copy, boxes)


def test_every_loss_is_finite_without_objects() -> None:
    state = DetectorTrainState(LABELS, DetectorSchedule(num_images=8, batch_size=2), seed=0)
    batch = next(stream_batches())
    for target in batch.targets:
        for name in target:
            target[name] = target[name][:0]
    parts = compute_losses(state.network.train(), state.auxiliary_head, batch)
    assert all(torch.isfinite(loss) for loss in parts.values())
    assert {
        parts[name].item() for name in ("category", "color", "size", "pattern", "auxiliary", "coarse_category")
    } == {0.0}
    assert parts["background"].item() > 0


def test_a_few_steps_on_a_batch_decrease_its_loss() -> None:
    state = DetectorTrainState(LABELS, DetectorSchedule(num_images=1000, batch_size=2, warmup_steps=1, lr=1e-3), seed=0)
    batch = next(stream_batches())
    totals = [state.train_step(batch)["total"] for _ in range(8)]
    assert totals[-1] < 0.8 * totals[0]


def test_the_learning_rate_depends_on_the_number_of_images() -> None:
    schedule = DetectorSchedule(num_images=8000, batch_size=8, lr=1.0, warmup_steps=100)
    assert schedule.steps == 1000
    rates = [schedule.lr_at(step) for step in range(1000)]
    assert rates[0] == pytest.approx(0.01)
    assert rates[99:501] == [1.0] * 402
    assert (np.diff(rates[500:]) < 0).all()
    assert rates[999] == pytest.approx(0.01, rel=0.01)


@pytest.mark.slow
def test_interrupted_training_ends_with_the_same_weights(tmp_path: Path) -> None:
    schedule = DetectorSchedule(num_images=10, batch_size=2, checkpoint_seconds=0.0)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    fit(DetectorTrainState(LABELS, schedule, seed=3), stream_batches, whole)

    def interrupted(position: tuple[int, int]) -> Iterator[DetectorBatch]:
        for number, batch in enumerate(stream_batches(position)):
            if number == 3:
                raise KeyboardInterrupt
            yield batch

    with pytest.raises(KeyboardInterrupt):
        fit(DetectorTrainState(LABELS, schedule, seed=3), interrupted, parts)
    fit(DetectorTrainState(LABELS, schedule, seed=3), stream_batches, parts)
    assert (whole / "detector.safetensors").read_bytes() == (parts / "detector.safetensors").read_bytes()
    with pytest.raises(TwelvefoldError, match="was made with"):
        fit(DetectorTrainState(LABELS, schedule, seed=4), stream_batches, parts)


def test_the_length_may_change_until_the_learning_rate_decreases(tmp_path: Path) -> None:
    short, long = DetectorSchedule(num_images=4, batch_size=2), DetectorSchedule(num_images=8, batch_size=2)
    early = DetectorTrainState(LABELS, short, seed=0)
    early.train_step(next(stream_batches()))
    early.save(tmp_path)
    assert DetectorTrainState(LABELS, long, seed=0).restore(tmp_path)
    early.train_step(next(stream_batches()))
    early.save(tmp_path)
    with pytest.raises(TwelvefoldError, match="Keep the length"):
        DetectorTrainState(LABELS, long, seed=0).restore(tmp_path)


def test_the_command_writes_weights_and_returns_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate = module.evaluate_detector
    monkeypatch.setattr(module, "evaluate_detector", lambda weights: evaluate(weights, images=2))
    metrics = train_detector(tmp_path, images=4, batch_size=2)
    assert metrics.images == 2
    assert 0 <= metrics.recall <= 1
    assert (tmp_path / "detector.safetensors").exists()
    with pytest.raises(TwelvefoldError, match="batches of at least 2"):
        train_detector(tmp_path, images=4, batch_size=1)
