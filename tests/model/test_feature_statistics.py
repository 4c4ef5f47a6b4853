"""Images of another kind are recognized by their region features, images of the training kind are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from twelvefold.model import feature_statistics
from twelvefold.model.feature_statistics import FeatureStatistics
from twelvefold.schema import Regions, TwelvefoldError
from twelvefold.store import atomic_files

FEATURE_SIZE, NUM_CLASSES = 16, 4


def make_regions(random: np.random.Generator, count: int, *, shift: float = 0.0, probabilities: bool = True) -> Regions:
    """Return regions whose features are around the mean of their class, moved by ``shift`` standard deviations.

    The detector is about 90 % sure of the class.
    """
    classes = random.integers(NUM_CLASSES, size=count)
    features = 5 * np.eye(FEATURE_SIZE)[classes] + random.normal(size=(count, FEATURE_SIZE)) + shift
    boxes = np.tile(np.array([0, 0, 1, 1], dtype=np.float32), (count, 1))
    sure = random.uniform(0.85, 0.95, size=(count, 1))
    probs = np.where(np.eye(NUM_CLASSES)[classes] == 1, sure, (1 - sure) / (NUM_CLASSES - 1)) if probabilities else None
    return Regions(boxes, features.astype(np.float16), 10, 10, probs)


def fit(random: np.random.Generator, *, probabilities: bool = True) -> FeatureStatistics:
    parts = [[make_regions(random, 6, probabilities=probabilities) for _ in range(300)] for _ in range(2)]
    statistics = FeatureStatistics.fit(*parts)
    if statistics is None:
        pytest.fail("no statistics were fitted")
    return statistics


@pytest.mark.parametrize("probabilities", [True, False], ids=["by category", "one class"])
def test_shifted_features_are_unusual_and_features_of_the_same_kind_are_not(probabilities: bool) -> None:
    random = np.random.default_rng(0)
    statistics = fit(random, probabilities=probabilities)
    same = [statistics.is_unusual(make_regions(random, 6, probabilities=probabilities)) for _ in range(500)]
    shifted = [
        statistics.is_unusual(make_regions(random, 6, shift=2.5, probabilities=probabilities)) for _ in range(99)
    ]
    assert np.mean(same) <= 0.01
    assert np.mean(shifted) >= 0.99


def test_statistics_survive_writing(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    statistics, regions = fit(random), make_regions(random, 3)
    statistics.write(tmp_path)
    again = feature_statistics.read(tmp_path)
    assert again is not None
    assert again.limit == statistics.limit
    assert again.measure(regions).tolist() == statistics.measure(regions).tolist()


def test_doubt_of_the_detector_alone_makes_an_image_unusual() -> None:
    random = np.random.default_rng(4)
    statistics = fit(random)
    regions = make_regions(random, 6)
    doubtful = np.full((6, NUM_CLASSES), 1 / NUM_CLASSES)
    assert statistics.is_unusual(Regions(regions.boxes_px, regions.features, 10, 10, doubtful))


def test_without_probabilities_of_the_training_images_the_distance_alone_counts() -> None:
    random = np.random.default_rng(6)
    statistics = fit(random, probabilities=False)
    regions = make_regions(random, 6)
    doubtful = Regions(regions.boxes_px, regions.features, 10, 10, np.full((6, NUM_CLASSES), 1 / NUM_CLASSES))
    assert not statistics.is_unusual(doubtful)
    assert statistics.is_unusual(make_regions(random, 6, shift=2.5))


def test_regions_without_the_probabilities_of_the_training_images_are_refused() -> None:
    random = np.random.default_rng(5)
    with pytest.raises(TwelvefoldError, match="class probabilities"):
        fit(random).is_unusual(make_regions(random, 6, probabilities=False))


def test_an_image_without_regions_is_not_unusual() -> None:
    random = np.random.default_rng(2)
    statistics, empty = fit(random), make_regions(random, 0)
    assert not statistics.is_unusual(empty)


def test_features_that_never_vary_and_too_few_images_are_no_error() -> None:
    random = np.random.default_rng(3)
    constant = [Regions(np.zeros((2, 4), np.float32), np.ones((2, 3), np.float16), 9, 9) for _ in range(60)]
    statistics = FeatureStatistics.fit(constant, constant)
    assert statistics is not None
    assert not statistics.is_unusual(constant[0])
    few = [make_regions(random, 3) for _ in range(feature_statistics.MIN_IMAGES - 1)]
    assert FeatureStatistics.fit(few, few) is None


def test_a_damaged_file_is_an_error_and_a_missing_one_is_none(tmp_path: Path) -> None:
    assert feature_statistics.read(tmp_path) is None
    atomic_files.write_bytes(tmp_path / feature_statistics.FILE, b"not tensors")
    with pytest.raises(TwelvefoldError, match=feature_statistics.FILE):
        feature_statistics.read(tmp_path)


def test_regions_are_taken_evenly_from_all_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_statistics, "MAX_REGIONS", 5)
    counts = [3, 1, 7, 2]
    parts = feature_statistics._spread_rows(counts)
    starts = np.cumsum([0, *counts[:-1]])
    rows = np.concatenate([part + start for part, start in zip(parts, starts, strict=True)])
    assert rows.tolist() == [0, 3, 6, 9, 12]
    assert [part.tolist() for part in feature_statistics._spread_rows([2, 1])] == [[0, 1], [0]]  # fewer than the limit
