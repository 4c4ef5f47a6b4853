"""Create worker processes that end when their parent process ends, even if it is killed."""

from __future__ import annotations

import multiprocessing
import os
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import wait


def create_pool(num_processes: int) -> ProcessPoolExecutor:
    """Return a pool of new processes.

    Processes are spawned, not forked: a fork of a process that has used torch may hang.
    """
    return ProcessPoolExecutor(num_processes, multiprocessing.get_context("spawn"), initializer=_watch_parent)


def _watch_parent() -> None:
    """End this process when its parent ends; otherwise a worker whose parent was killed waits for work forever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_exit_with, args=(parent.sentinel,), daemon=True).start()


def _exit_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
