"""The event log of a run: ``events.jsonl``, one JSON object per line, and TensorBoard files if it is installed.

``docs/design.md`` lists the events and their fields. Every line is flushed, so a run can be watched. On resume, lines
written after the checkpoint are cut off, because those iterations are repeated.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from twelvefold.config.renamed import translate_event
from twelvefold.parsing.json_text import JsonError, decode_json, describe_error
from twelvefold.parsing.text import read_bytes
from twelvefold.printable import escape_in_json, is_encodable, printable_name
from twelvefold.progress import console
from twelvefold.schema import TwelvefoldError

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class EventLog:
    """Append events to ``path``.

    ``keep_bytes`` is the length to which an existing log is cut: the checkpoint's, or 0. ``tensorboard`` is a folder
    for TensorBoard's files, in which entries after ``iteration`` are hidden.
    """

    def __init__(self, path: Path, *, keep_bytes: int = 0, tensorboard: Path | None = None, iteration: int = 0) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab")
        if self.size_bytes > keep_bytes:
            self._file.truncate(keep_bytes)
        elif (text := path.read_bytes()) and not text.endswith(b"\n"):  # a power failure left a part of a line
            self._file.truncate(text.rfind(b"\n") + 1)
        self._writer = _open_tensorboard(tensorboard, iteration) if tensorboard else None

    @property
    def size_bytes(self) -> int:
        """Length of the log so far."""
        return os.fstat(self._file.fileno()).st_size

    def write(self, event: str, iteration: int, **fields: Any) -> None:
        """Append one event.

        Raises:
            ValueError: a number is NaN or infinite, which JSON does not have.
        """
        line = json.dumps({"event": event, "iteration": iteration, **fields}, ensure_ascii=False, allow_nan=False)
        self._file.write(escape_in_json(line).encode() + b"\n")
        self._file.flush()
        if self._writer is not None:
            _add_scalars(self._writer, event, iteration, fields)

    def sync(self) -> int:
        """Write everything to disk and return the length of the log in bytes."""
        os.fsync(self._file.fileno())
        return self.size_bytes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the files."""
        self._file.close()
        if self._writer is not None:
            self._writer.close()


def open_event_log(run: Path, state: Mapping[str, Any] | None, *, tensorboard: bool) -> EventLog:
    """Open the event log of a run, cut back to the checkpoint ``state`` to resume from; None: start a new log."""
    keep_bytes, iteration = (state["events_bytes"], state["iteration"]) if state else (0, 0)
    folder = run / "tensorboard" if tensorboard else None
    return EventLog(run / "events.jsonl", keep_bytes=keep_bytes, tensorboard=folder, iteration=iteration)


def read_events(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the events of a log, with present field names; an incomplete last line is skipped.

    Raises:
        TwelvefoldError: the file can't be read, or a complete line is not JSON.
    """
    lines = read_bytes(path, kind="the event log").split(b"\n")
    for number, line in enumerate(lines[:-1], start=1):
        try:
            event = decode_json(line, dict[str, Any])
        except JsonError as error:
            reason = describe_error(error, line)
            raise TwelvefoldError(f"{path}, line {number} is not JSON: {reason}; was the log edited?") from error
        yield translate_event(event)


def _open_tensorboard(folder: Path, iteration: int) -> SummaryWriter | None:
    """Open a TensorBoard writer that hides entries after ``iteration``.

    Returns None if TensorBoard is not installed, or if the name of the folder is not UTF-8, which it cannot open.
    """
    if not is_encodable(str(folder)):
        console.print(f"no TensorBoard files: {printable_name(folder)} is not UTF-8", markup=False, highlight=False)
        return None
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    writer: SummaryWriter = SummaryWriter(str(folder), purge_step=iteration + 1)
    return writer


def _add_scalars(writer: SummaryWriter, event: str, iteration: int, fields: dict[str, Any]) -> None:
    scalars: dict[str, float] = {}
    if event == "step":
        scalars = {f"loss/{task}": loss for task, loss in fields["losses"].items()} | {"lr": fields["lr"]}
    elif event == "eval":
        scalars = {f"score/{fields['task']}": fields["score"]}
    elif event in ("stop", "go"):
        scalars = {f"go/{fields['task']}": float(event == "go")}
    for name, value in scalars.items():
        writer.add_scalar(name, value, iteration)
