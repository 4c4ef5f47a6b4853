"""How long the official annotation files take to become tables, and how much memory, at their full size.

    python -m benchmarks.annotations FOLDER [TASK ...] [--share 1.0]

Writes a dataset's files to FOLDER (``benchmarks.full_size``), and in a process of its own does what ``twelvefold
prepare`` does without regions: decides what is cleaned (by ids), which reads every split once, and makes the tables,
which reads them again. It prints a line and removes both folders. GQA is read with the questions that consistency
needs. Seconds are the process's own processor time, all threads together: wall time says little of a machine that does
other things. Beside them stands how often in that time Python alone could have read the same files (``json``,
``pickle``, ``gzip``, without looking at what they hold), measured just before in a process of its own: a number that
says the same on a quick machine and on a slow one.
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
"""Options of readers that make a dataset as large as it gets."""


def plain(folder: Path) -> None:
    """Read a dataset's files in this process with what Python has, and print the seconds that it took."""
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
    """Prepare one dataset in this process and print what it took as JSON."""
    from twelvefold.preparation.prepare import prepare
    from twelvefold.splits.clean import clean

    lists = {}
    if task == "vgqa":  # which predicts from VQA's answer list; the published one has 3,129 answers
        lists["vqav2"] = folder / "answers.json"
        lists["vqav2"].write_text(json.dumps([f"answer {n}" for n in range(3129)]))
    options = {task: OPTIONS[task]} if task in OPTIONS else {}
    started = time.process_time()
    decided = clean(folder / "data", folder / "out", policy="ids", tasks={task: OPTIONS.get(task, {})})
    between = time.process_time()
    done = prepare(
        folder / "data",
        None,
        folder / "out",
        tasks=[task],
        clean="ids",
        clean_manifest=decided.manifest,
        reader_options=options,
        answer_lists=lists,
    )
    counts = [counts.read for counts in done.counts[task].values()]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(json.dumps([counts, between - started, time.process_time() - between, memory]))


def inside(what: str, folder: Path, task: str) -> Any:
    """What :func:`plain` or :func:`measure` prints, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.annotations", str(folder), task, "--inside", what]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603 - this program
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("tasks", nargs="*", default=list(WRITERS), metavar="TASK")
    parser.add_argument("--share", type=float, default=1.0, help="of the true number of records")
    parser.add_argument("--keep", action="store_true", help="leave the files where they are, and use those that are")
    parser.add_argument("--inside", choices=("measure", "plain"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.inside:
        measure(asked.folder, asked.tasks[0]) if asked.inside == "measure" else plain(asked.folder)
        return
    for task in asked.tasks:
        folder = asked.folder / task
        if not folder.exists():
            shutil.rmtree(asked.folder / "half", ignore_errors=True)  # of a run that was broken off
            WRITERS[task](asked.folder / "half" / "data", Words(seed=0), asked.share)
            (asked.folder / "half").rename(folder)
        shutil.rmtree(folder / "out", ignore_errors=True)
        size = sum(path.stat().st_size for path in (folder / "data").rglob("*") if path.is_file())
        alone = inside("plain", folder, task)
        counts, deciding, tables, memory = inside("measure", folder, task)
        read = " + ".join(f"{count:,}" for count in counts)
        seconds = f"{deciding:.0f} s | {tables:.0f} s | {(deciding + tables) / alone:.1f}"
        print(f"| {task} | {size / 1e6:,.0f} MB | {read} | {seconds} | {memory:.1f} GB |", flush=True)
        if not asked.keep:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
