"""How much of a training's time a process waits: for its batches, and for other ranks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class WaitTimes:
    """Seconds that this process has waited since ``started``: for ``data`` and for other ``ranks``.

    Data: until a step's batches were there; without ``num_workers`` they are made in that time. Ranks: from the end of
    a rank's own backward pass until gradients were summed over all ranks, with the communication itself; 0 on GPUs,
    which compute and communicate while the host goes on.
    """

    data: float = 0.0
    ranks: float = 0.0
    started: float = field(default_factory=time.monotonic)

    @contextmanager
    def for_data(self) -> Iterator[None]:
        """Add the time in the block to that of data."""
        before = time.perf_counter()
        yield
        self.data += time.perf_counter() - before

    def describe(self) -> str:
        """Return ``waiting: data 3%, other ranks 5%``; the latter only if there was any."""
        elapsed = max(time.monotonic() - self.started, 1e-9)
        ranks = f", other ranks {self.ranks / elapsed:.0%}" if self.ranks else ""
        return f"waiting: data {self.data / elapsed:.0%}{ranks}"
