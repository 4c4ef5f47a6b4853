"""Time several versions of the same work in one run, turn by turn, and write ratios, spreads and floors.

    report = Report("forward", arguments)
    report.add("batch 8, real lengths", [Work("plain reference", run, items=8), Work("twelvefold", run, items=8)])
    report.write()

The first work of a case is the yardstick. A round runs every work once, in an order that turns around each round, and
a product of two matrices and a sum of an array. The *floor* is what the work's operations take at that product's rate
(by the fastest implementation that PyTorch has), or what its bytes take at that sum's rate, whichever is longer. Ratios
are formed within a round and shown as their median and quartiles, so that other programs on the machine matter little.
"""

from __future__ import annotations

import argparse
import json
import platform
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import torch

from twelvefold.evaluation.machine import describe_invocation, describe_machine
from twelvefold.model.model import has_fast_bf16

PRODUCT = (512, 1024, 1024)
"""Sizes of the timed product: rows, inputs and outputs of a layer of the published image stream."""
READ_BYTES = 2**27
"""Bytes that are summed: more than the caches hold."""


@dataclass(frozen=True)
class Phase:
    """Work that can overlap: multiplications and additions of matrix products, and bytes read or written once."""

    operations: float = 0.0
    bytes_moved: float = 0.0
    precision: Literal["fp32", "bf16"] = "fp32"


@dataclass(frozen=True)
class Work:
    """One version. ``run`` computes ``items`` examples (or pairs, rows, steps); ``phases`` follow one another and are
    what it needs at least, without them no floor is shown."""

    name: str
    run: Callable[[], object]
    items: float = 1.0
    phases: tuple[Phase, ...] = ()


@dataclass
class Rates:
    """Seconds of the timed product (by precision) and of the timed sum, of every round of a run."""

    product_seconds: dict[str, list[float]] = field(default_factory=lambda: {"fp32": []})
    read_seconds: list[float] = field(default_factory=list)

    def operations_per_second(self, precision: str) -> float:
        rows, inputs, outputs = PRODUCT
        return 2.0 * rows * inputs * outputs / float(np.median(self.product_seconds[precision]))

    def bytes_per_second(self) -> float:
        return READ_BYTES / float(np.median(self.read_seconds))

    def floor(self, phases: Sequence[Phase]) -> float:
        """Return the seconds that work needs at least at these rates."""
        return sum(
            max(p.operations / self.operations_per_second(p.precision), p.bytes_moved / self.bytes_per_second())
            for p in phases
        )


def argument_parser(description: str | None, *, rounds: int = 5) -> argparse.ArgumentParser:
    """Return a parser with the options that all benchmarks have."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=("published", "small"), default="published", help="size of the model")
    parser.add_argument("--rounds", type=int, default=rounds, help=f"rounds of every case (default {rounds})")
    parser.add_argument(
        "--threads", type=int, default=1, help="threads; with one, processor time is measured, else elapsed time"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"), help="folder of the .json and .md files")
    return parser


class Report:
    """Measures cases and writes ``NAME.json`` and ``NAME.md``."""

    def __init__(self, name: str, arguments: argparse.Namespace, unit: str = "example") -> None:
        """``arguments`` of :func:`argument_parser`. ``unit``: what an item of the works is."""
        torch.set_num_threads(arguments.threads)
        self.name, self.unit, self.rounds, self.out = name, unit, arguments.rounds, arguments.out
        self.threads, self.size = arguments.threads, arguments.size
        self.clock = time.process_time if arguments.threads == 1 else time.perf_counter
        self.rates, self.cases = Rates(), list[dict[str, Any]]()
        self.largest_difference = 0.0
        """Between results of the first work and of others in float32, where a benchmark compares them."""
        self._prepare_rates()

    def add(self, case: str, works: Sequence[Work], *, warm_up: bool = True) -> dict[str, float]:
        """Measure a case, print its rows of the table and return the ratio of each work to the first, by name."""
        if warm_up:
            for work in works:
                work.run()
        seconds: dict[str, list[float]] = {work.name: [] for work in works}
        for round_number in range(self.rounds):
            self._time_rates()
            for work in works[:: -1 if round_number % 2 else 1]:
                seconds[work.name].append(self.time(work.run))
        return self.add_measured(case, works, seconds)

    def add_measured(self, case: str, works: Sequence[Work], seconds: dict[str, list[float]]) -> dict[str, float]:
        """Add a case whose seconds of every round, by name of the work, were measured elsewhere in the same run."""
        first = np.array(seconds[works[0].name]) / works[0].items
        rows, ratios = [], {}
        for work in works:
            each = np.array(seconds[work.name]) / work.items
            low, median, high = np.quantile(each, [0.25, 0.5, 0.75]).tolist()
            ratio_low, ratio, ratio_high = np.quantile(first / each, [0.25, 0.5, 0.75]).tolist()
            floor = self.rates.floor(work.phases) / work.items if work.phases else None
            ratios[work.name] = ratio
            rows.append(
                {
                    "name": work.name,
                    "seconds": median,
                    "seconds_quartiles": [low, high],
                    "per_second": 1 / median,
                    "ratio": ratio,
                    "ratio_quartiles": [ratio_low, ratio_high],
                    "floor_seconds": floor,
                    "rounds": seconds[work.name],
                }
            )
        self.cases.append({"case": case, "works": rows})
        print(
            *([] if len(self.cases) > 1 else table_head(self.unit)), *table_rows(self.cases[-1]), sep="\n", flush=True
        )
        return ratios

    def write(self) -> None:
        """Write both files and print where they are, and the machine."""
        self.out.mkdir(parents=True, exist_ok=True)
        content = {
            "benchmark": self.name,
            "size": self.size,
            "unit": self.unit,
            "threads": self.threads,
            "clock": self.clock.__name__,
            "command": shlex.join(["python", "-m", f"benchmarks.{self.name}", *sys.argv[1:]]),
            "machine": describe_machine(),
            "cpu_capability": torch.backends.cpu.get_cpu_capability(),
            "invocation": msgspec.to_builtins(describe_invocation()),
            "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
            "rates": {
                "operations_per_second": {p: self.rates.operations_per_second(p) for p in self._precisions},
                "bytes_per_second": self.rates.bytes_per_second(),
            },
            "largest_difference": self.largest_difference,
            "cases": self.cases,
        }
        path = self.out / f"{self.name}.json"
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        lines = [*table_head(self.unit), *(row for case in self.cases for row in table_rows(case))]
        description = describe(content)
        path.with_suffix(".md").write_text("\n".join([*lines, "", description, ""]), encoding="utf-8")
        print(f"\n{description}\n{path} and {path.with_suffix('.md').name} were written.")

    def time(self, run: Callable[[], object]) -> float:
        """Return the seconds of one call."""
        start = self.clock()
        run()
        return self.clock() - start

    def _prepare_rates(self) -> None:
        self._precisions = ["fp32", "bf16"] if has_fast_bf16("cpu") else ["fp32"]
        dtypes = {"fp32": torch.float32, "bf16": torch.bfloat16}
        self.rates.product_seconds = {precision: [] for precision in self._precisions}
        self._products = {precision: products(dtypes[precision]) for precision in self._precisions}
        self._array = torch.ones(READ_BYTES // 4)
        self._time_rates()
        self.rates = Rates({precision: [] for precision in self._precisions})  # the first time is a warm-up
        self._time_rates()

    def _time_rates(self) -> None:
        for precision, implementations in self._products.items():
            with torch.inference_mode():
                times = [self.time(product) for product in implementations for _ in range(3)]
            self.rates.product_seconds[precision].append(min(times))
        self.rates.read_seconds.append(self.time(self._array.sum))


def products(dtype: torch.dtype) -> list[Callable[[], object]]:
    """Return PyTorch's implementations of the timed product: its default, and oneDNN with a weight in its own order."""
    rows, inputs, outputs = PRODUCT
    x, weight = torch.randn(rows, inputs).to(dtype), torch.randn(outputs, inputs).to(dtype)
    implementations: list[Callable[[], object]] = [lambda: torch.nn.functional.linear(x, weight)]
    if hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        packed = torch.ops.mkldnn._reorder_linear_weight(weight)
        implementations.append(lambda: torch.ops.mkldnn._linear_pointwise(x, packed, None, "none", [], ""))
    return implementations


def table_head(unit: str) -> list[str]:
    """Return the first two lines of a table."""
    return [f"| case | version | ms per {unit} | ratio (quartiles) | floor, ms |", "|---|---|---|---|---|"]


def table_rows(case: dict[str, Any]) -> list[str]:
    """Return the lines of a case; the floor with the share of it that the time reaches."""
    lines = []
    for work in case["works"]:
        low, high = work["ratio_quartiles"]
        floor, seconds = work["floor_seconds"], work["seconds"]
        cell = "" if floor is None else f"{floor * 1e3:.3g} ({floor / seconds:.0%})"
        ratio = f"{work['ratio']:.2f} ({low:.2f} to {high:.2f})"
        lines.append(f"| {case['case']} | {work['name']} | {seconds * 1e3:.3g} | {ratio} | {cell} |")
    return lines


def describe(content: dict[str, Any]) -> str:
    """Return one paragraph about how the figures were measured."""
    invocation, rates = content["invocation"], content["rates"]
    measured = "processor time" if content["clock"] == "process_time" else "elapsed time"
    products = ", ".join(f"{rate / 1e9:.0f} GFLOP/s in {name}" for name, rate in rates["operations_per_second"].items())
    return (
        f"`{content['command']}`, {invocation['date']}, {measured}, {content['threads']} "
        f"thread{'s' * (content['threads'] > 1)}, {len(content['cases'][0]['works'][0]['rounds'])} rounds. "
        f"{content['machine']}; {content['cpu_capability']}; torch {content['versions']['torch']}, "
        f"twelvefold {invocation['version']} {invocation['commit']}. "
        f"Measured in the same run: matrix products {products}, reading {rates['bytes_per_second'] / 1e9:.1f} GB/s. "
        "A ratio is the first version's time over this one's; higher is faster."
    )
