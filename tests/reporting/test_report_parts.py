"""What a page is made of: curves from events, examples by lot, pictures small enough."""

from __future__ import annotations

import base64
import io
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from twelvefold.evaluation.predictions import PredictionRecord
from twelvefold.reporting import curves, examples, html, thumbnails
from twelvefold.reporting.curves import Span
from twelvefold.schema import ImageKey, Ranked

START = {"event": "start", "iteration": 0, "tasks": ["gqa"], "iterations": 100}


def steps(last: int) -> list[dict[str, Any]]:
    return [{"event": "step", "iteration": i, "losses": {"gqa": 100.0 / i}, "seconds": i} for i in range(1, last + 1)]


def turn(event: str, iteration: int) -> dict[str, Any]:
    return {"event": event, "iteration": iteration, "task": "gqa", "score": 0.5}


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 100), unique=True, max_size=8))
def test_spans_cover_the_run_without_a_gap_and_take_turns(at: list[int]) -> None:
    turns = [turn("stop" if n % 2 == 0 else "go", i) for n, i in enumerate(sorted(at))]
    course = curves.course([START, *sorted([*steps(100), *turns], key=lambda e: e["iteration"])])
    assert course
    spans = course.lanes["gqa"].spans
    assert (spans[0].start, spans[-1].end) == (0.0, 100.0)
    assert all(a.end == b.start and a.goes != b.goes for a, b in pairwise(spans))
    assert [span.start for span in spans if not span.goes] == [float(i) for i in sorted(at)[::2] if i < 100]


def test_a_task_that_never_stops_goes_all_the_way() -> None:
    course = curves.course([START, *steps(50)])
    assert course
    assert course.lanes["gqa"].spans == [Span(0.0, 100.0, True)]
    assert (course.iterations, course.planned, course.seconds) == (50, 100, 50.0)
    assert course.lanes["gqa"].scores is None


def test_curves_keep_their_ends_and_stay_light() -> None:
    evaluations = [turn("eval", i) | {"score": i / 1000} for i in range(1, 1001)]
    course = curves.course([START, *steps(1000), *evaluations])
    assert course
    lane = course.lanes["gqa"]
    assert lane.scores
    assert lane.losses
    assert lane.scores.path.count("L") == lane.losses.path.count("L") == curves.POINTS - 1
    assert lane.scores.path.startswith("M0.1 99.9L")
    assert lane.scores.last == (100.0, 0.0)
    assert (lane.latest, lane.best, len(lane.marks)) == (100.0, 100.0, curves.POINTS)
    assert lane.first_loss == pytest.approx(np.mean([100.0 / i for i in range(1, 11)]))


def test_nothing_begun_gives_nothing() -> None:
    assert curves.course([]) is None
    assert curves.course([START]) is None


def lines(n: int) -> list[PredictionRecord]:
    return [PredictionRecord(str(i), "gqa", float(i % 3 == 0), (Ranked(1.0, "x"),)) for i in range(n)]


def test_examples_are_drawn_by_lot_whatever_the_order() -> None:
    chosen = examples.choose(lines(60), str, seed=0)
    assert [examples.is_right(one) for one in chosen] == [True, True, False, False]
    assert chosen == examples.choose(lines(60)[::-1], str, seed=0)
    assert chosen != examples.choose(lines(60), str, seed=1)


def test_examples_show_different_pictures_where_they_can() -> None:
    chosen = examples.choose(lines(60), lambda id_: str(int(id_) % 4), seed=0)
    assert len({int(one.id) % 4 for one in chosen}) == 4


def test_fewer_examples_than_wanted_are_all_shown_and_withheld_ones_are_not() -> None:
    withheld = PredictionRecord("w", "gqa", None, ())
    assert [one.id for one in examples.choose([*lines(2), withheld], str, seed=0)] == ["0", "1"]


def test_a_picture_of_pure_noise_is_made_small_enough(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (700, 900, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    key = ImageKey("coco", "1")
    shown = thumbnails.Album({key: tmp_path / "noise.png"}).show(key, "noise")
    data = base64.b64decode(shown.uri.partition(",")[2])
    assert len(data) <= thumbnails.BYTES
    assert max(Image.open(io.BytesIO(data)).size) <= thumbnails.SIDE
    assert (shown.width, shown.height) == (900, 700)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_pictures_of_any_mode_are_shown(tmp_path: Path, mode: str) -> None:
    name = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    Image.new("RGB", (40, 30), "red").convert(mode).save(name)
    assert thumbnails.Album({ImageKey("vg", "1"): name}).show(ImageKey("vg", "1"), "red").uri


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(4.26, "4.3 s"), (48.0, "48 s"), (552.0, "9 min 12 s"), (5460.0, "1 h 31 min"), (59.7, "1 min 00 s")],
)
def test_durations_are_said_as_people_say_them(seconds: float, said: str) -> None:
    assert html.duration(seconds) == said
