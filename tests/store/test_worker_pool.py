"""Workers of a killed process don't stay behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from twelvefold.store.worker_pool import create_pool

PARENT = """
import os, sys, time
from twelvefold.store.worker_pool import create_pool
if __name__ == "__main__":
    workers = create_pool(1)
    print(workers.submit(os.getpid).result(), flush=True)
    time.sleep(60)
"""


def alive(process: int) -> bool:
    """Whether a process is there and more than a zombie."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    state = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True, check=False
    ).stdout
    return bool(state.strip()) and not state.startswith("Z")


def test_a_worker_goes_with_its_killed_parent(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        assert alive(worker)
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait(10)
    deadline = time.monotonic() + 20
    while alive(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(worker)


def test_each_worker_begins_with_what_it_is_told() -> None:
    with create_pool(1, os.chdir, "/") as workers:
        assert workers.submit(os.getcwd).result() == "/"
