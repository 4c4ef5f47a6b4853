"""Time one round of the demo's twelve tasks: this version and another checkout, turn by turn.

    python -m benchmarks.small_round runs/demo --other ../earlier

Needs Linux. Each version trains the recipe ``demo`` by its own command, with its own data: RUN, and ``runs/demo`` of
the other checkout (or ``--other-run``), are folders that ``make demo`` wrote. A turn starts the training in one process
with one thread, waits for the second round, and measures the processor time until ``--iterations`` rounds later; then
it stops the training. Loading, validation and checkpoints are therefore not measured; making batches is. Where the two
recipes have batches of other sizes, times are those of 64 image-text pairs of every task.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

from benchmarks.side_by_side import Phase, Report, Work, argument_parser
from benchmarks.training import UPDATE_BYTES
from benchmarks.workload import fused_operations

from twelvefold.config.recipe import Recipe
from twelvefold.data.region_inputs import RegionSource
from twelvefold.data.task_batches import TaskBatches
from twelvefold.model import Model
from twelvefold.store.prepared import Prepared

WARM_UP_ROUNDS = 2
START_SECONDS = 600.0
"""Time for a training to reach its first rounds."""
PAIRS = 64
"""Image-text pairs of a task's batch, for which times are stated: those of the recipe ``demo`` of version 0.1."""
RECIPE_CHANGES = ((r"\bprocesses = 2", "processes = 1"),)
"""Changes to the recipe ``demo``, as regular expressions."""


def training(checkout: Path, run: Path, folder: Path) -> subprocess.Popen[bytes]:
    """Start the training of a checkout, with the tables and regions of ``run``, in the new folder ``folder``."""
    environment = os.environ | {"PYTHONPATH": str(checkout / "src"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "twelvefold"]
    recipe = subprocess.run(  # noqa: S603 - the benchmarked program
        [*command, "recipes", "demo"], env=environment, capture_output=True, text=True, check=True
    ).stdout
    for pattern, replacement in RECIPE_CHANGES:
        recipe = re.sub(pattern, replacement, recipe)
    (folder / "demo.toml").write_text(recipe, encoding="utf-8")
    data = ["--prepared", str(run / "prepared"), "--regions", str(run / "regions")]
    with (folder / "output.txt").open("wb") as output:
        return subprocess.Popen(  # noqa: S603 - the benchmarked program
            [*command, "train", str(folder / "demo.toml"), str(folder / "run"), *data],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
        )


def seconds_per_round(checkout: Path, run: Path, rounds: int) -> float:
    """Return the processor seconds that ``PAIRS`` pairs of every task take in a checkout's training, a mean over
    ``rounds``."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        process = training(checkout, run, folder)
        try:
            start = wait_for_round(process, folder, WARM_UP_ROUNDS)
            seconds = wait_for_round(process, folder, WARM_UP_ROUNDS + rounds) - start
            return seconds / rounds * PAIRS / batch_size(folder / "demo.toml")
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def batch_size(recipe: Path) -> int:
    """Return the number of pairs in a batch of a recipe for one image a text."""
    return int(tomllib.loads(recipe.read_text(encoding="utf-8"))["every_task"]["batch_size"])


def wait_for_round(process: subprocess.Popen[bytes], folder: Path, number: int) -> float:
    """Wait until a round is logged and return the processor seconds of the process and its children until then."""
    events, deadline = folder / "run" / "events.jsonl", time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            output = (folder / "output.txt").read_text(encoding="utf-8", errors="replace")
            raise SystemExit(f"the training ended early:\n{output[-2000:]}")
        if events.exists() and completed_rounds(events) >= number:
            return processor_seconds(process.pid)
        time.sleep(0.02)
    raise SystemExit(f"round {number} was not reached in {START_SECONDS:.0f} s")


def completed_rounds(events: Path) -> int:
    """Return the last round in an event log."""
    lines = events.read_text(encoding="utf-8").splitlines(keepends=True)
    steps = [json.loads(line) for line in lines if line.endswith("\n") and '"step"' in line]
    return int(steps[-1]["iteration"]) if steps else 0


def processor_seconds(pid: int) -> float:
    """Return the processor seconds of a process and its children, as Linux counts them."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    ticks = sum(int(field) for field in fields[11:15])  # its own, and those of children that have ended
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
    return ticks / os.sysconf("SC_CLK_TCK") + sum(processor_seconds(int(child)) for child in children)


def main() -> None:
    parser: argparse.ArgumentParser = argument_parser(__doc__, rounds=3)
    parser.add_argument("run", type=Path, help="a folder that `make demo` of this version wrote")
    parser.add_argument("--other", type=Path, required=True, help="the other checkout")
    parser.add_argument("--other-run", type=Path, help="its demo's folder (default: runs/demo in it)")
    parser.add_argument("--iterations", type=int, default=8, help="measured rounds of a turn (default 8, at most 20)")
    arguments = parser.parse_args()
    other: Path = arguments.other.resolve()
    versions = {
        f"other, {commit(other)}": (other, (arguments.other_run or other / "runs" / "demo").resolve()),
        "twelvefold": (Path(__file__).resolve().parents[1], arguments.run.resolve()),
    }
    report = Report("small_round", arguments, unit="round of 64 pairs")
    seconds: dict[str, list[float]] = {name: [] for name in versions}
    for turn in range(arguments.rounds):
        for name in [*versions][:: -1 if turn % 2 else 1]:
            seconds[name].append(seconds_per_round(*versions[name], min(arguments.iterations, 20)))
    phases = round_phases(arguments.run)
    works = [Work(name, lambda: None, phases=phases if name == "twelvefold" else ()) for name in versions]
    report.add_measured("demo, twelve tasks, one process", works, seconds)
    report.write()


def round_phases(run: Path) -> tuple[Phase, ...]:
    """Return what a round of this version needs at least: products over real rows, and the bytes of its updates.

    Counted on the first batch of every task.
    """
    recipe = Recipe.load_run(run)
    prepared, source = Prepared.open(run / "prepared"), RegionSource.open(run / "regions")
    specs = [
        dataclasses.replace(spec, batch_size=spec.batch_size * PAIRS // (recipe.every_task.batch_size or PAIRS))
        for spec in recipe.task_specs(prepared.task)
    ]
    config = recipe.model_config(feature_size=source.feature_size)
    batches = [TaskBatches.open(prepared, source, spec, "train").train_batch(0) for spec in specs]
    operations = sum(3.0 * fused_operations(config, batch) for batch in batches)
    parameters = sum(p.numel() for p in Model.load(run / "checkpoints" / "latest").parameters())
    return Phase(operations), Phase(bytes_moved=float(UPDATE_BYTES * parameters * len(specs)))


def commit(checkout: Path) -> str:
    """Return the commit of a checkout, or its folder's name without git."""
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - a fixed command
    return result.stdout.strip() or checkout.name


if __name__ == "__main__":
    main()
