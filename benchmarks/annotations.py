"""How long the official annotation files take to become tables, and how much memory, at their full size.

    python -m benchmarks.annotations FOLDER [TASK ...] [--share 1.0]

Writes a dataset's files to FOLDER (``benchmarks.full_size``), prepares them in a process of its own as
``twelvefold prepare`` does, without regions and cleaned by ids, prints a line, and removes both again. GQA is read with
the questions that consistency needs, and once more as the server's submission file is. Wall seconds mean little on a
machine that does other things; processor seconds are of the one process.
"""

from __future__ import annotations

import argparse
import json
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


def measure(folder: Path, task: str) -> None:
    """Prepare one dataset in this process and print what it took as JSON."""
    from twelvefold.prepare import prepare

    lists = {}
    if task == "vgqa":  # which predicts from VQA's answer list; the published one has 3,129 answers
        lists["vqav2"] = folder / "answers.json"
        lists["vqav2"].write_text(json.dumps([f"answer {n}" for n in range(3129)]))
    options = {task: OPTIONS[task]} if task in OPTIONS else {}
    started = time.monotonic()
    done = prepare(
        folder / "data", None, folder / "out", tasks=[task], clean="ids", reader_options=options, answer_lists=lists
    )
    used = resource.getrusage(resource.RUSAGE_SELF)
    counts = {split: counts.read for split, counts in done.counts[task].items()}
    print(json.dumps([counts, time.monotonic() - started, used.ru_utime + used.ru_stime, used.ru_maxrss / 1e6]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("tasks", nargs="*", default=list(WRITERS), metavar="TASK")
    parser.add_argument("--share", type=float, default=1.0, help="of the true number of records")
    parser.add_argument("--keep", action="store_true", help="leave the files where they are, and use those that are")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        measure(asked.folder, asked.tasks[0])
        return
    for task in asked.tasks:
        folder = asked.folder / task
        if not folder.exists():
            WRITERS[task](folder / "data", Words(seed=0), asked.share)
        shutil.rmtree(folder / "out", ignore_errors=True)
        size = sum(path.stat().st_size for path in (folder / "data").rglob("*") if path.is_file())
        command = [sys.executable, "-m", "benchmarks.annotations", str(folder), task, "--measure"]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603 - this program
        counts, wall, processor, memory = json.loads(done.stdout)
        read = " + ".join(f"{count:,}" for count in counts.values())
        print(
            f"| {task} | {size / 1e6:,.0f} MB | {read} | {wall:.0f} | {processor:.0f} | {memory:.1f} GB |", flush=True
        )
        if not asked.keep:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
