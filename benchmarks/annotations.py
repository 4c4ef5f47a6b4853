"""Measure the time and memory that preparing the official annotation files takes, at their full size.

    python -m benchmarks.annotations FOLDER [TASK ...] [--fraction 1.0]

Writes a dataset's files to FOLDER (``benchmarks.full_size``), and in a separate process does what ``twelvefold
prepare`` does without regions: makes the tables, which reads every split once, then decides what is cleaned (by ids)
and selects rows, which reads the tables. It prints a line and removes the folder. GQA is read with the questions for
consistency. Times are processor seconds of that process, all threads together, because wall time depends on the other
load of the machine. Next to them is the ratio to the time in which Python alone reads the same files (``json``,
``pickle``, ``gzip``, without using their contents), measured just before in a separate process: a ratio that is
comparable between machines.
"""

from __future__ import annotations

import argparse
import gzip
import json
import pickle
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.full_size import WRITERS, Words

OPTIONS: dict[str, dict[str, Any]] = {"gqa": {"consistency": True}}
"""Reader options with which a dataset has the most examples."""


def read_plainly(folder: Path) -> None:
    """Read a dataset's files with the standard library only, and print the seconds that it took."""
    started = time.process_time()
    for path in (path for path in (folder / "data").rglob("*") if path.is_file()):
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        if path.suffix == ".p":
            pickle.loads(data)  # noqa: S301 - written by this program
        else:  # one value, or one on each line
            for line in data.splitlines():
                json.loads(line)
    print(time.process_time() - started)


def measure(folder: Path, task: str) -> None:
    """Prepare one dataset and print counts, seconds and gigabytes as JSON."""
    from twelvefold.config.recipe import DataConfig, TaskConfig
    from twelvefold.preparation.prepare import prepare

    lists = {}
    if task == "vgqa":  # it uses VQA's answer list; the published one has 3,129 answers
        lists["vqav2"] = folder / "answers.json"
        lists["vqav2"].write_text(json.dumps([f"answer {n}" for n in range(3129)]))
    options = OPTIONS.get(task, {})
    started = time.process_time()
    tasks = {task: TaskConfig(options=options)}
    prepare(folder / "data", None, folder / "out", tasks, DataConfig(clean="none"), answer_lists=lists)
    tables_done = time.process_time()
    summary = prepare(folder / "data", None, folder / "out", tasks, DataConfig(clean="ids"), answer_lists=lists)
    counts = [counts.read for counts in summary.counts[task].values()]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(json.dumps([counts, tables_done - started, time.process_time() - tables_done, memory]))


def run_in_process(function: str, folder: Path, task: str) -> Any:
    """Return what :func:`read_plainly` or :func:`measure` prints, run in a separate process."""
    command = [sys.executable, "-m", "benchmarks.annotations", str(folder), task, "--function", function]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603 - this program
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("tasks", nargs="*", default=list(WRITERS), metavar="TASK")
    parser.add_argument("--fraction", type=float, default=1.0, help="fraction of the true number of records")
    parser.add_argument("--keep", action="store_true", help="keep the files, and use existing ones")
    parser.add_argument("--function", choices=("measure", "plain"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.function:
        measure(arguments.folder, arguments.tasks[0]) if arguments.function == "measure" else read_plainly(
            arguments.folder
        )
        return
    for task in arguments.tasks:
        folder = arguments.folder / task
        if not folder.exists():
            shutil.rmtree(arguments.folder / "half", ignore_errors=True)  # from an interrupted run
            WRITERS[task](arguments.folder / "half" / "data", Words(seed=0), arguments.fraction)
            (arguments.folder / "half").rename(folder)
        shutil.rmtree(folder / "out", ignore_errors=True)
        size = sum(path.stat().st_size for path in (folder / "data").rglob("*") if path.is_file())
        plain_seconds = run_in_process("plain", folder, task)
        counts, tables, cleaning, memory = run_in_process("measure", folder, task)
        read = " + ".join(f"{count:,}" for count in counts)
        seconds = f"{tables:.0f} s | {cleaning:.0f} s | {(tables + cleaning) / plain_seconds:.1f}"
        print(f"| {task} | {size / 1e6:,.0f} MB | {read} | {seconds} | {memory:.1f} GB |", flush=True)
        if not arguments.keep:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
