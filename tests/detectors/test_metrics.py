"""Metrics compared with cases computed by hand."""

import numpy as np
import pytest

from twelvefold.detectors.world_detector.detector import RegionsWithAttributes
from twelvefold.detectors.world_detector.metrics import GroundTruth, average_precision, compute_metrics
from twelvefold.detectors.world_detector.network import ATTRIBUTES
from twelvefold.schema import Regions

LEFT, RIGHT, FAR = (0, 0, 10, 10), (20, 0, 30, 10), (50, 50, 60, 60)


def truth(*objects: tuple[tuple[int, ...], int]) -> GroundTruth:
    boxes = np.array([box for box, _ in objects], np.float32).reshape(-1, 4)
    categories = np.array([category for _, category in objects], np.int64)
    return GroundTruth(boxes, {**dict.fromkeys(ATTRIBUTES, categories * 0), "category": categories})


def detected(*regions: tuple[tuple[int, ...], float, tuple[float, ...]]) -> RegionsWithAttributes:
    boxes = np.array([box for box, _, _ in regions], np.float32).reshape(-1, 4)
    probabilities = np.array([p for _, _, p in regions], np.float32).reshape(len(boxes), 2)
    labels = dict.fromkeys(ATTRIBUTES, np.zeros(len(boxes), np.int64)) | {"category": probabilities.argmax(axis=1)}
    stored = Regions(boxes, np.zeros((len(boxes), 1), np.float32), 64, 64, probabilities)
    return RegionsWithAttributes(stored, np.array([s for _, s, _ in regions], np.float32), labels)


def test_a_perfect_detector_scores_1() -> None:
    output = detected((LEFT, 0.9, (1, 0)), (RIGHT, 0.8, (0, 1)))
    metrics = compute_metrics([truth((LEFT, 0), (RIGHT, 1))], [(output, output)], 2)
    assert (metrics.recall, metrics.map50, metrics.detected_category, metrics.given_category) == (1, 1, 1, 1)
    assert metrics.regions == 2


def test_average_precision_by_hand() -> None:
    # Category 0 occurs twice. Ranked: a hit (precision 1), a miss, a hit (2/3): 1/2 * 1 + 1/2 * 2/3 = 5/6.
    output = detected((LEFT, 0.9, (1, 0)), (FAR, 0.8, (1, 0)), (RIGHT, 0.7, (1, 0)))
    assert average_precision([truth((LEFT, 0), (RIGHT, 0))], [output], 2) == pytest.approx(5 / 6)


def test_an_object_detected_twice_counts_once() -> None:
    output = detected((LEFT, 0.9, (1, 0)), (LEFT, 0.8, (1, 0)), (RIGHT, 0.7, (1, 0)))
    assert average_precision([truth((LEFT, 0), (RIGHT, 0))], [output], 2) == pytest.approx(5 / 6)


def test_absent_categories_are_ignored_and_missed_ones_count_0() -> None:
    output = detected((LEFT, 0.9, (1, 0)))
    assert average_precision([truth((LEFT, 0))], [output], 2) == pytest.approx(1.0)
    assert average_precision([truth((LEFT, 0), (RIGHT, 1))], [output], 2) == pytest.approx(0.5)


def test_a_wrong_category_at_the_right_box_counts_as_recalled_only() -> None:
    output = detected((LEFT, 0.9, (0.1, 0.9)))
    metrics = compute_metrics([truth((LEFT, 0))], [(output, output)], 2)
    assert metrics.recall == 1
    assert metrics.detected_category == 0


def test_no_detections_and_no_objects() -> None:
    empty = detected()
    metrics = compute_metrics([truth((LEFT, 0)), truth()], [(empty, detected((LEFT, 1.0, (1, 0)))), (empty, empty)], 2)
    assert (metrics.recall, metrics.map50, metrics.regions, metrics.given_category) == (0, 0, 0, 1)
