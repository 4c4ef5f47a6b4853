"""Activation checkpointing: the same updates with less stored between the forward and the backward pass."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from twelvefold.config.model import preset
from twelvefold.data.region_inputs import RegionSource
from twelvefold.data.task_batches import TaskBatches
from twelvefold.model import Model
from twelvefold.store.prepared import Prepared
from twelvefold.train import train
from twelvefold.training.activation_checkpointing import checkpoint_activations

from .conftest import CATEGORIES, TASKS, Toy, equal_tensors, read_weights


@pytest.mark.slow
def test_updates_are_the_same_to_the_bit_with_dropout(toy: Toy, tmp_path: Path) -> None:
    for number, enabled in enumerate((False, True)):
        recipe = toy.recipe(iterations=2, eval_interval=0, activation_checkpointing=enabled)
        train(recipe, toy.prepared, toy.regions, tmp_path / str(number))
    assert equal_tensors(read_weights(tmp_path / "0"), read_weights(tmp_path / "1"))


@pytest.mark.parametrize("trunk", ["two_stream", "single_stream"])
@pytest.mark.parametrize("task", TASKS)
def test_less_is_stored_for_the_backward_pass(toy: Toy, task: str, trunk: str) -> None:
    prepared, source = Prepared.open(toy.prepared), RegionSource.open(toy.regions)
    spec = prepared.task(task)
    config = preset("small", feature_size=len(CATEGORIES), num_text_layers=2, trunk=trunk)
    model = Model(config, [spec], [prepared.head(task)]).train()
    batch = TaskBatches.open(prepared, source, spec, "train").train_batch(0, 0, 8)

    def stored_bytes() -> int:
        total = 0

        def count(tensor: Tensor) -> Tensor:
            nonlocal total
            total += tensor.numel() * tensor.element_size()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            model(batch)
        return total

    before = stored_bytes()
    checkpoint_activations(model)
    assert stored_bytes() < 0.7 * before
