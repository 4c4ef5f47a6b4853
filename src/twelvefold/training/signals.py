"""Ctrl-C and SIGTERM during training: finish the iteration, save, end. A second one ends at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

from twelvefold.schema import TwelvefoldError


class Interrupted(TwelvefoldError):  # noqa: N818 (it is no error, but ends a command like one)
    """A run was asked to end before its time; its checkpoint is saved, and the same command goes on from it."""


class Interrupts:
    """``with Interrupts() as asked: ...``: while inside, a first SIGINT or SIGTERM only sets ``asked.to_stop``."""

    def __init__(self) -> None:
        self.to_stop = False
        self._before: dict[signal.Signals, Callable[[int, FrameType | None], Any] | int | None] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # Python allows it nowhere else
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.to_stop:
            raise KeyboardInterrupt
        self.to_stop = True
