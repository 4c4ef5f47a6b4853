"""How fast a server answers over loopback: stage by stage, with 1, 8 and 64 clients, and with more than it can take.

    python benchmarks/serving.py [--model RUN] [--seconds 8]

Starts ``twelvefold serve`` in a process of its own, talks to it from this one over real connections, and prints the
tables of docs/serving.md. Clients and server share the machine's cores, so the figures are a floor. Questions are the
samples' own (vqav2, refcoco, snli_ve); new pictures are the samples with a corner painted anew (seed 0), which no
cache knows. The large photograph is 4,000 x 3,000 pixels of smooth noise.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
import numpy as np
from PIL import Image

from twelvefold.serving.samples import load_samples

FIELDS = {"vqav2": ("ask", "question"), "refcoco": ("point", "phrase"), "snli_ve": ("entails", "statement")}
STAGES = ("decode", "queue", "detect", "answer")
CPU = "process_cpu_seconds_total"
COUNTED = ("twelvefold_batch_size_sum", "twelvefold_batch_size_count", CPU)
TIMEOUT = 60.0
Question = tuple[str, dict[str, str], dict[str, bytes]]
"""Path, fields and files of a request."""


@dataclass
class Came:
    """What came of many requests: seconds and status of each, and the stages of those that were answered."""

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    stages: list[dict[str, float]] = field(default_factory=list)
    took: float = 0.0

    def row(self) -> str:
        p50, p95, p99 = (1000 * np.percentile(self.seconds, share) for share in (50, 95, 99))
        return f"{self.statuses[200] / self.took:.0f} | {p50:.0f} | {p95:.0f} | {p99:.0f}"


@contextmanager
def running(model: str, *settings: str) -> Iterator[str]:
    """The address of a server that runs while the block does."""
    command = [sys.executable, "-m", "twelvefold", "serve", "--port", "0", "--json"]
    command += [f"--set={one}" for one in (*settings, "log_level=warning", *([f"model={model}"] if model else []))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})  # noqa: S603
    try:
        said = ""
        while not said.endswith("\n}\n"):
            line = process.stdout.readline() if process.stdout else ""
            if not line:
                raise SystemExit("the server did not start")
            said += line
        yield json.loads(said)["address"]
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def followups() -> Iterator[Question]:
    """Questions about the samples, one after the other, for ever: their pictures are known after the first round."""
    asked = [(one, ask) for one in load_samples() for ask in one.suggestions if ask.task in FIELDS]
    for sample, ask in itertools.cycle(asked):
        path, name = FIELDS[ask.task]
        yield path, {name: ask.text, "picture": sample.name}, {}


def new_pictures(first: int = 0) -> Iterator[Question]:
    """Questions about pictures that were never seen, for ever."""
    opened = [Image.open(one.path).convert("RGB") for one in load_samples()]
    for n in itertools.count(first):
        image = opened[n % len(opened)].copy()
        image.paste(tuple(np.random.default_rng(n).integers(0, 256, 3).tolist()), (0, 0, 16, 16))
        file = io.BytesIO()
        image.save(file, "JPEG", quality=90)
        yield "ask", {"question": "How many things are there?"}, {"image": file.getvalue()}


def at_hand(questions: Iterator[Question], count: int = 400) -> Iterator[Question]:
    """The same, the first so many made beforehand: making them would slow the clients down."""
    return itertools.chain(list(itertools.islice(questions, count)), questions)


def large(n: int) -> Question:
    small = np.random.default_rng(n).integers(0, 256, (30, 40, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(small).resize((4000, 3000), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    return "ask", {"question": "How many things are there?"}, {"image": file.getvalue()}


async def load(address: str, questions: Iterator[Question], clients: int, goes_on: Callable[[int], bool]) -> Came:
    """So many clients ask, each one question after the other, as long as ``goes_on(questions asked)``."""
    came, asked = Came(), itertools.count()
    begun = time.perf_counter()

    async def one(client: httpx2.AsyncClient) -> None:
        while goes_on(next(asked)):
            path, form, files = next(questions)
            sent = time.perf_counter()
            got = await client.post(f"{address}/v1/{path}", data=form, files=files)
            came.seconds.append(time.perf_counter() - sent)
            came.statuses[got.status_code] += 1
            if got.status_code == 200:
                came.stages.append(got.json()["seconds"])
            elif got.status_code == 503:
                await asyncio.sleep(0.05)  # less patient than Retry-After asks for

    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx2.AsyncClient(timeout=TIMEOUT, limits=limits, trust_env=False) as client:
        await asyncio.gather(*(one(client) for _ in range(clients)))
    came.took = time.perf_counter() - begun
    return came


def for_seconds(seconds: float) -> Callable[[int], bool]:
    end = time.perf_counter() + seconds
    return lambda _: time.perf_counter() < end


def figure(address: str, name: str) -> float:
    lines = httpx2.get(f"{address}/metrics", trust_env=False).text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.split("{")[0].split(" ")[0] == name)


def by_stage(address: str) -> None:
    head = " | ".join(STAGES)
    print(f"| one client, medians in ms | whole | {head} | server's CPU, mean |\n|---|---|---|---|---|---|---|")
    same = large(0)
    again: Question = (same[0], {"question": "Is it dark?"}, same[2])
    kinds: dict[str, tuple[Iterator[Question], int]] = {
        "first question on a new picture, 256 x 256": (new_pictures(), 40),
        "follow-up, by the picture's digest": (followups(), 80),
        "first question on a new photograph, 4,000 x 3,000": (iter([same, *(large(n) for n in range(1, 8))]), 8),
        "follow-up, the same large file sent again": (itertools.repeat(again), 20),
    }
    for name, (questions, count) in kinds.items():
        before = figure(address, CPU)
        came = asyncio.run(load(address, questions, 1, lambda n, count=count: n < count))  # type: ignore[misc]
        cpu = 1000 * (figure(address, CPU) - before) / count
        stages = [1000 * float(np.median([one[stage] for one in came.stages])) for stage in STAGES]
        cells = " | ".join(f"{stage:.1f}" for stage in stages)
        print(f"| {name} | {1000 * float(np.median(came.seconds)):.0f} | {cells} | {cpu:.0f} |", flush=True)


def under_load(address: str, seconds: float) -> None:
    head = (
        "| clients | questions | answers/s | p50 ms | p95 ms | p99 ms | in a batch | server's CPU ms each | not 200 |"
    )
    print(f"\n{head}\n|---|---|---|---|---|---|---|---|---|")
    first = 10_000
    for clients in (1, 8, 64):
        kinds = {"follow-ups": followups(), "new pictures": at_hand(new_pictures(first * clients))}
        for kind, questions in kinds.items():
            before = [figure(address, name) for name in COUNTED]
            came = asyncio.run(load(address, questions, clients, for_seconds(seconds)))
            answered, batches, cpu = (figure(address, name) - then for name, then in zip(COUNTED, before, strict=True))
            other = came.statuses.total() - came.statuses[200]
            cells = f"{came.row()} | {answered / batches:.1f} | {1000 * cpu / answered:.1f} | {other}"
            print(f"| {clients} | {kind} | {cells} |", flush=True)


def overload(model: str, seconds: float) -> None:
    with running(model, "max_queue=16") as address:
        print("\n| 200 clients, new pictures, a queue of 16 | 200 | 503 | other | longest, s | resident, MB |")
        print("|---|---|---|---|---|---|")
        for wave in range(5):
            questions = at_hand(new_pictures(1_000_000 * (wave + 1)))
            came = asyncio.run(load(address, questions, 200, for_seconds(seconds)))
            other = came.statuses.total() - came.statuses[200] - came.statuses[503]
            resident = figure(address, "process_resident_memory_bytes") / 1e6
            cells: list[Any] = [came.statuses[200], came.statuses[503], other, f"{max(came.seconds):.1f}"]
            print(f"| wave {wave + 1} | {' | '.join(map(str, cells))} | {resident:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="")
    parser.add_argument("--seconds", type=float, default=8.0)
    asked = parser.parse_args()
    print(f"load of the machine before: {os.getloadavg()[0]:.1f}\n")
    with running(asked.model) as address:
        by_stage(address)
        under_load(address, asked.seconds)
    overload(asked.model, asked.seconds)


if __name__ == "__main__":
    main()
