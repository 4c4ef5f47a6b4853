"""Graceful shutdown on SIGINT and SIGTERM: finish the iteration, save a checkpoint, stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

from twelvefold.schema import TwelvefoldError


class Interrupted(TwelvefoldError):  # noqa: N818 (not an error, but it ends a command like one)
    """A signal stopped a run before its end. A checkpoint is saved, and the same command resumes from it."""


class GracefulShutdown:
    """Within ``with GracefulShutdown() as shutdown``, a first SIGINT or SIGTERM only sets ``shutdown.requested``.

    A second one raises KeyboardInterrupt.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[signal.Signals, Callable[[int, FrameType | None], Any] | int | None] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # Python allows handlers in no other thread
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
