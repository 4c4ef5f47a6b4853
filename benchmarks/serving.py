"""Measure a server over loopback: latency by stage, throughput with 1, 8 and 64 clients, and overload.

    python benchmarks/serving.py [--model RUN] [--seconds 8]

Start ``twelvefold serve`` in a process of its own, send requests from this process, and print the tables of
docs/serving.md. Clients and server share the machine's cores, so a separate client would measure higher throughput.
Questions are those of the samples (vqav2, refcoco, snli_ve); new images are the samples with a corner in a random color
(seed 0), so that they are not cached. The large image is 4,000 x 3,000 pixels of smooth noise.
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
BATCH_METRICS = ("twelvefold_batch_size_sum", "twelvefold_batch_size_count", CPU)
TIMEOUT = 60.0
Question = tuple[str, dict[str, str], dict[str, bytes]]
"""Path, fields and files of a request."""


@dataclass
class LoadResult:
    """The seconds and status of each request, and the stages of those with status 200."""

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    stages: list[dict[str, float]] = field(default_factory=list)
    wall_seconds: float = 0.0

    def row(self) -> str:
        p50, p95, p99 = (1000 * np.percentile(self.seconds, share) for share in (50, 95, 99))
        return f"{self.statuses[200] / self.wall_seconds:.0f} | {p50:.0f} | {p95:.0f} | {p99:.0f}"


@contextmanager
def start_server(model: str, *settings: str) -> Iterator[str]:
    """Run a server while the block runs, and yield its address."""
    command = [sys.executable, "-m", "twelvefold", "serve", "--port", "0", "--json"]
    command += [
        f"--set={setting}" for setting in (*settings, "log_level=warning", *([f"model={model}"] if model else []))
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})  # noqa: S603
    try:
        output = ""
        while not output.endswith("\n}\n"):
            line = process.stdout.readline() if process.stdout else ""
            if not line:
                raise SystemExit("the server did not start")
            output += line
        yield json.loads(output)["address"]
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def followups() -> Iterator[Question]:
    """Yield questions about the samples without end; their images are cached after the first round."""
    questions = [(sample, s) for sample in load_samples() for s in sample.suggestions if s.task in FIELDS]
    for sample, suggestion in itertools.cycle(questions):
        path, name = FIELDS[suggestion.task]
        yield path, {name: suggestion.text, "picture": sample.name}, {}


def new_images(first: int = 0) -> Iterator[Question]:
    """Yield questions about images that are not cached, without end."""
    opened = [Image.open(sample.path).convert("RGB") for sample in load_samples()]
    for n in itertools.count(first):
        image = opened[n % len(opened)].copy()
        image.paste(tuple(np.random.default_rng(n).integers(0, 256, 3).tolist()), (0, 0, 16, 16))
        file = io.BytesIO()
        image.save(file, "JPEG", quality=90)
        yield "ask", {"question": "How many things are there?"}, {"image": file.getvalue()}


def precompute(questions: Iterator[Question], count: int = 400) -> Iterator[Question]:
    """Return the same questions, the first ``count`` made in advance, so that clients do not wait for them."""
    return itertools.chain(list(itertools.islice(questions, count)), questions)


def large_image(n: int) -> Question:
    small = np.random.default_rng(n).integers(0, 256, (30, 40, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(small).resize((4000, 3000), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    return "ask", {"question": "How many things are there?"}, {"image": file.getvalue()}


async def run_clients(
    address: str, questions: Iterator[Question], num_clients: int, should_continue: Callable[[int], bool]
) -> LoadResult:
    """Let each client send one question after another while ``should_continue(questions sent)``."""
    result, num_sent = LoadResult(), itertools.count()
    start = time.perf_counter()

    async def run_client(client: httpx2.AsyncClient) -> None:
        while should_continue(next(num_sent)):
            path, form, files = next(questions)
            sent = time.perf_counter()
            got = await client.post(f"{address}/v1/{path}", data=form, files=files)
            result.seconds.append(time.perf_counter() - sent)
            result.statuses[got.status_code] += 1
            if got.status_code == 200:
                result.stages.append(got.json()["seconds"])
            elif got.status_code == 503:
                await asyncio.sleep(0.05)  # sooner than Retry-After says

    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx2.AsyncClient(timeout=TIMEOUT, limits=limits, trust_env=False) as client:
        await asyncio.gather(*(run_client(client) for _ in range(num_clients)))
    result.wall_seconds = time.perf_counter() - start
    return result


def for_seconds(seconds: float) -> Callable[[int], bool]:
    end = time.perf_counter() + seconds
    return lambda _: time.perf_counter() < end


def read_metric(address: str, name: str) -> float:
    lines = httpx2.get(f"{address}/metrics", trust_env=False).text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.split("{")[0].split(" ")[0] == name)


def measure_stages(address: str) -> None:
    head = " | ".join(STAGES)
    print(f"| one client, medians in ms | whole | {head} | server's CPU, mean |\n|---|---|---|---|---|---|---|")
    first = large_image(0)
    again: Question = (first[0], {"question": "Is it dark?"}, first[2])
    cases: dict[str, tuple[Iterator[Question], int]] = {
        "first question on a new image, 256 x 256": (new_images(), 40),
        "follow-up, by the image's digest": (followups(), 80),
        "first question on a new photograph, 4,000 x 3,000": (iter([first, *(large_image(n) for n in range(1, 8))]), 8),
        "follow-up, the same large file sent again": (itertools.repeat(again), 20),
    }
    for name, (questions, count) in cases.items():
        before = read_metric(address, CPU)
        result = asyncio.run(run_clients(address, questions, 1, lambda n, count=count: n < count))  # type: ignore[misc]
        cpu = 1000 * (read_metric(address, CPU) - before) / count
        stages = [1000 * float(np.median([stages[stage] for stages in result.stages])) for stage in STAGES]
        cells = " | ".join(f"{stage:.1f}" for stage in stages)
        print(f"| {name} | {1000 * float(np.median(result.seconds)):.0f} | {cells} | {cpu:.0f} |", flush=True)


def measure_throughput(address: str, seconds: float) -> None:
    head = (
        "| clients | questions | answers/s | p50 ms | p95 ms | p99 ms | in a batch | server's CPU ms each | not 200 |"
    )
    print(f"\n{head}\n|---|---|---|---|---|---|---|---|---|")
    first_image = 10_000
    for clients in (1, 8, 64):
        cases = {"follow-ups": followups(), "new images": precompute(new_images(first_image * clients))}
        for case, questions in cases.items():
            before = [read_metric(address, name) for name in BATCH_METRICS]
            result = asyncio.run(run_clients(address, questions, clients, for_seconds(seconds)))
            answered, batches, cpu = (
                read_metric(address, name) - then for name, then in zip(BATCH_METRICS, before, strict=True)
            )
            other = result.statuses.total() - result.statuses[200]
            cells = f"{result.row()} | {answered / batches:.1f} | {1000 * cpu / answered:.1f} | {other}"
            print(f"| {clients} | {case} | {cells} |", flush=True)


def measure_overload(model: str, seconds: float) -> None:
    with start_server(model, "max_queue=16") as address:
        print("\n| 200 clients, new images, a queue of 16 | 200 | 503 | other | longest, s | resident, MB |")
        print("|---|---|---|---|---|---|")
        for wave in range(5):
            questions = precompute(new_images(1_000_000 * (wave + 1)))
            result = asyncio.run(run_clients(address, questions, 200, for_seconds(seconds)))
            other = result.statuses.total() - result.statuses[200] - result.statuses[503]
            resident = read_metric(address, "process_resident_memory_bytes") / 1e6
            cells: list[Any] = [result.statuses[200], result.statuses[503], other, f"{max(result.seconds):.1f}"]
            print(f"| wave {wave + 1} | {' | '.join(map(str, cells))} | {resident:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="")
    parser.add_argument("--seconds", type=float, default=8.0)
    arguments = parser.parse_args()
    print(f"load average before: {os.getloadavg()[0]:.1f}\n")
    with start_server(arguments.model) as address:
        measure_stages(address)
        measure_throughput(address, arguments.seconds)
    measure_overload(arguments.model, arguments.seconds)


if __name__ == "__main__":
    main()
