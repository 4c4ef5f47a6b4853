"""The diary of a run: one JSON object a line in ``events.jsonl``, and the same for TensorBoard where it is installed.

``docs/design.md`` lists the events and their fields. Lines are appended and flushed, so that a run can be watched;
whatever a killed run wrote after its checkpoint is cut off when it goes on, since it will happen again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from twelvefold.schema import TwelvefoldError

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class EventLog:
    """Appends to ``events.jsonl``. ``keep`` is how many bytes of an older log stay: the checkpoint's, or 0."""

    def __init__(self, path: Path, *, keep: int = 0, tensorboard: Path | None = None, iteration: int = 0) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab")
        if self.size > keep:
            self._file.truncate(keep)
        else:
            self._drop_torn_line(path)
        self._board = _board(tensorboard, iteration) if tensorboard else None

    @property
    def size(self) -> int:
        """Bytes of the log so far."""
        return os.fstat(self._file.fileno()).st_size

    def write(self, event: str, iteration: int, **fields: Any) -> None:
        """Append one event. NaN and infinity are refused: JSON has neither."""
        line = json.dumps({"event": event, "iteration": iteration, **fields}, ensure_ascii=False, allow_nan=False)
        self._file.write(line.encode() + b"\n")
        self._file.flush()
        if self._board is not None:
            _chart(self._board, event, iteration, fields)

    def sync(self) -> int:
        """Have the disk hold everything so far; how many bytes that is."""
        os.fsync(self._file.fileno())
        return self.size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the files."""
        self._file.close()
        if self._board is not None:
            self._board.close()

    def _drop_torn_line(self, path: Path) -> None:
        """A machine that lost its power may leave half a line; the next must not be glued to it."""
        text = path.read_bytes()
        if text and not text.endswith(b"\n"):
            self._file.truncate(text.rfind(b"\n") + 1)


def open_log(run: Path, state: Mapping[str, Any] | None, *, tensorboard: bool) -> EventLog:
    """The event log of a run, cut back to the checkpoint ``state`` that it goes on from; None: a new one."""
    kept, iteration = (state["events_bytes"], state["iteration"]) if state else (0, 0)
    board = run / "tensorboard" if tensorboard else None
    return EventLog(run / "events.jsonl", keep=kept, tensorboard=board, iteration=iteration)


def read_events(path: Path) -> Iterator[dict[str, Any]]:
    """The events of a run, first to last; a torn last line, of a run that is being written, is left out.

    Raises:
        TwelvefoldError: there is no log, or a line before the last isn't JSON.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise TwelvefoldError(f"can't read the event log {path}: {error.strerror}") from error
    for number, line in enumerate(lines[:-1], start=1):
        try:
            yield json.loads(line)
        except ValueError as error:
            raise TwelvefoldError(f"{path}, line {number} is not JSON: {error}; the log was changed by hand") from error


def _board(folder: Path, iteration: int) -> SummaryWriter | None:
    """TensorBoard's writer, which hides what an earlier run wrote after ``iteration``; None where not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    writer: SummaryWriter = SummaryWriter(str(folder), purge_step=iteration + 1)
    return writer


def _chart(board: SummaryWriter, event: str, iteration: int, fields: dict[str, Any]) -> None:
    scalars: dict[str, float] = {}
    if event == "step":
        scalars = {f"loss/{task}": loss for task, loss in fields["losses"].items()} | {"lr": fields["lr"]}
    elif event == "eval":
        scalars = {f"score/{fields['task']}": fields["score"]}
    elif event in ("stop", "go"):
        scalars = {f"go/{fields['task']}": float(event == "go")}
    for name, value in scalars.items():
        board.add_scalar(name, value, iteration)
