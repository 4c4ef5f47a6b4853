"""The flow from a question to its answer stays short and calls only downwards."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[2] / "tools" / "trace_calls.py"
MAX_FILES = 28
"""As in docs/results/tracing.md."""


@pytest.mark.slow
def test_a_question_visits_few_files_and_calls_only_downwards() -> None:
    process = subprocess.run([sys.executable, TOOL, "question"], capture_output=True, text=True, check=True)
    result = re.search(r"(\d+) files, \d+ calls between files, (\d+) upward calls", process.stdout)
    assert result is not None
    assert int(result[1]) <= MAX_FILES, process.stdout
    assert int(result[2]) == 0, process.stdout
