"""A data folder with a few records of every built-in task in its official format, which a test may change.

The records are in ``samples/``, one module for each task. A new dataset needs one there; the contract test finds it.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from twelvefold.datasets import task_names

from .samples.sample import Sample, encode_file


def load_sample(name: str) -> Sample:
    """Return the sample of a built-in task."""
    sample: Sample = importlib.import_module(f"{__package__}.samples.{name.replace('+', '_plus')}").SAMPLE
    return sample


@dataclass
class Folder:
    """``files``: the content of each official file by path; :meth:`write` writes them in their formats."""

    root: Path
    files: dict[str, Any]

    def write(self) -> Path:
        for name, content in self.files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode_file(name, content))
        return self.root


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A folder, not yet written, with the samples of all built-in tasks."""
    files: dict[str, Any] = {}
    for name in task_names():
        files |= load_sample(name).make_files()
    return Folder(tmp_path, files)
