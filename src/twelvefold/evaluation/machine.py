"""Describe the machine that a run used, its command and its code."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from twelvefold.evaluation.scores import Invocation
from twelvefold.schema import escape_surrogates

GIT_SECONDS = 10.0
"""Time for git to answer; on a slow disk the commit is left out rather than awaited."""


def describe_invocation() -> Invocation:
    """Return the date, this process's command, and the version and commit of the code."""
    program = Path(sys.argv[0])
    name = "twelvefold" if program.name == "__main__.py" else program.name
    return Invocation(
        date=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        command=escape_surrogates(shlex.join([name, *sys.argv[1:]])),
        version=version("twelvefold"),
        commit=_commit(Path(__file__).parent),
    )


def describe_machine() -> str:
    """Return processor, usable cores, memory and system: ``Xeon E5, 2 cores, 8 GB of memory, Linux``."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return f"{_processor()}, {cores} core{'s' if cores > 1 else ''}, {memory:.0f} GB of memory, {platform.system()}"


def _commit(folder: Path) -> str:
    """Return the commit of the repository that tracks this folder's code; empty without git or repository."""
    try:
        # A package that is installed inside another project's repository is not tracked by it.
        _git(folder, "ls-files", "--error-unmatch", __file__)
        return _git(folder, "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*")
    except (OSError, subprocess.SubprocessError):
        return ""


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=GIT_SECONDS)  # noqa: S603
    return done.stdout.strip()


def _processor() -> str:
    """Return the processor's name as Linux states it, or its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names and names[0] != "unknown" else platform.machine()
