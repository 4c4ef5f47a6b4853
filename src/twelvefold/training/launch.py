"""Start the ranks of a run on this machine with the process launcher of torch.distributed.elastic."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, PContext, start_processes
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

from twelvefold.schema import TwelvefoldError

EXIT_WAIT = 10.0
"""Seconds within which a rank that broke the connection to rank 0 has ended: one that reports an error takes a few."""


@contextmanager
def launch_local_ranks(world_size: int, command: Sequence[str]) -> Iterator[None]:
    """Start ranks 1 to ``world_size - 1`` on this machine, with this process as rank 0, and wait for them on exit.

    ``command`` holds the arguments of ``python``. Under torchrun, which has started the ranks, this does nothing. A
    Ctrl-C in the terminal reaches only rank 0, which decides when all ranks stop.

    Raises:
        TwelvefoldError: a rank failed; the error states its exit code. The same command resumes.
    """
    if world_size == 1 or "WORLD_SIZE" in os.environ:
        yield
        return
    group = {"WORLD_SIZE": str(world_size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    before = dict(os.environ)
    ranks = _start(group, world_size, command)
    os.environ.update(group | {"RANK": "0", "LOCAL_RANK": "0"})
    try:
        yield
        _raise_if_failed(ranks, timeout=-1)
    except (RuntimeError, OSError) as error:  # a broken connection: name the rank that broke it, if one did
        _raise_if_failed(ranks, timeout=EXIT_WAIT, cause=error)
        raise
    finally:
        ranks.close(signal.SIGKILL)  # it waits for a rank that has ended
        os.environ.clear()
        os.environ.update(before)


def _start(group: Mapping[str, str], world_size: int, command: Sequence[str]) -> PContext:
    """Start the ranks but 0. The launcher numbers them from 0 and replaces signal handlers, which is undone."""
    # Its messages have other numbers of the ranks, and ours name the rank that failed.
    logging.getLogger("torch.distributed.elastic.multiprocessing.api").setLevel(logging.CRITICAL)
    environment = dict(group) | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    ranks = range(1, world_size)
    in_main_thread = threading.current_thread() is threading.main_thread()
    handled = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
    handlers = {number: signal.getsignal(number) for number in handled}
    try:
        return start_processes(
            name="rank",
            entrypoint=sys.executable,
            args={rank - 1: tuple(command) for rank in ranks},
            envs={rank - 1: environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in ranks},
            logs_specs=DefaultLogsSpecs(log_dir=os.devnull),
        )
    finally:
        for number, handler in handlers.items():
            if in_main_thread:
                signal.signal(number, handler)


def _raise_if_failed(ranks: PContext, timeout: float, cause: Exception | None = None) -> None:
    """Wait for all ranks to end, or ``timeout`` seconds (-1: without limit), and raise an error if one failed.

    Raises:
        TwelvefoldError: a rank ended with an error.
    """
    result = ranks.wait(timeout, period=0.05)
    if result is None or not result.is_failed():
        return
    failures: Mapping[int, ProcessFailure] = result.failures
    # When a rank has failed, the launcher ends the others by SIGTERM.
    rank, failure = min(failures.items(), key=lambda item: (item[1].exitcode == -signal.SIGTERM, item[0]))
    code = failure.exitcode
    end = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
    memory = " (often: out of memory)" if code == -signal.SIGKILL else ""
    raise TwelvefoldError(
        f"process {rank + 1} of {ranks.nprocs + 1} {end}{memory}; its own message is above. Finished work is kept: "
        "start the same command again to resume"
    ) from cause


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
