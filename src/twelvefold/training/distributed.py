"""Train one model with several processes, each on its share of every batch, with torch.distributed.

Rank 0 takes decisions and writes files. With a single process all of this does nothing.
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
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
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


def reduce_gradients(parameters: Sequence[nn.Parameter], totals: Tensor, group: ProcessGroup) -> Tensor:
    """Sum gradients and ``totals`` over all ranks in one all-reduce, then divide the gradients by ``totals[0]``.

    Each rank's loss is the sum over its own examples, and ``totals[0]`` is their number. The result is therefore the
    gradient of the mean loss over the whole batch, however unevenly the batch was split. All ranks step the same
    task, so the same parameters have gradients on each; heads of other tasks have none and take no part (or zeros on
    all ranks, with ``optimization = "vilbert_mt"``).

    Returns:
        The summed totals, (n,) float32.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    if group.world_size > 1:
        flat = group.all_reduce(torch.cat([g.reshape(-1) for g in gradients] + [totals.to(gradients[0].dtype)]))
        parts = torch.split(flat, [g.numel() for g in gradients] + [totals.numel()])
        totals = parts[-1]
        for gradient, part in zip(gradients, parts[:-1], strict=True):
            gradient.copy_(part.view_as(gradient))
    torch._foreach_div_(gradients, totals[0].item())
    return totals


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
    """Join the process group that torchrun or :func:`launch_local_ranks` describes in the environment.

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


@contextmanager
def launch_local_ranks(world_size: int, command: Sequence[str]) -> Iterator[None]:
    """Start ranks 1 to ``world_size - 1`` on this machine, with this process as rank 0, and wait for them on exit.

    ``command`` holds the arguments of ``python``. Under torchrun, which has started the ranks, this does nothing.

    Raises:
        TwelvefoldError: a rank failed; the error states its exit code. The same command resumes.
    """
    if world_size == 1 or "WORLD_SIZE" in os.environ:
        yield
        return
    group = {"WORLD_SIZE": str(world_size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    environment = os.environ | group | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    children = [
        subprocess.Popen(  # noqa: S603 (our own interpreter and module)
            [sys.executable, *command], env=environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        )
        for rank in range(1, world_size)
    ]
    before = dict(os.environ)
    os.environ.update(group | {"RANK": "0", "LOCAL_RANK": "0"})
    try:
        yield
        for child in children:
            child.wait()
            _raise_if_failed(children)
    except (RuntimeError, OSError) as error:  # a broken connection: name the rank that broke it, if one did
        for child in children:
            with suppress(subprocess.TimeoutExpired):
                child.wait(timeout=1.0)
        _raise_if_failed(children, error)
        raise
    finally:
        for child in children:
            if child.poll() is None:
                child.kill()  # it waits for a rank that has ended
                child.wait()
        os.environ.clear()
        os.environ.update(before)


def _raise_if_failed(children: Sequence[subprocess.Popen[bytes]], cause: Exception | None = None) -> None:
    """Raise an error that names the first rank which ended with one.

    Raises:
        TwelvefoldError: a rank ended with an error.
    """
    for rank, child in enumerate(children, start=1):
        code = child.poll()
        if code:
            end = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
            memory = " (often: out of memory)" if code == -signal.SIGKILL else ""
            raise TwelvefoldError(
                f"process {rank} of {len(children) + 1} {end}{memory}; its own message is above. Finished work "
                "is kept: start the same command again to resume"
            ) from cause


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
