"""A model of the published size is imported and exported bit for bit, in bounded memory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

MEMORY_KB = 4_000_000
"""Limit of the peak memory of an import; 2.03 GB was measured."""


MEASURED = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(code)
"""
"""Runs between the tests and the command: a process counts its parent's memory as its own until it starts a program."""


def run(folder: Path, *words: str) -> tuple[dict[str, object], int]:
    """Run ``twelvefold weights`` in a process of its own; return its JSON and its peak memory in kB."""
    command = [sys.executable, "-c", MEASURED, sys.executable, "-m", "twelvefold", "weights", *words, "--json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=True, text=True)
    return json.loads(done.stdout), int(done.stderr.split()[-1])


@pytest.mark.slow
def test_the_published_size_is_imported_and_exported_bit_for_bit(
    vilbert_tensors: Callable[..., dict[str, Tensor]], tmp_path: Path
) -> None:
    torch.save(vilbert_tensors(published=True), tmp_path / "multi_task_model.bin")
    imported, memory = run(tmp_path, "import", "multi_task_model.bin", "--out", "model")
    assert (imported["entries"], imported["parameters"]) == (560, 268_028_859)
    assert len(imported["used"]) == 535  # type: ignore[arg-type]
    assert len(imported["carried"]) == 24  # type: ignore[arg-type]
    assert memory < MEMORY_KB
    exported, memory = run(tmp_path, "export", "model", "back.bin")
    assert (exported["entries"], exported["parameters"]) == (560, 268_028_859)
    assert memory < MEMORY_KB
    back, before = (torch.load(tmp_path / name, mmap=True) for name in ("back.bin", "multi_task_model.bin"))
    assert list(back) == list(before)
    assert all(torch.equal(back[name], before[name]) for name in before)
    del back, before
    for path in sorted(tmp_path.rglob("*"), reverse=True):  # three gigabytes
        path.unlink() if path.is_file() else path.rmdir()
