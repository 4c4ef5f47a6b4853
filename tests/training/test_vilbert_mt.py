"""The original project's optimization, against plain references that are written here from its formulas."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from twelvefold import datasets
from twelvefold.config.model import preset
from twelvefold.config.recipe import Recipe
from twelvefold.config.training import TrainingConfig
from twelvefold.data.region_inputs import RegionSource
from twelvefold.model import Model
from twelvefold.model.save_load import disk_name
from twelvefold.schema import HeadSpec, TwelvefoldError
from twelvefold.store.prepared import Prepared
from twelvefold.train import train
from twelvefold.training import vilbert_mt
from twelvefold.training.build_run import build_run
from twelvefold.training.distributed import ProcessGroup
from twelvefold.training.lr_schedule import build_lr_schedule
from twelvefold.training.optimizer import load_optimizer_state, optimizer_state, set_lr
from twelvefold.training.round_robin import LongestTask, RoundRobin, is_task_epoch_end
from twelvefold.training.signals import GracefulShutdown
from twelvefold.training.stop_and_go import StopAndGo
from twelvefold.vilbert_mt.parameter_names import HEADS, map_parameters

from .conftest import (
    MAX_WAIT,
    TASKS,
    Toy,
    assert_close,
    equal_tensors,
    kill_after,
    read_weights,
    start_training,
    timeless_events,
    train_one_iteration,
)

ORIGINAL = TrainingConfig(optimization="vilbert_mt")
NO_DECAY = ("bias", "LayerNorm.bias", "LayerNorm.weight")
"""The original exempts parameters with one of these in their names from weight decay."""


def original_recipe(toy: Toy, **training: bool | int | float | str) -> Recipe:
    values: dict[str, bool | int | float | str] = {
        "optimization": "vilbert_mt",
        "max_grad_norm": 0.0,
        "lr_factor": 20.0,
    }
    recipe = toy.recipe(**values | training)
    return Recipe.parse(recipe.to_toml().replace("dropout = 0.1", "dropout = 0.0"))


def published_layout() -> Model:
    """Return a model with the structure and the heads of the published one, and small sizes."""
    sizes = dict.fromkeys(("text_hidden_size", "image_hidden_size", "bi_hidden_size"), 8)
    config = preset("vilbert_base", **sizes, **{f"{s}_attention_heads": 2 for s in ("text", "image", "bi")},
                    text_ffn_dim=8, image_ffn_dim=8, head_hidden_size=8, vocab_size=9, feature_size=8,
                    max_position_embeddings=8, num_coattention_layers=2, num_region_categories=3)  # fmt: skip
    heads = [
        HeadSpec(h.name, h.family, h.outputs or (("a", "b") if h.form == "mlp" else ()), h.pairs_per_example, h.form)
        for h in HEADS
    ]
    return Model(config, [datasets.load_dataset(task).TASK for task in TASKS], heads)


def test_learning_rates_and_decay_follow_the_original_names() -> None:
    model = published_layout()
    optimizer = vilbert_mt.build_optimizer(model, TrainingConfig(weight_decay=0.01, lr_factor=3.0), 6e-5)
    settings = {p: (g["initial_lr"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]}
    names = dict(map_parameters(model.config, model.head_specs.values()))
    for name, parameter in model.named_parameters():
        for source in names[disk_name(name)]:
            lr = 3e-4 if "vil_" in source else 6e-5
            decay = 0.0 if any(part in source for part in NO_DECAY) else 0.01
            assert settings[parameter] == (pytest.approx(lr), decay), source
    with_own_lr = {name.split(".")[1] for name, p in model.named_parameters() if settings[p][0] == pytest.approx(3e-4)}
    assert with_own_lr == {"vqa", "gqa", "nlvr2", "retrieval", "snli_ve"}
    decayed_norms = {name for name, p in model.named_parameters() if "norm" in name and settings[p][1]}
    assert {name.split(".residual")[0].split(".norm")[0] for name in decayed_norms} == {
        *(f"trunk.blocks.{i}.co_attention.{side}" for i in range(2) for side in ("text", "image")),
        *(f"heads.{name}" for name in ("vqa", "gqa", "nlvr2")),
    }


class ToyTasks(nn.Module):
    """A trunk, a table of task tokens and a head for each of two tasks; the loss: ``(head (trunk + token))^2 / 2``."""

    def __init__(self) -> None:
        super().__init__()
        g = torch.Generator().manual_seed(0)
        self.trunk, self.tokens, self.head_a, self.head_b = (
            nn.Parameter(torch.randn(shape, generator=g, dtype=torch.float64)) for shape in (3, (2, 3), 3, 3)
        )

    def loss(self, task: str) -> Tensor:
        head = self.head_a if task == "a" else self.head_b
        return (head * (self.trunk + self.tokens["ab".index(task)])).sum().square() / 2


Arrays = dict[str, NDArray[np.float64]]


def gradients(p: Arrays, task: str) -> Arrays:
    """Return the gradients of :meth:`ToyTasks.loss`; those of the other head are missing."""
    row, head = "ab".index(task), p[f"head_{task}"]
    sum_ = (head * (p["trunk"] + p["tokens"][row])).sum()
    tokens = np.zeros_like(p["tokens"])
    tokens[row] = sum_ * head
    return {"trunk": sum_ * head, "tokens": tokens, f"head_{task}": sum_ * (p["trunk"] + p["tokens"][row])}


def reference_step(
    p: Arrays, m: Arrays, v: Arrays, g: Mapping[str, NDArray[np.float64]], lr: Mapping[str, float]
) -> None:
    """Update all parameters that have had a gradient as the original code does: decay 0.01, but none for the trunk."""
    for name in p:
        if name not in g and name not in m:
            continue  # never used so far: left alone
        gradient = g.get(name, np.zeros_like(p[name]))  # idle: zeros
        m[name] = 0.9 * m.get(name, 0.0) + 0.1 * gradient
        v[name] = 0.999 * v.get(name, 0.0) + 0.001 * gradient**2
        p[name] = p[name] - lr[name] * m[name] / (np.sqrt(v[name]) + 1e-6)
        if name != "trunk":
            p[name] = p[name] - lr[name] * 0.01 * p[name]


def make_optimizer(model: ToyTasks) -> vilbert_mt.VilbertAdamW:
    groups = [
        {"params": [model.trunk], "lr": 0.02, "initial_lr": 0.02, "weight_decay": 0.0},
        {"params": [model.tokens], "lr": 0.02, "initial_lr": 0.02, "weight_decay": 0.01},
        {"params": [model.head_a, model.head_b], "lr": 0.1, "initial_lr": 0.1, "weight_decay": 0.01},
    ]
    return vilbert_mt.VilbertAdamW(groups, 0.02, (0.9, 0.999), 1e-6)


def test_steps_of_tasks_that_share_the_optimizer_equal_the_formulas() -> None:
    model = ToyTasks()
    optimizer = make_optimizer(model)
    p: Arrays = {name: value.detach().numpy().copy() for name, value in model.named_parameters()}
    start, m, v = {name: value.copy() for name, value in p.items()}, Arrays(), Arrays()
    for step, task in enumerate("aababbbaaaab"):
        factor = step / 4 if step < 4 else 1.0  # the first step has learning rate 0
        lr = {"trunk": 0.02 * factor, "tokens": 0.02 * factor, "head_a": 0.1 * factor, "head_b": 0.1 * factor}
        before = model.head_b.detach().clone()
        optimizer.zero_grad()
        torch.autograd.backward(model.loss(task))
        set_lr(optimizer, factor)
        optimizer.step()
        reference_step(p, m, v, gradients(p, task), lr)
        for name, value in model.named_parameters():
            np.testing.assert_allclose(value.detach().numpy(), p[name], rtol=1e-12, err_msg=f"{name}, step {step}")
        if step < 2:
            assert np.array_equal(model.head_b.detach().numpy(), start["head_b"])  # no gradient so far: no decay
        else:
            assert not torch.equal(model.head_b, before)  # idle or not: momentum and decay go on
    state = optimizer_state(model, optimizer)
    assert {name.rpartition(".")[2] for name in state} == {"exp_avg", "exp_avg_sq"}
    for name in p:
        np.testing.assert_allclose(state[f"{name}.exp_avg"].numpy(), m[name], rtol=1e-12)
        np.testing.assert_allclose(state[f"{name}.exp_avg_sq"].numpy(), v[name], rtol=1e-12)


def test_a_resumed_optimizer_gives_zero_gradients_to_the_same_parameters() -> None:
    whole, first, second = ToyTasks(), ToyTasks(), ToyTasks()
    optimizers = [make_optimizer(model) for model in (whole, first, second)]

    def steps(model: ToyTasks, optimizer: vilbert_mt.VilbertAdamW, tasks: str) -> None:
        for task in tasks:
            optimizer.zero_grad()
            torch.autograd.backward(model.loss(task))
            optimizer.step()

    steps(whole, optimizers[0], "aaabb")
    steps(first, optimizers[1], "aa")
    second.load_state_dict(first.state_dict())
    load_optimizer_state(second, optimizers[2], optimizer_state(first, optimizers[1]))
    steps(second, optimizers[2], "abb")
    assert equal_tensors(dict(whole.named_parameters()), dict(second.named_parameters()))


def test_the_first_task_of_an_iteration_has_the_lr_of_its_index_and_the_others_the_next() -> None:
    """lambda(s) rises to 1 over the warm-up and falls to 0 at N; the clock stands while every task is stopped."""
    n, warmup = 40, 4.0
    schedule = build_lr_schedule(ORIGINAL, n, LongestTask(n, 2))

    def factor(s: int) -> float:
        return s / warmup if s < warmup else max(0.0, (n - s) / (n - warmup))

    clock, factors = 0, list[list[float]]()
    for iteration in range(1, n + 1):
        stepping = 0 if iteration in (11, 12) else 3
        factors.append([])
        for turn in range(stepping):
            factors[-1].append(schedule.multiplier(iteration, clock))
            clock += turn == 0
    expected = [i if i < 10 else i - 2 for i in range(n)]
    for i in range(n):
        assert factors[i] == ([] if i in (10, 11) else [factor(expected[i]), *[factor(expected[i] + 1)] * 2]), i
    assert factors[0][0] == 0.0


def test_the_warm_up_is_a_tenth_of_the_longest_task_and_is_not_rounded() -> None:
    schedule = build_lr_schedule(ORIGINAL, 100, LongestTask(155, 31))
    assert [schedule.multiplier(1, s) for s in (0, 15, 16)] == [0, 15 / 15.5, 84 / 84.5]
    constant = build_lr_schedule(
        TrainingConfig(optimization="vilbert_mt", lr_schedule="constant"), 9, LongestTask(20, 5)
    )
    assert [constant.multiplier(i + 1, i) for i in range(4)] == [0, 0.5, 1, 1]


def test_the_step_schedule_drops_at_epochs_five_and_seven_and_starts_every_epoch_at_the_full_rate() -> None:
    """PyTorch's schedulers, in the order in which the original code creates and advances them, are the reference."""
    epoch, n = 3, 3 * 20
    config = TrainingConfig(optimization="vilbert_mt", lr_schedule="step")
    schedule = build_lr_schedule(config, n, LongestTask(n, epoch))
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    warmup = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: s / 6 if s < 6 else 1.0)
    drops = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda e: 0.2 ** sum(e >= drop for drop in (5, 7)))
    for i in range(n):
        for turn in range(2):
            assert schedule.multiplier(i + 1, i + turn) == pytest.approx(optimizer.param_groups[0]["lr"]), (i, turn)
            optimizer.step()
            if turn == 0 and i < 6:
                warmup.step()
        if (i + 1) % epoch == 0:
            drops.step()


def test_iterations_count_from_zero_and_tasks_are_validated_after_all_have_stepped() -> None:
    specs = [datasets.load_dataset(task).TASK for task in ("vqav2", "refcoco")]
    original, paper = RoundRobin(specs, 9, vilbert_mt=True), RoundRobin(specs, 9)
    assert original.turns_at(1) == [["vqav2", "refcoco"]]
    assert paper.turns_at(1) == [["vqav2"], ["refcoco"]]
    evaluated = [
        [i for i in range(1, 14) if is_task_epoch_end(order.index(i), 4)] for order in (original, paper)
    ]  # i != 0 and i mod n_t = 0
    assert evaluated == [[5, 9, 13], [4, 8, 12]]


def test_stop_and_go_starts_again_at_the_end_of_epochs_five_and_seven() -> None:
    assert vilbert_mt.reset_iterations(10_112) == (60_672, 80_896)
    controller = StopAndGo(["a", "b"], rule="original_cooldown", resets=(30, 40))
    for score in (50.0, 50.0, 50.0):
        controller.update("a", score)
    controller.update("b", 40.0)
    assert controller.reset_after(29) == []
    assert controller.active_tasks(1) == ["b"]
    assert controller.reset_after(30) == ["a"]
    assert controller.state_dict() == StopAndGo(["a", "b"]).state_dict()
    assert StopAndGo(["a"], enabled=False, resets=(1,)).reset_after(1) == []


def test_one_value_selects_all_of_it_and_contradictions_are_refused() -> None:
    text = 'extends = "paper/multi_task"\nname = "mine"\n[training]\noptimization = "vilbert_mt"\n'
    training = Recipe.parse(text).training
    assert (training.stop_and_go_rule, training.max_grad_norm) == ("original_cooldown", 0.0)
    assert training == Recipe.load("paper/original_code").training
    assert Recipe.parse(Recipe.parse(text).to_toml()) == Recipe.parse(text)
    for lines, message in (
        ('stop_and_go_rule = "paper"\n', "has the stop-and-go rule 'original_cooldown'.*leave it out"),
        ("max_grad_norm = 1.0\n", "clips no gradients; set max_grad_norm = 0, got 1"),
        ("[pretraining]\n", "multi-task training; its pretraining has the settings of recipe paper/pretraining"),
    ):
        with pytest.raises(TwelvefoldError, match=message):
            Recipe.parse(text + lines)
    with pytest.raises(TwelvefoldError, match="lr_schedule = 'step' is part of optimization = 'vilbert_mt'"):
        Recipe.parse(text.replace('optimization = "vilbert_mt"', 'lr_schedule = "step"'))


def reference_run(toy: Toy, recipe: Recipe, folder: Path) -> dict[str, Tensor]:
    """Train without any of the training loop: no task stops, so every task steps in every iteration."""
    prepared, regions = Prepared.open(toy.prepared), RegionSource.open(toy.regions)
    specs = [datasets.load_dataset(task).TASK for task in recipe.tasks]
    specs = recipe.task_specs(lambda name: next(spec for spec in specs if spec.name == name))
    group = ProcessGroup(0, 1, torch.device("cpu"))
    state, services, _ = build_run(recipe, specs, prepared, regions, folder, group, GracefulShutdown())
    model, objectives, iterations = state.model, services.objectives, recipe.training.iterations
    names = {name: sources[0] for name, sources in map_parameters(model.config, model.head_specs.values())}
    m, v = dict[str, Tensor](), dict[str, Tensor]()
    warmup, s = 0.1 * iterations, 0
    for i in range(iterations):
        for turn, task in enumerate(recipe.tasks):
            for p in model.parameters():
                p.grad = None if p.grad is None else torch.zeros_like(p)
            loss, _ = objectives[task].loss(model, objectives[task].train_batches.train_batch(i))
            torch.autograd.backward(loss * (2.0 if task == "vqav2" else 1.0))
            factor = s / max(1.0, warmup) if s < warmup else (iterations - s) / (iterations - warmup)
            for name, p in model.named_parameters():
                if p.grad is None:
                    continue
                source = names.get(disk_name(name), name.replace("_norm", ".LayerNorm"))
                lr = factor * recipe.training.lr_factor * (1e-4 if "vil_" in source else 2e-5)
                m[name] = 0.9 * m.get(name, torch.zeros_like(p)) + 0.1 * p.grad
                v[name] = 0.999 * v.get(name, torch.zeros_like(p)) + 0.001 * p.grad**2
                value = p.detach() - lr * m[name] / (v[name].sqrt() + recipe.training.adam_eps)
                if not any(part in source for part in NO_DECAY):
                    value -= lr * 0.01 * value
                with torch.no_grad():
                    p.copy_(value)
            s += turn == 0
    services.log.__exit__(None, None, None)
    return {disk_name(name): p.detach() for name, p in model.named_parameters()}


@pytest.fixture(scope="module")
def uninterrupted(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without interruption. Epsilon is large because Adam turns rounding errors of zero gradients into steps."""
    run = tmp_path_factory.mktemp("original")
    train(original_recipe(toy, adam_eps=1e-4), toy.prepared, toy.regions, run)
    return run


def test_a_run_equals_a_plain_loop(toy: Toy, uninterrupted: Path, tmp_path: Path) -> None:
    recipe = original_recipe(toy, adam_eps=1e-4)
    expected, weights = reference_run(toy, recipe, tmp_path), read_weights(uninterrupted)
    for name, value in expected.items():
        assert torch.allclose(weights[name], value, rtol=1e-4, atol=1e-6), name
    lrs = [event["lr"] for event in timeless_events(uninterrupted) if event["event"] == "step"]
    factors = [1.0, *((6 - s) / 5.4 for s in range(2, 7))]  # after the first task's step; warm-up over 0.6 iterations
    factors[0] = 5 / 5.4
    assert lrs == pytest.approx([20 * 2e-5 * factor for factor in factors])


def test_a_run_resumes_bit_for_bit(toy: Toy, uninterrupted: Path, tmp_path: Path) -> None:
    recipe = original_recipe(toy, adam_eps=1e-4)
    train_one_iteration(toy, recipe, tmp_path)
    train(recipe, toy.prepared, toy.regions, tmp_path)
    assert equal_tensors(read_weights(tmp_path), read_weights(uninterrupted))
    assert timeless_events(tmp_path)[-1] == timeless_events(uninterrupted)[-1]


@pytest.mark.slow
def test_a_head_without_a_gradient_so_far_is_left_alone_also_after_a_resume(toy: Toy, tmp_path: Path) -> None:
    recipe = original_recipe(toy, curriculum="easy_first", curriculum_fraction=0.5)
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    train_one_iteration(toy, recipe, resumed)
    first = read_weights(resumed)
    kill_after(start_training(toy, recipe, resumed), resumed, 4)
    for run in (resumed, whole):
        train(recipe, toy.prepared, toy.regions, run)
    assert equal_tensors(read_weights(resumed), read_weights(whole))
    assert {name.split(".")[1] for name in first if name.startswith("heads.") and name.endswith("exp_avg")} == {
        "grounding"
    }


@pytest.mark.slow
def test_two_ranks_compute_the_same_as_one_also_under_torchrun(toy: Toy, uninterrupted: Path, tmp_path: Path) -> None:
    recipe = original_recipe(toy, adam_eps=1e-4, processes=2)
    train(recipe, toy.prepared, toy.regions, tmp_path / "local")
    assert_close(read_weights(tmp_path / "local"), read_weights(uninterrupted))
    (tmp_path / "torchrun").mkdir()
    (tmp_path / "torchrun/recipe.toml").write_text(recipe.to_toml())
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "twelvefold.train"]
    folders = [str(toy.prepared), str(toy.regions), str(tmp_path / "torchrun")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, *command, *folders], check=True, timeout=2 * MAX_WAIT, env=environment)
    assert equal_tensors(read_weights(tmp_path / "torchrun"), read_weights(tmp_path / "local"))


@pytest.mark.slow
def test_gradient_accumulation_and_a_trained_start_give_the_same_updates(
    toy: Toy, uninterrupted: Path, tmp_path: Path
) -> None:
    for number, parts in enumerate((1, 2)):
        recipe = original_recipe(toy, adam_eps=1e-4, iterations=2, gradient_accumulation_steps=parts)
        train(recipe.with_initial(uninterrupted), toy.prepared, toy.regions, tmp_path / str(number))
    assert_close(read_weights(tmp_path / "0"), read_weights(tmp_path / "1"))


@pytest.mark.slow
def test_stopped_tasks_step_and_start_again_as_in_the_original_code(toy: Toy, tmp_path: Path) -> None:
    """With an lr too small to learn anything, tasks stop at their third evaluation. An epoch has 5 iterations."""
    recipe = original_recipe(toy, lr_factor=1e-9, iterations=42, checkpoint_interval=50, eval_interval=0)
    train(recipe, toy.prepared, toy.regions, tmp_path)
    events = timeless_events(tmp_path)
    evaluated = {e["iteration"] for e in events if e["event"] == "eval"}
    assert evaluated == {6, 11, 16, 21, 26, 31, 36, 41, 42}  # i = 5, 10, ... from 0, and the last
    transitions = {(e["event"], e["iteration"]) for e in events if e["event"] in ("stop", "go")}
    assert transitions == {("stop", 16), ("go", 30)}
    went = [e["task"] for e in events if e["event"] == "go"]
    assert sorted(went) == sorted(TASKS)
    stepped = {e["iteration"]: set(e["losses"]) for e in events if e["event"] == "step"}
    assert [i for i in stepped if not stepped[i]] == [i for i in range(17, 31) if (i - 1) % 4]
    lrs = [e["lr"] for e in events if e["event"] == "step"]
    assert lrs[17:20] == [lrs[16]] * 3  # the clock stands while no task steps
    order = [(e["event"], e.get("task")) for e in events if e["iteration"] == 6 and e["event"] in ("eval", "step")]
    assert order == [*(("eval", task) for task in TASKS), ("step", None)]
