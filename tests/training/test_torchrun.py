"""Runs that torchrun starts: a killed worker, a signal to all, several nodes. Each ends like a run without them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from twelvefold.config.recipe import Recipe
from twelvefold.training.event_log import read_events

from .conftest import MAX_WAIT, Toy, equal_tensors, read_weights, timeless_events
from .test_train import no_dropout_recipe

KILLED_ONCE = """
import os, signal, sys
from twelvefold import train as loop
log_validation = loop.log_validation
def log_and_die(state, services, task, validation, transition, iteration):
    log_validation(state, services, task, validation, transition, iteration)
    if (os.environ["RANK"], os.environ["TORCHELASTIC_RESTART_COUNT"], iteration) == ("1", "0", 3):
        os.kill(os.getpid(), signal.SIGKILL)
loop.log_validation = log_and_die
sys.exit(loop.main())
"""
"""Train as :mod:`twelvefold.train` does; rank 1 is killed in iteration 3, after the checkpoint of iteration 2."""


def start(toy: Toy, recipe: Recipe, run: Path, options: list[str], target: list[str]) -> subprocess.Popen[bytes]:
    """Start torchrun in the background."""
    run.mkdir(parents=True, exist_ok=True)
    (run / "recipe.toml").write_text(recipe.to_toml())
    command = [sys.executable, "-m", "torch.distributed.run", *options, *target]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen([*command, str(toy.prepared), str(toy.regions), str(run)], env=environment)


@pytest.fixture(scope="module")
def shared(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two processes on two nodes, which are on this machine and meet by c10d's rendezvous."""
    run = tmp_path_factory.mktemp("shared")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{probe.getsockname()[1]}"
    rendezvous = ["--rdzv-backend", "c10d", "--rdzv-endpoint", endpoint, "--rdzv-id", "toy"]
    options = ["--nnodes", "2", "--nproc-per-node", "1", *rendezvous]
    nodes = [start(toy, no_dropout_recipe(toy), run, options, ["-m", "twelvefold.train"]) for _ in range(2)]
    assert [node.wait(4 * MAX_WAIT) for node in nodes] == [0, 0]
    return run


@pytest.mark.slow
def test_torchrun_restarts_all_ranks_when_a_worker_is_killed(toy: Toy, shared: Path, tmp_path: Path) -> None:
    program = tmp_path / "killed_once.py"
    program.write_text(KILLED_ONCE)
    options = ["--standalone", "--nproc-per-node", "2", "--max-restarts", "1"]
    process = start(toy, no_dropout_recipe(toy), tmp_path / "run", options, [str(program)])
    assert process.wait(4 * MAX_WAIT) == 0
    assert equal_tensors(read_weights(tmp_path / "run"), read_weights(shared))
    assert timeless_events(tmp_path / "run") == timeless_events(shared)
    starts = [e for e in read_events(tmp_path / "run/events.jsonl") if e["event"] in ("start", "resume")]
    assert [(e["event"], e["iteration"], e["processes"]) for e in starts] == [("start", 0, 2), ("resume", 2, 2)]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_torchrun_saves_a_checkpoint_and_stops_all_ranks(
    toy: Toy, tmp_path: Path, number: signal.Signals
) -> None:
    recipe = no_dropout_recipe(toy, iterations=10_000, checkpoint_interval=10_000, eval_interval=0)
    options, log = ["--standalone", "--nproc-per-node", "2"], tmp_path / "events.jsonl"
    process, deadline = (
        start(toy, recipe, tmp_path, options, ["-m", "twelvefold.train"]),
        time.monotonic() + 4 * MAX_WAIT,
    )
    try:
        while not (log.exists() and any(e["event"] == "step" for e in read_events(log))):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(number)
        process.wait(4 * MAX_WAIT)
    finally:
        process.kill()
    assert list(read_events(log))[-1]["event"] == "interrupted"
    assert (tmp_path / "checkpoints/latest/model.safetensors").exists()
