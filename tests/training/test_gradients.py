"""Gradients over ranks: the same update as in one process, whatever exchanges them, and nothing of idle heads."""

from __future__ import annotations

import os
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from twelvefold.config.recipe import Recipe
from twelvefold.config.training import TrainingConfig
from twelvefold.train import train
from twelvefold.training import vilbert_mt
from twelvefold.training.distributed import ProcessGroup
from twelvefold.training.gradients import GradientReducer, used_slices
from twelvefold.training.optimizer import build_optimizer
from twelvefold.training.step import non_finite_examples
from twelvefold.training.waiting import WaitTimes

from .conftest import MAX_WAIT, Toy, assert_close, read_weights, train_one_iteration
from .test_train import no_dropout_recipe

IN_BUCKETS = """
import sys, torch
from twelvefold import train
from twelvefold.training import gradients
gradients.BUCKET_MB = 0.002
used_slices, sent = gradients.used_slices, []
def record(parameters):
    slices = used_slices(parameters, 0)
    gradient_sizes = [p.numel() for p in parameters if p.grad is not None]
    assert sum(s.stop - s.start for s in slices) == sum(gradient_sizes)
    sent.append((len(parameters), len(gradient_sizes)))
    return slices
gradients.used_slices = record
code = train.main()
assert any(used == 0 for _, used in sent), "no bucket had only idle parameters"
assert any(0 < used < total for total, used in sent), "no bucket was sent in part"
sys.exit(code)
"""
"""Train as :mod:`twelvefold.train` does, with buckets so small that the toy has several, and look at what is sent."""


def torchrun(processes: int, toy: Toy, recipe: Recipe, run: Path, program: str = "", *options: str) -> None:
    """Train with torchrun; ``program``: instead of ``twelvefold.train``."""
    run.mkdir(parents=True)
    (run / "recipe.toml").write_text(recipe.to_toml())
    script = run.parent / f"{run.name}.py"
    script.write_text(program)
    target = [str(script)] if program else ["-m", "twelvefold.train"]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    folders = [str(toy.prepared), str(toy.regions), str(run)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([*command, *options, *target, *folders], check=True, timeout=MAX_WAIT, env=environment)


@pytest.fixture(scope="module")
def plain(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one process without dropout. Batches of 7 can't be split evenly."""
    run = tmp_path_factory.mktemp("plain")
    train(uneven(no_dropout_recipe(toy)), toy.prepared, toy.regions, run)
    return run


def uneven(recipe: Recipe) -> Recipe:
    return Recipe.parse(recipe.to_toml().replace("batch_size = 8", "batch_size = 7"))


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "parts"), [(3, 2)])
def test_buckets_give_the_update_of_one_process_and_leave_idle_heads_out(
    toy: Toy, plain: Path, tmp_path: Path, processes: int, parts: int
) -> None:
    recipe = uneven(no_dropout_recipe(toy, gradient_accumulation_steps=parts))
    torchrun(processes, toy, recipe, tmp_path / "run", IN_BUCKETS)
    assert_close(read_weights(tmp_path / "run"), read_weights(plain))  # with each head's number of updates


@pytest.mark.slow
def test_uneven_shares_have_the_weight_of_their_examples(toy: Toy, plain: Path, tmp_path: Path) -> None:
    train(uneven(no_dropout_recipe(toy, processes=3)), toy.prepared, toy.regions, tmp_path)
    assert_close(read_weights(tmp_path), read_weights(plain))


@pytest.mark.slow
def test_gradients_exchanged_in_bf16_are_those_of_fp32_within_its_rounding(toy: Toy, tmp_path: Path) -> None:
    """After one update of Adam's second moments: squares of gradients, which bf16 rounds by up to 2^-8."""
    for dtype in ("fp32", "bf16"):
        recipe = no_dropout_recipe(toy, iterations=1, processes=2, reduce_dtype=dtype, eval_interval=0, max_grad_norm=0)
        train(recipe, toy.prepared, toy.regions, tmp_path / dtype)
    exact, rounded = (read_weights(tmp_path / dtype) for dtype in ("fp32", "bf16"))
    squares = [name for name in exact if name.startswith("heads.") and name.endswith("exp_avg_sq")]
    assert squares
    for name in squares:  # of the first update of a head, before weights differ, only of the first task
        assert torch.allclose(rounded[name].sqrt(), exact[name].sqrt(), rtol=0.05, atol=1e-5), name
    assert any(not torch.equal(rounded[name], exact[name]) for name in squares)


@pytest.mark.slow
def test_a_run_continues_on_another_number_of_processes(toy: Toy, plain: Path, tmp_path: Path) -> None:
    train_one_iteration(toy, uneven(no_dropout_recipe(toy)), tmp_path)
    train(uneven(no_dropout_recipe(toy, processes=2)), toy.prepared, toy.regions, tmp_path)
    assert_close(read_weights(tmp_path), read_weights(plain))


def test_unused_parameters_are_not_sent_unless_they_are_small_gaps() -> None:
    used, small, large = (torch.zeros(4, requires_grad=True) for _ in range(3))
    small, large = torch.zeros(2, requires_grad=True), torch.zeros(9, requires_grad=True)
    used.grad = torch.zeros(4)
    assert used_slices([large, used, small, used, large, used, large], max_gap=2) == [slice(9, 19), slice(28, 32)]
    assert used_slices([small, large]) == []


def linear() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(3, 2)


@pytest.mark.parametrize("original", [False, True])
def test_an_update_that_is_not_finite_is_left_out_on_the_device(original: bool) -> None:
    def optimizer_of(module: nn.Module) -> torch.optim.Optimizer:
        if original:
            groups = [{"params": list(module.parameters()), "weight_decay": 0.1, "initial_lr": 0.1}]
            return vilbert_mt.VilbertAdamW(groups, 0.1, (0.9, 0.999), 1e-6)
        return build_optimizer(module, TrainingConfig(weight_decay=0.1), 0.1)

    def step(module: nn.Linear, optimizer: torch.optim.Optimizer, factor: float, found_inf: float) -> None:
        optimizer.zero_grad()
        (module(torch.ones(1, 3)).sum() * factor).backward()
        optimizer.found_inf = torch.tensor(found_inf)  # type: ignore[attr-defined]
        optimizer.step()

    def state(module: nn.Module, optimizer: torch.optim.Optimizer) -> list[Tensor]:
        moments = [value for p in module.parameters() for value in optimizer.state[p].values()]
        return [*module.parameters(), *moments]

    with_bad, without = linear(), linear()
    bad_optimizer, optimizer = optimizer_of(with_bad), optimizer_of(without)
    for factor in (1.0, float("nan"), 2.0, float("inf"), 3.0):
        finite = factor < 10
        step(with_bad, bad_optimizer, factor, float(not finite))
        if finite:
            step(without, optimizer, factor, 0.0)
    for a, b in zip(state(with_bad, bad_optimizer), state(without, optimizer), strict=True):
        assert torch.equal(a, b)


def test_examples_with_logits_that_are_not_finite_are_named_or_else_all() -> None:
    logits = torch.zeros(3, 2, 2)
    assert non_finite_examples(["a", "b", "c"], logits) == ["a", "b", "c"]
    logits[1, 0, 0] = float("inf")
    assert non_finite_examples(["a", "b", "c"], logits) == ["b"]


def test_closed_buckets_are_released(tmp_path: Path) -> None:
    """Nothing but the process group itself may hold its threads when the interpreter exits."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        layer = nn.Linear(2, 2)
        reducer = GradientReducer(layer, list(layer.parameters()), ProcessGroup(0, 1, torch.device("cpu")), WaitTimes())
        reducer.wrap(bf16=False)
        reducer.module(torch.ones(1, 2)).sum().backward()
        buckets = weakref.ref(reducer.module)
        reducer.close()
        assert reducer.module is layer
        assert buckets() is None
    finally:
        dist.destroy_process_group()
