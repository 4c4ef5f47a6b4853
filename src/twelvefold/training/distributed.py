"""Several processes that train one model on shares of every batch: torch.distributed, from torchrun's environment.

One process is the special case in which every function here does nothing. Rank 0 decides and writes.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from twelvefold.device import select_device
from twelvefold.schema import TwelvefoldError

PATIENCE = timedelta(minutes=30)
"""How long a rank waits for the others: longer than the slowest of them takes to write a checkpoint."""


class Ranks:
    """This process among ``count``; ``rank`` 0 decides and writes. ``device`` is where this one computes."""

    def __init__(self, rank: int = 0, count: int = 1, device: torch.device | None = None) -> None:
        self.rank = rank
        self.count = count
        self.device = device or torch.device("cpu")

    @property
    def first(self) -> bool:
        """Whether this process decides and writes."""
        return self.rank == 0

    def add(self, numbers: Tensor) -> Tensor:
        """The sum of every rank's ``numbers``, in place."""
        if self.count > 1:
            dist.all_reduce(numbers)
        return numbers

    def share(self, value: Any, source: int = 0) -> Any:
        """Rank ``source``'s JSON value, on every rank. As bytes of JSON: nothing is unpickled."""
        if self.count == 1:
            return value
        data = json.dumps(value).encode() if self.rank == source else b""
        size = torch.tensor([len(data)], device=self.device)
        dist.broadcast(size, source)
        buffer = torch.zeros(int(size.item()), dtype=torch.uint8)
        if self.rank == source:
            buffer = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        buffer = buffer.to(self.device)
        dist.broadcast(buffer, source)
        return json.loads(bytes(buffer.cpu().numpy()))

    def peak_memory_gb(self) -> float:
        """The most main memory that all ranks together may have had at a time: the sum of their peaks, in GiB."""
        mine = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # Linux counts in KiB
        return self.add(torch.tensor([mine], device=self.device)).item()

    def wait(self) -> None:
        """Go on when every rank is here."""
        if self.count > 1:
            self.add(torch.zeros(1, device=self.device))


def reduce_gradients(parameters: Sequence[nn.Parameter], totals: Tensor, ranks: Ranks) -> Tensor:
    """Add up every rank's gradients and ``totals``, in one go; then divide the gradients by ``totals[0]``.

    Each rank's loss is a mean over its own examples times their number, and ``totals[0]`` is that number: so
    the gradient is that of the mean over the whole batch, however unevenly it was cut. Every rank has had the
    same task, so the same parameters have gradients, and those of other tasks' heads take no part.

    Returns totals, added up: (n,) float32.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    if ranks.count > 1:
        flat = ranks.add(torch.cat([g.reshape(-1) for g in gradients] + [totals.to(gradients[0].dtype)]))
        parts = torch.split(flat, [g.numel() for g in gradients] + [totals.numel()])
        totals = parts[-1]
        for gradient, part in zip(gradients, parts[:-1], strict=True):
            gradient.copy_(part.view_as(gradient))
    torch._foreach_div_(gradients, totals[0].item())
    return totals


@contextmanager
def joined(device: str = "auto") -> Iterator[Ranks]:
    """This process's place among those that torchrun, or :func:`companions`, started; alone where nobody did.

    On a CPU it computes in one thread meanwhile, unless ``OMP_NUM_THREADS`` says how many: cores are shared out among
    processes. Several threads add up biases' gradients in another order each time, so only a process of one thread
    learns the same twice.

    Raises:
        TwelvefoldError: a GPU is asked for and there is none, or there are more processes here than GPUs.
    """
    count, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    place = select_device(device, int(os.environ.get("LOCAL_RANK", "0")))
    threads = torch.get_num_threads()
    if place.type == "cpu" and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)
    try:
        with _group(count, place):
            yield Ranks(rank, count, place)
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _group(count: int, place: torch.device) -> Iterator[None]:
    """The group of all ranks, where there is more than one. When it ends, so do its threads."""
    if count == 1:
        yield
        return
    # The first optimiser imports this module, whose functions keep the group of that moment as a default: a group kept
    # so outlives its end, and its threads may abort the interpreter's (SIGABRT after a run that went well).
    importlib.import_module("torch.distributed.nn.functional")
    dist.init_process_group(
        "nccl" if place.type == "cuda" else "gloo",
        timeout=PATIENCE,
        device_id=place if place.type == "cuda" else None,
    )
    try:
        yield
    finally:
        dist.destroy_process_group()


@contextmanager
def companions(count: int, command: Sequence[str]) -> Iterator[None]:
    """Start ranks 1 to ``count - 1`` on this machine, this process being rank 0; wait for their end.

    ``command``: arguments for ``python``. Does nothing under torchrun, which has started them already.

    Raises:
        TwelvefoldError: a companion ended by itself, with its code: the run can go on from its checkpoint.
    """
    if count == 1 or "WORLD_SIZE" in os.environ:
        yield
        return
    mine = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    environment = os.environ | mine | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    children = [
        subprocess.Popen(  # noqa: S603 (our own interpreter and module)
            [sys.executable, *command], env=environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        )
        for rank in range(1, count)
    ]
    before = dict(os.environ)
    os.environ.update(mine | {"RANK": "0", "LOCAL_RANK": "0"})
    try:
        yield
        _wait(children)
    except (RuntimeError, OSError) as error:
        _explain(children, error)
        raise
    finally:
        for child in children:
            if child.poll() is None:
                child.kill()  # it waits for a rank that is no more
                child.wait()
        os.environ.clear()
        os.environ.update(before)


def _wait(children: Sequence[subprocess.Popen[bytes]]) -> None:
    """Wait for every companion's end.

    Raises:
        TwelvefoldError: one ended with an error.
    """
    for rank, child in enumerate(children, start=1):
        if (code := child.wait()) != 0:
            raise TwelvefoldError(_ended(rank, len(children) + 1, code))


def _explain(children: Sequence[subprocess.Popen[bytes]], error: Exception) -> None:
    """Where a broken connection is a companion's end, say so; else nothing.

    Raises:
        TwelvefoldError: a companion has ended with an error.
    """
    for rank, child in enumerate(children, start=1):
        try:
            code = child.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            continue
        if code != 0:
            raise TwelvefoldError(_ended(rank, len(children) + 1, code)) from error


def _ended(rank: int, count: int, code: int) -> str:
    how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
    memory = " (often: out of memory)" if code == -signal.SIGKILL else ""
    return (
        f"process {rank} of {count} {how}{memory}; its own message is above. The last checkpoint is whole: "
        "start the same command again to go on from it"
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
