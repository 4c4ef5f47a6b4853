"""Real servers, each in a process of its own, and a client that talks to them over real sockets."""

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
"""A machine that is busy with other tests takes its time to import PyTorch."""


@dataclass
class Server:
    """A server that runs: where it is, its process, what it has logged, and a client for it."""

    address: str
    process: subprocess.Popen[str]
    log: Path
    client: httpx2.Client

    def logged(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def figure(self, name: str, headers: dict[str, str] | None = None) -> float:
        """One of its metrics, summed over its labels."""
        lines = self.client.get("/metrics", headers=headers or {}).text.splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.split("{")[0].split(" ")[0] == name)

    def resident(self, headers: dict[str, str] | None = None) -> float:
        return self.figure("process_resident_memory_bytes", headers)


@contextmanager
def running(log: Path, *, writes: bool = True, **settings: object) -> Iterator[Server]:
    """A server with such settings, on a free port; it is stopped at the end, and must then leave in peace.

    ``writes``: whether it may write files of more than half a kilobyte. (Nothing at all would be too little:
    torchvision looks for a folder in which a few bytes can be written.)
    """
    options = [f"--set={name}={value}" for name, value in settings.items()]
    command = [sys.executable, "-m", "twelvefold", "serve", "--port", "0", "--json", *options]
    if not writes:
        command = ["sh", "-c", 'ulimit -f 1; exec "$0" "$@"', *command]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment)
    assert process.stdout is not None
    assert process.stderr is not None
    threading.Thread(target=_copy, args=(process.stderr, log), daemon=True).start()
    try:
        said = ""
        while not said.endswith("\n}\n"):
            line = process.stdout.readline()
            assert line, f"no server: {log.read_text()}"
            said += line
        address = json.loads(said)["address"]
        with httpx2.Client(base_url=address, timeout=START_SECONDS, trust_env=False) as client:
            yield Server(address, process, log, client)
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        assert process.wait(START_SECONDS) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()


def _copy(lines: IO[str], log: Path) -> None:
    with log.open("w") as file:
        for line in lines:
            file.write(line)
            file.flush()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server as it is out of the box."""
    with running(tmp_path_factory.mktemp("server") / "log") as one:
        yield one


@pytest.fixture(scope="session")
def jpegs() -> dict[str, bytes]:
    """The samples' files, by name."""
    return {one.name: one.path.read_bytes() for one in load_samples()}


@pytest.fixture(scope="session")
def photograph() -> Callable[[int], bytes]:
    """Pictures that no two tests share, so that none was seen before: the n-th."""
    from twelvefold.world.draw import draw_jpeg
    from twelvefold.world.scene import make_scene

    return lambda n: draw_jpeg(make_scene(4321, n))
