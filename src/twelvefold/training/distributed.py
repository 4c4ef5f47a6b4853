"""Train one model with several processes, each on its share of every batch, with torch.distributed.

Rank 0 takes decisions and writes files. With a single process all of this does nothing.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import PrefixStore, Store  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous

from twelvefold.device import find_device, select_device
from twelvefold.environment import DEVICE_VARIABLE
from twelvefold.schema import TwelvefoldError

JOIN_TIMEOUT = timedelta(minutes=5)
"""How long a rank waits for the others to start: a rank may fail before it joins the group."""
TIMEOUT = timedelta(minutes=30)
"""How long a rank waits for the others afterwards; writing a checkpoint must take less."""


class RankError(TwelvefoldError):
    """An error that another rank raised."""


@dataclass(frozen=True, slots=True)
class ProcessGroup:
    """This process's ``rank`` and ``device`` in a process group of ``world_size`` processes."""

    rank: int
    world_size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this process is rank 0, which takes decisions and writes files."""
        return self.rank == 0

    def all_reduce(self, numbers: Tensor) -> Tensor:
        """Sum ``numbers`` over all ranks, in place, and return them."""
        if self.world_size > 1:
            dist.all_reduce(numbers)
        return numbers

    def broadcast(self, value: Any, source: int = 0) -> Any:
        """Return the JSON value of rank ``source`` on every rank. It travels as JSON, so nothing is unpickled."""
        if self.world_size == 1:
            return value
        data = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8).to(self.device)
        size = torch.tensor([len(data)], device=self.device)
        dist.broadcast(size, source)
        buffer = data if self.rank == source else data.new_zeros(int(size.item()))
        dist.broadcast(buffer, source)
        return json.loads(bytes(buffer.cpu().numpy()))

    def broadcast_tensors(self, tensors: Iterable[Tensor]) -> None:
        """Replace the values of ``tensors`` on every rank by those of rank 0."""
        if self.world_size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    def barrier(self) -> None:
        """Wait until every rank is here."""
        self.all_reduce(torch.zeros(1, device=self.device))

    @contextmanager
    def fail_together(self) -> Iterator[None]:
        """Wait at the end of the block for every rank; if it raised an error on some, raise the first on all.

        Raises:
            TwelvefoldError: a rank raised it in its block. On other ranks it is a :class:`RankError`.
        """
        error: TwelvefoldError | None = None
        try:
            yield
        except TwelvefoldError as raised:
            error = raised
        failed = torch.zeros(self.world_size, device=self.device)
        failed[self.rank] = float(error is not None)
        ranks = self.all_reduce(failed).nonzero().flatten().tolist()
        if not ranks:
            return
        message = self.broadcast(None if error is None else str(error), ranks[0])
        if error is not None and ranks[0] == self.rank:
            raise error
        raise RankError(message)

    def peak_memory_gb(self) -> float:
        """Return the sum over ranks of each process's peak resident memory, in GiB."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # Linux counts in KiB
        return self.all_reduce(torch.tensor([peak], device=self.device)).item()


def default_processes(device: str) -> int:
    """Return how many processes to start on this machine for independent work: a process for each GPU, or else two.

    ``device``: as :func:`twelvefold.device.select_device` takes it.
    """
    name = os.environ.get(DEVICE_VARIABLE) or device
    kind = find_device(name).type
    if kind == "cpu":
        return min(2, os.cpu_count() or 1)
    return 1 if ":" in name else int(getattr(torch, kind).device_count())


@contextmanager
def init_distributed(device: str = "auto", *, cpu_timeout: timedelta = TIMEOUT) -> Iterator[ProcessGroup]:
    """Join the process group that the environment describes, set by torchrun or :mod:`twelvefold.training.launch`.

    ``cpu_timeout``: how long a rank on a CPU waits for the others, where a rank's share may take long.

    On a CPU this process computes in one thread, unless ``OMP_NUM_THREADS`` is set: processes share the cores, and
    only a single thread sums the gradients of biases in the same order every time, which exact resume needs.

    Raises:
        TwelvefoldError: a GPU is requested and there is none, or there are more local processes than GPUs.
    """
    world_size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    _check_shared_device(device)
    selected = select_device(device, int(os.environ.get("LOCAL_RANK", "0")))
    threads = torch.get_num_threads()
    if selected.type == "cpu" and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)
    try:
        with _process_group(world_size, selected, cpu_timeout if selected.type == "cpu" else TIMEOUT):
            yield ProcessGroup(rank, world_size, selected)
    finally:
        torch.set_num_threads(threads)


def _check_shared_device(device: str) -> None:
    """Raises: TwelvefoldError if all processes of this machine would compute on one GPU, which NCCL refuses."""
    name = os.environ.get(DEVICE_VARIABLE) or device
    local_size = int(os.environ.get("LOCAL_WORLD_SIZE") or os.environ.get("WORLD_SIZE", "1"))
    if local_size > 1 and ":" in name and not name.startswith("cpu"):
        raise TwelvefoldError(
            f"device is {name!r}, but each of the {local_size} processes needs a GPU of its own; use "
            f"{name.partition(':')[0]!r}"
        )


@contextmanager
def _process_group(world_size: int, device: torch.device, timeout: timedelta) -> Iterator[None]:
    if world_size == 1:
        yield
        return
    # Functions of this module bind the default group when it is first imported, which the first optimizer does. A
    # group bound that way survives destroy_process_group, and its threads may abort the interpreter at exit
    # (SIGABRT after a successful run). So import it while there is no group yet.
    importlib.import_module("torch.distributed.nn.functional")
    store, rank, world_size = next(rendezvous("env://", timeout=JOIN_TIMEOUT))
    store = _attempt_store(store, rank, world_size)
    store.set_timeout(timeout)
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        store=store,
        rank=rank,
        world_size=world_size,
        timeout=timeout,
        device_id=device if device.type == "cuda" else None,
    )
    try:
        yield
    finally:
        dist.destroy_process_group()


def _attempt_store(store: Store, rank: int, world_size: int) -> Store:
    """Return a part of the store that only the ranks which join now have.

    When torchrun restarts the ranks it keeps its store, in which a rank would find the addresses of ended ranks. So
    each rank joins with a random name, rank 0 announces the names until all ranks have found theirs, and its own is
    the prefix of all keys. (``TORCHELASTIC_RESTART_COUNT`` is no such prefix: it differs between nodes.)

    Raises:
        DistNetworkError: a rank did not join in time.
    """
    name, deadline = uuid.uuid4().hex, time.monotonic() + JOIN_TIMEOUT.total_seconds()
    store.set(f"join/{rank}", name)
    while time.monotonic() < deadline:
        if rank == 0:
            names = [store.get(f"join/{other}").decode() for other in range(world_size)]
            store.set("joined", json.dumps(names))
            if store.check([f"{name}/{other}" for other in range(1, world_size)]):
                return PrefixStore(name, store)
        else:
            names = json.loads(store.get("joined"))
            if len(names) == world_size and names[rank] == name:
                store.set(f"{names[0]}/{rank}", "joined")
                return PrefixStore(names[0], store)
        time.sleep(0.02)
    raise dist.DistNetworkError(f"rank {rank}: not all of the {world_size} processes joined within {JOIN_TIMEOUT}")
