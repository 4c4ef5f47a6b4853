"""Training the detector: what it learns from, that it learns, and that an interruption changes nothing."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from twelvefold.detectors.world_detector import fit_world as module
from twelvefold.detectors.world_detector.fit_world import TRAINING_SEED, WORDS, train_detector
from twelvefold.detectors.world_detector.train import Lesson, Schedule, Student, fit, jittered, losses
from twelvefold.schema import TwelvefoldError
from twelvefold.world.scene import make_scene


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WINDOW", 8)


def lessons(place: tuple[int, int] = (0, 0), seed: int = 0) -> Iterator[Lesson]:
    return module._lessons(seed, 2, place, None)


def test_a_lesson_tells_what_is_in_its_pictures() -> None:
    lesson = next(lessons())
    assert lesson.pictures.shape[:2] == (2, 3)
    shapes = {(s.height, s.width): s for s in (make_scene(TRAINING_SEED, i, crowded=i % 5 == 0) for i in range(8))}
    assert tuple(lesson.pictures.shape[2:]) in shapes
    for target in lesson.targets:
        assert target["boxes"].shape == (len(target["kind"]), 4)
        assert (target["boxes"][:, 2:] > target["boxes"][:, :2]).all()
        assert target["kind"].max() < len(WORDS.kinds)
        assert target["pattern"].max() < len(WORDS.patterns)


def test_lessons_go_on_from_any_place() -> None:
    stream = lessons()
    first = [next(stream) for _ in range(6)]
    for number in (0, 2, 4):
        following = next(lessons(first[number].place))
        assert following.place == first[number + 1].place
        torch.testing.assert_close(following.pictures, first[number + 1].pictures, rtol=0, atol=0)


def test_pictures_drawn_ahead_are_the_same_pictures() -> None:
    with ThreadPoolExecutor(2) as pool:
        ahead = [module._lessons(0, 2, (0, 0), pool), lessons()]
        for _ in range(4):
            one, other = (next(stream) for stream in ahead)
            assert one.place == other.place
            torch.testing.assert_close(one.pictures, other.pictures, rtol=0, atol=0)


def test_other_seeds_teach_other_pictures() -> None:
    assert not torch.equal(next(lessons()).pictures[0, :, :32, :32], next(lessons(seed=1)).pictures[0, :, :32, :32])


def test_jittered_boxes_stay_near_and_inside() -> None:
    torch.manual_seed(0)
    boxes = torch.tensor([[0.0, 0.0, 40.0, 40.0], [200.0, 100.0, 288.0, 224.0]])
    copies = jittered(boxes, (224, 288))
    assert len(copies) == 3
    for copy in copies:
        assert (copy >= 0).all()
        assert (copy <= torch.tensor([288.0, 224.0, 288.0, 224.0])).all()
        assert (copy - boxes).abs().max() < 40
        assert not torch.equal(copy, boxes)


def test_every_loss_is_finite_also_without_a_thing() -> None:
    student = Student(WORDS, Schedule(pictures=8, batch=2), seed=0)
    lesson = next(lessons())
    for target in lesson.targets:
        for name in target:
            target[name] = target[name][:0]
    parts = losses(student.network.train(), student.helper, lesson)
    assert all(torch.isfinite(loss) for loss in parts.values())
    assert {parts[name].item() for name in ("kind", "colour", "size", "pattern", "helper", "coarse_kind")} == {0.0}
    assert parts["background"].item() > 0


def test_a_few_steps_on_one_lesson_lower_its_loss() -> None:
    student = Student(WORDS, Schedule(pictures=1000, batch=2, warm_up_steps=1, lr=1e-3), seed=0)
    lesson = next(lessons())
    totals = [student.learn(lesson)["total"] for _ in range(8)]
    assert totals[-1] < 0.8 * totals[0]


def test_the_schedule_follows_pictures() -> None:
    schedule = Schedule(pictures=8000, batch=8, lr=1.0, warm_up_steps=100)
    assert schedule.steps == 1000
    rates = [schedule.lr_at(step) for step in range(1000)]
    assert rates[0] == pytest.approx(0.01)
    assert rates[99:501] == [1.0] * 402
    assert (np.diff(rates[500:]) < 0).all()
    assert rates[999] == pytest.approx(0.01, rel=0.01)


def test_interrupted_training_ends_with_the_same_weights(tmp_path: Path) -> None:
    schedule = Schedule(pictures=10, batch=2, checkpoint_seconds=0.0)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    fit(Student(WORDS, schedule, seed=3), lessons, whole)

    def cut(place: tuple[int, int]) -> Iterator[Lesson]:
        for number, lesson in enumerate(lessons(place)):
            if number == 3:
                raise KeyboardInterrupt
            yield lesson

    with pytest.raises(KeyboardInterrupt):
        fit(Student(WORDS, schedule, seed=3), cut, parts)
    fit(Student(WORDS, schedule, seed=3), lessons, parts)
    assert (whole / "detector.safetensors").read_bytes() == (parts / "detector.safetensors").read_bytes()
    with pytest.raises(TwelvefoldError, match="was made with"):
        fit(Student(WORDS, schedule, seed=4), lessons, parts)


def test_the_length_may_change_until_the_learning_rate_falls(tmp_path: Path) -> None:
    short, long = Schedule(pictures=4, batch=2), Schedule(pictures=8, batch=2)
    early = Student(WORDS, short, seed=0)
    early.learn(next(lessons()))
    early.save(tmp_path)
    assert Student(WORDS, long, seed=0).restore(tmp_path)
    early.learn(next(lessons()))
    early.save(tmp_path)
    with pytest.raises(TwelvefoldError, match="keep the length"):
        Student(WORDS, long, seed=0).restore(tmp_path)


def test_the_command_leaves_weights_and_measures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate = module.evaluate_detector
    monkeypatch.setattr(module, "evaluate_detector", lambda weights: evaluate(weights, pictures=2))
    scores = train_detector(tmp_path, pictures=4, batch=2)
    assert scores.pictures == 2
    assert 0 <= scores.recall <= 1
    assert (tmp_path / "detector.safetensors").exists()
    with pytest.raises(TwelvefoldError, match="batches of 2"):
        train_detector(tmp_path, pictures=4, batch=1)
