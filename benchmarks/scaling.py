"""Compute how training, extraction and hashing scale to many processes, and check by simulation what can be checked.

    python -m benchmarks.scaling                # the tables of docs/scaling.md, computed in seconds
    python -m benchmarks.scaling --simulate     # also counts kernels and plans the blocks of a million images

Operations are those of ``training_time.py``; bytes of gradients are counted on the model's own parameters. Rates of
GPUs and networks are assumptions. Nothing of a GPU is measured here.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections import Counter
from dataclasses import dataclass
from functools import cache
from typing import Any

import msgspec
import torch
from benchmarks.training_time import recipe_operations, step_operations
from benchmarks.workload import TASKS, make_model, random_batch
from torch.utils._python_dispatch import TorchDispatchMode

from twelvefold.config.model import preset
from twelvefold.config.recipe import Recipe
from twelvefold.datasets import load_dataset
from twelvefold.families import load_family
from twelvefold.features.block_plan import plan_blocks
from twelvefold.model import Model
from twelvefold.schema import TaskSpec

RECIPE = "paper/multi_task"
RATE = 312e12 * 0.25
"""Operations per second of an A100 in bfloat16 at a quarter of its peak, as in docs/table-2.md."""
KERNELS, KERNEL_SECONDS = 3250, 5e-6
"""Kernels of a training step at the published depth (``--simulate`` counts them), and the host's time for each."""
GPUS = (1, 8, 64)
GPUS_PER_NODE = 8
FACTORS = (1, 8)
"""Multiples of the paper's batch sizes."""
FEATURE_BYTES = 101 * 2048 * 2
IMAGES = 100_000_000


@dataclass(frozen=True)
class Network:
    """``node_bytes``: bytes per second between two nodes, all cards together, at 60 % of the peak."""

    name: str
    node_bytes: float


NVLINK = 230e9
"""Bytes per second between the GPUs of a node (A100: 300 GB/s in each direction at most)."""
NETWORKS = (Network("8 x 200 Gbit/s", 8 * 25e9 * 0.6), Network("100 Gbit/s", 12.5e9 * 0.6))


@cache
def published_model() -> Model:
    """Return the published model without memory for its weights."""
    with torch.device("meta"):
        return make_model("published")


def gradient_bytes(head: str, bytes_per_number: int = 4) -> int:
    """Return the bytes of gradients that a step of a task exchanges: the trunk and the task's own head."""
    model = published_model()
    modules = (model.trunk, model.heads[head])
    return bytes_per_number * sum(p.numel() for module in modules for p in module.parameters())


def exchange_seconds(num_bytes: int, gpus: int, network: Network) -> float:
    """Return the time of a ring all-reduce: each GPU, and each node, sends and receives 2 (n - 1) / n of the bytes."""
    rate = NVLINK if gpus <= GPUS_PER_NODE else min(NVLINK, network.node_bytes)
    return 2 * (gpus - 1) / gpus * num_bytes / rate


@dataclass(frozen=True)
class Round:
    """A round over all tasks. Seconds: of matrix products, of them all with the kernels' launches and the exchange that
    the backward pass does not hide. ``feature_bytes``: that a GPU reads."""

    products: float
    total: float
    feature_bytes: float
    least_examples: float


def simulate_round(gpus: int, factor: int, network: Network, *, bf16_gradients: bool) -> Round:
    """Add up the steps of a round. An exchange overlaps with the backward pass, two thirds of a step."""
    config, products, total, features, least = preset("vilbert_base"), 0.0, 0.0, 0.0, float("inf")
    for task in tasks():
        seconds = factor * step_operations(config, task) / gpus / RATE
        step = max(seconds, KERNELS * KERNEL_SECONDS)
        exchange = exchange_seconds(gradient_bytes(task.head, 2 if bf16_gradients else 4), gpus, network)
        products += seconds
        total += step + max(0.0, exchange - 2 / 3 * step)
        pairs = 1 if load_family(task.family).searches_images else task.pairs_per_example
        features += factor * task.batch_size * pairs * FEATURE_BYTES / gpus
        least = min(least, factor * task.batch_size / gpus)
    return Round(products, total, features, least)


def tasks() -> list[TaskSpec]:
    """Return the tasks of the paper's recipe."""
    return Recipe.load(RECIPE).task_specs(lambda name: load_dataset(name).TASK)


def training_table(*, bf16_gradients: bool) -> str:
    """Return the table of a round of training as Markdown. Efficiency: against a GPU at the same batches."""
    lines = [
        "| batches | GPUs | between nodes | least examples of a GPU | products | round | efficiency | features read |",
        "|---" * 8 + "|",
    ]
    for factor in FACTORS:
        single = simulate_round(1, factor, NETWORKS[0], bf16_gradients=bf16_gradients).total
        for gpus in GPUS:
            for network in NETWORKS[: 2 if gpus > GPUS_PER_NODE else 1]:
                result = simulate_round(gpus, factor, network, bf16_gradients=bf16_gradients)
                between = network.name if gpus > GPUS_PER_NODE else "-"
                cells = (
                    f"paper's x {factor}" if factor > 1 else "the paper's",
                    gpus,
                    between,
                    f"{result.least_examples:g}",
                    f"{result.products:.2f} s",
                    f"{result.total:.2f} s",
                    f"{single / gpus / result.total:.0%}",
                    f"{result.feature_bytes / result.total / 1e9:.2f} GB/s",
                )
                lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def facts() -> str:
    """Return the sizes behind the table."""
    heads = {name: gradient_bytes(name) for name in dict.fromkeys(task.head for task in tasks())}
    trunk = 4 * sum(p.numel() for p in published_model().trunk.parameters())
    rounds, operations = recipe_operations(RECIPE)
    return (
        f"trunk {trunk / 1e9:.2f} GB of gradients; with a head {min(heads.values()) / 1e9:.2f} to "
        f"{max(heads.values()) / 1e9:.2f} GB; weights, gradients and AdamW's moments together {4 * trunk / 1e9:.1f} "
        f"GB; a round {operations / rounds:.1e} operations in {len(tasks())} steps"
    )


class CountKernels(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Count the operators that compute something, each at least a kernel on a GPU; views cost none."""

    VIEWS = (
        "view",
        "reshape",
        "expand",
        "permute",
        "transpose",
        "slice",
        "select",
        "t.",
        "detach",
        "unsqueeze",
        "split",
    )

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counts = Counter[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func).removeprefix("aten.")
        if not name.startswith(self.VIEWS):
            self.counts[name] += 1
        return func(*args, **(kwargs or {}))


def count_kernels() -> dict[str, int]:
    """Return the operators of a forward and backward pass by task, at the published depth and a small width."""
    narrow = {"text_hidden_size": 48, "image_hidden_size": 64, "bi_hidden_size": 64, "head_hidden_size": 64}
    narrow |= {"text_ffn_dim": 48, "image_ffn_dim": 64, "feature_size": 64, "vocab_size": 2000}
    full = make_model("small")
    config = preset("vilbert_base", **narrow)
    model = Model(config, list(full.tasks.values()), list(full.head_specs.values())).train()
    result = {}
    for task in TASKS:
        batch = random_batch(model, task, [(9, 38), (7, 20)] * model.tasks[task].pairs_per_example)
        with CountKernels() as counter:
            torch.autograd.backward(model(batch).sum())
        result[task] = sum(counter.counts.values())
    return result


def plan_seconds(num_images: int) -> tuple[float, float, int]:
    """Plan the blocks of an extraction: seconds of a processor, GB of memory, and bytes of plan.json."""
    identities: dict[str, Any] = {f"{number:032x}": None for number in range(num_images)}
    started = time.process_time()
    plan = plan_blocks(identities, None, lambda _: False, 256)
    size = len(msgspec.json.encode(plan))
    seconds = time.process_time() - started
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulate", action="store_true")
    arguments = parser.parse_args()
    print(facts())
    for bf16 in (False, True):
        print(f"\nGradients exchanged in {'bf16' if bf16 else 'fp32'}:\n\n{training_table(bf16_gradients=bf16)}")
    if arguments.simulate:
        print("\noperators of a step:", count_kernels())
        for count in (100_000, 1_000_000):
            seconds, memory, size = plan_seconds(count)
            print(
                f"plan of {count:,} images: {seconds:.1f} s, {memory:.2f} GB of memory, plan.json {size / 1e6:.0f} MB"
            )


if __name__ == "__main__":
    main()
