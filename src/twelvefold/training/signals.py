"""Graceful shutdown on SIGINT and SIGTERM: finish the iteration, save a checkpoint, stop."""

from __future__ import annotations

import signal
import threading
from contextlib import ExitStack
from types import FrameType
from typing import Self

from twelvefold.schema import TwelvefoldError


class Interrupted(TwelvefoldError):  # noqa: N818 (not an error, but it ends a command like one)
    """A signal stopped a run before its end. A checkpoint is saved, and the same command resumes from it."""


class GracefulShutdown(ExitStack):
    """Within ``with GracefulShutdown() as shutdown``, a first SIGINT or SIGTERM only sets ``shutdown.requested``.

    A second one raises KeyboardInterrupt.
    """

    requested = False

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # Python allows handlers in no other thread
            for number in (signal.SIGINT, signal.SIGTERM):
                self.callback(signal.signal, number, signal.signal(number, self._handle))
        return super().__enter__()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
