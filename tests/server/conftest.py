"""Servers in processes of their own, and a client that sends requests over real sockets."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import httpx2
import pytest

from twelvefold.serving.samples import load_samples

START_SECONDS = 120
"""A busy machine is slow to import PyTorch."""


@dataclass
class Server:
    """A running server: its address, process, log file, and a client for it."""

    address: str
    process: subprocess.Popen[str]
    log: Path
    client: httpx2.Client

    def log_lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def metric(self, name: str, headers: dict[str, str] | None = None) -> float:
        """Return a metric, summed over its labels."""
        lines = self.client.get("/metrics", headers=headers or {}).text.splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.split("{")[0].split(" ")[0] == name)

    def resident_bytes(self, headers: dict[str, str] | None = None) -> float:
        return self.metric("process_resident_memory_bytes", headers)


@contextmanager
def start_server(log: Path, *, can_write: bool = True, **settings: object) -> Iterator[Server]:
    """Run a server with these settings on a free port; stop it at the end, and check its exit code.

    ``can_write``: whether it may write files of more than half a kilobyte. (torchvision needs to write a few bytes.)
    """
    options = [f"--set={name}={value}" for name, value in settings.items()]
    command = [sys.executable, "-m", "twelvefold", "serve", "--port", "0", "--json", *options]
    if not can_write:
        command = ["sh", "-c", 'ulimit -f 1; exec "$0" "$@"', *command]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment)
    assert process.stdout is not None
    assert process.stderr is not None
    threading.Thread(target=_copy_lines, args=(process.stderr, log), daemon=True).start()
    try:
        output = ""
        while not output.endswith("\n}\n"):
            line = process.stdout.readline()
            assert line, f"the server did not start: {log.read_text()}"
            output += line
        address = json.loads(output)["address"]
        with httpx2.Client(base_url=address, timeout=START_SECONDS, trust_env=False) as client:
            yield Server(address, process, log, client)
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        assert process.wait(START_SECONDS) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()


def _copy_lines(lines: IO[str], log: Path) -> None:
    with log.open("w") as file:
        for line in lines:
            file.write(line)
            file.flush()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with default settings."""
    with start_server(tmp_path_factory.mktemp("server") / "log") as running:
        yield running


@pytest.fixture(scope="session")
def jpegs() -> dict[str, bytes]:
    """The files of the samples, by name."""
    return {sample.name: sample.path.read_bytes() for sample in load_samples()}


@pytest.fixture(scope="session")
def make_photo() -> Callable[[int], bytes]:
    """Return the n-th of many images; each test uses its own, so that none is cached."""
    from twelvefold.world.draw import draw_jpeg
    from twelvefold.world.scene import make_scene

    return lambda n: draw_jpeg(make_scene(4321, n))
