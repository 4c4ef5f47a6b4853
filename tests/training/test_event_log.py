"""The event log: complete JSON lines, cut back to the checkpoint on resume, readable while the run writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from twelvefold.schema import TwelvefoldError
from twelvefold.training.event_log import EventLog, read_events


def iterations(path: Path) -> list[int]:
    return [event["iteration"] for event in read_events(path)]


def test_events_can_be_read_while_the_run_writes_them(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    log.write("step", 1, losses={"vqav2": 0.5}, lr=1e-3)
    log.write("eval", 1, task="vqav2", score=0.25)
    assert list(read_events(path)) == [
        {"event": "step", "iteration": 1, "losses": {"vqav2": 0.5}, "lr": 1e-3},
        {"event": "eval", "iteration": 1, "task": "vqav2", "score": 0.25},
    ]
    log.close()


def test_resuming_removes_events_after_the_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    log.write("step", 1)
    size = log.sync()
    log.write("step", 2)
    log.close()
    log = EventLog(path, keep_bytes=size)
    log.write("resume", 1)
    log.close()
    assert [(e["event"], e["iteration"]) for e in read_events(path)] == [("step", 1), ("resume", 1)]


def test_an_incomplete_last_line_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"event": "step", "iteration": 1}\n{"event": "st')
    assert iterations(path) == [1]
    log = EventLog(path, keep_bytes=1000)  # longer than what is left on disk
    log.write("step", 2)
    log.close()
    assert iterations(path) == [1, 2]


def test_nan_and_lines_that_are_not_json_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    with pytest.raises(ValueError, match="not JSON compliant"):
        log.write("step", 1, losses={"vqav2": float("nan")})
    log.close()
    path.write_text('{"event": "step"\n{"event": "step", "iteration": 2}\n')
    with pytest.raises(TwelvefoldError, match=r"events.jsonl, line 1 is not JSON"):
        iterations(path)
    with pytest.raises(TwelvefoldError, match="cannot read the event log"):
        iterations(tmp_path / "absent")


def test_tensorboard_gets_losses_scores_and_stops(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    log = EventLog(tmp_path / "events.jsonl", tensorboard=tmp_path / "tensorboard")
    log.write("step", 1, losses={"vqav2": 0.5}, lr=1e-3)
    log.write("eval", 1, task="vqav2", score=0.25)
    log.write("stop", 1, task="vqav2", score=0.25)
    log.close()
    board = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert {tag: board.Scalars(tag)[0].value for tag in board.Tags()["scalars"]} == pytest.approx(
        {"loss/vqav2": 0.5, "lr": 1e-3, "score/vqav2": 0.25, "go/vqav2": 0.0}
    )
