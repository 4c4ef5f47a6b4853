"""Create worker processes that end when their parent process ends, even if it is killed."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import wait
from typing import Any


def create_pool(
    num_processes: int, initializer: Callable[..., None] | None = None, *arguments: Any
) -> ProcessPoolExecutor:
    """Return a pool of new processes, each of which first calls ``initializer(*arguments)``.

    Processes are spawned, not forked: a fork of a process that has used torch may hang.
    """
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(num_processes, context, initializer=_initialize, initargs=(initializer, arguments))


def _initialize(initializer: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        # Without this, a worker whose parent was killed would wait for work forever.
        threading.Thread(target=_exit_with, args=(parent.sentinel,), daemon=True).start()
    if initializer is not None:
        initializer(*arguments)


def _exit_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
