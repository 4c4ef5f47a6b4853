"""Measures against cases worked by hand."""

import numpy as np
import pytest

from twelvefold.detectors.world_detector.detector import Seen
from twelvefold.detectors.world_detector.metrics import Truth, average_precision, measure
from twelvefold.schema import Regions

LEFT, RIGHT, AWAY = (0, 0, 10, 10), (20, 0, 30, 10), (50, 50, 60, 60)


def truth(*things: tuple[tuple[int, ...], int]) -> Truth:
    kinds = np.array([kind for _, kind in things], np.int64)
    return Truth(
        np.array([box for box, _ in things], np.float32).reshape(-1, 4), kinds, kinds * 0, kinds * 0, kinds * 0
    )


def seen(*regions: tuple[tuple[int, ...], float, tuple[float, ...]]) -> Seen:
    boxes = np.array([box for box, _, _ in regions], np.float32).reshape(-1, 4)
    probabilities = np.array([p for _, _, p in regions], np.float32).reshape(len(boxes), 2)
    words = np.zeros(len(boxes), np.int64)
    found = Regions(boxes, np.zeros((len(boxes), 1), np.float32), 64, 64, probabilities)
    return Seen(found, np.array([s for _, s, _ in regions], np.float32), words, words, words)


def test_a_perfect_detector_scores_one() -> None:
    answer = seen((LEFT, 0.9, (1, 0)), (RIGHT, 0.8, (0, 1)))
    scores = measure([truth((LEFT, 0), (RIGHT, 1))], [(answer, answer)], 2)
    assert (scores.recall, scores.map50, scores.found_kind, scores.given_kind) == (1, 1, 1, 1)
    assert scores.regions == 2


def test_average_precision_by_hand() -> None:
    # Kind 0 is there twice. Ranked: a hit (precision 1), a miss, a hit (2/3): 1/2 * 1 + 1/2 * 2/3 = 5/6.
    answer = seen((LEFT, 0.9, (1, 0)), (AWAY, 0.8, (1, 0)), (RIGHT, 0.7, (1, 0)))
    assert average_precision([truth((LEFT, 0), (RIGHT, 0))], [answer], 2) == pytest.approx(5 / 6)


def test_a_thing_found_twice_counts_once() -> None:
    answer = seen((LEFT, 0.9, (1, 0)), (LEFT, 0.8, (1, 0)), (RIGHT, 0.7, (1, 0)))
    assert average_precision([truth((LEFT, 0), (RIGHT, 0))], [answer], 2) == pytest.approx(5 / 6)


def test_kinds_that_do_not_occur_take_no_part_and_missed_ones_count_zero() -> None:
    answer = seen((LEFT, 0.9, (1, 0)))
    assert average_precision([truth((LEFT, 0))], [answer], 2) == pytest.approx(1.0)
    assert average_precision([truth((LEFT, 0), (RIGHT, 1))], [answer], 2) == pytest.approx(0.5)


def test_a_wrong_kind_at_the_right_place_is_recalled_but_not_named() -> None:
    answer = seen((LEFT, 0.9, (0.1, 0.9)))
    scores = measure([truth((LEFT, 0))], [(answer, answer)], 2)
    assert scores.recall == 1
    assert scores.found_kind == 0


def test_nothing_found_and_nothing_there() -> None:
    empty = seen()
    scores = measure([truth((LEFT, 0)), truth()], [(empty, seen((LEFT, 1.0, (1, 0)))), (empty, empty)], 2)
    assert (scores.recall, scores.map50, scores.regions, scores.given_kind) == (0, 0, 0, 1)
