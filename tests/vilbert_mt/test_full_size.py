"""The published size: 560 entries, 268,028,859 parameters, in and out again bit for bit, in bounded memory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

MEMORY_KB = 4_000_000
"""What an import may need at its peak, as the issue has it; 2.03 GB was measured."""


MEASURED = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(code)
"""
"""Between the tests and the command, as a process counts its parent's memory as its own until it starts a program."""


def run(folder: Path, *words: str) -> tuple[dict[str, object], int]:
    """One ``twelvefold weights`` command in a process of its own: what it said, and its peak memory in kB."""
    command = [sys.executable, "-c", MEASURED, sys.executable, "-m", "twelvefold", "weights", *words, "--json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=True, text=True)
    return json.loads(done.stdout), int(done.stderr.split()[-1])


def test_the_published_size_goes_in_and_out_bit_for_bit(
    vilbert_tensors: Callable[..., dict[str, Tensor]], tmp_path: Path
) -> None:
    torch.save(vilbert_tensors(published=True), tmp_path / "multi_task_model.bin")
    done, memory = run(tmp_path, "import", "multi_task_model.bin", "--out", "model")
    assert (done["entries"], done["parameters"]) == (560, 268_028_859)
    assert len(done["used"]) == 535  # type: ignore[arg-type]
    assert len(done["carried"]) == 24  # type: ignore[arg-type]
    assert memory < MEMORY_KB
    wrote, memory = run(tmp_path, "export", "model", "back.bin")
    assert (wrote["entries"], wrote["parameters"]) == (560, 268_028_859)
    assert memory < MEMORY_KB
    back, before = (torch.load(tmp_path / name, mmap=True) for name in ("back.bin", "multi_task_model.bin"))
    assert list(back) == list(before)
    assert all(torch.equal(back[name], before[name]) for name in before)
    del back, before
    for path in sorted(tmp_path.rglob("*"), reverse=True):  # three gigabytes that nobody wants to keep
        path.unlink() if path.is_file() else path.rmdir()
