"""The small model learns which region a word names and whether it is in the image; both need text and image."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from twelvefold import families
from twelvefold.batch import Batch
from twelvefold.model import Model, preset
from twelvefold.schema import HeadSpec, TaskSpec

CATEGORIES, REGIONS, FEATURES = 12, 5, 24
TASKS = [
    TaskSpec("point", "", "grounding", "point", "", 20, 32, 1e-3),
    TaskSpec("exists", "", "verification", "exists", "", 20, 32, 1e-3),
]
HEADS = [HeadSpec("point", "grounding"), HeadSpec("exists", "verification", ("no", "yes"))]


def make_batch(task: str, prototypes: Tensor, size: int = 32) -> Batch:
    """Four objects of different categories in each image; the text is one word, a category's name."""
    categories = torch.stack([torch.randperm(CATEGORIES)[: REGIONS - 1] for _ in range(size)])
    true_index = torch.randint(REGIONS - 1, (size,))
    named = categories[torch.arange(size), true_index]
    if task == "exists":
        named = torch.where(torch.rand(size) < 0.5, named, torch.randint(CATEGORIES, (size,)))
    objects = prototypes[categories] + 0.1 * torch.randn(size, REGIONS - 1, FEATURES)
    real = torch.ones(size, REGIONS, dtype=torch.bool)
    candidates = real.clone()
    candidates[:, 0] = False
    point = torch.zeros(size, REGIONS, 2)
    point[torch.arange(size), true_index + 1] = 1.0
    return Batch(
        task,
        1,
        [str(i) for i in range(size)],
        torch.stack([torch.zeros_like(named), named + 2, torch.ones_like(named)], dim=1),
        torch.ones(size, 3, dtype=torch.bool),
        torch.cat([objects.mean(dim=1, keepdim=True), objects], dim=1),
        torch.zeros(size, REGIONS, 4),
        torch.rand(size, REGIONS, 5),
        real,
        candidates,
        point if task == "point" else (categories == named[:, None]).any(dim=1).long(),
    )


@pytest.mark.slow
@pytest.mark.parametrize("trunk", ["two_stream", "single_stream"])
def test_the_small_model_learns_grounding_and_verification_together(trunk: str) -> None:
    torch.manual_seed(1)
    prototypes = torch.randn(CATEGORIES, FEATURES)
    sizes = {
        "text_hidden_size": 32,
        "image_hidden_size": 32,
        "bi_hidden_size": 32,
        "text_ffn_dim": 64,
        "image_ffn_dim": 64,
    }
    config = preset(
        "small", vocab_size=CATEGORIES + 2, feature_size=FEATURES, head_hidden_size=64, trunk=trunk, **sizes
    )
    model = Model(config, TASKS, HEADS).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, fused=True)
    for _ in range(150):
        for task in TASKS:
            batch = make_batch(task.name, prototypes)
            optimizer.zero_grad()
            torch.autograd.backward(families.load_family(task.family).loss(model(batch), batch))
            optimizer.step()
    model.eval()
    for task in TASKS:
        batch = make_batch(task.name, prototypes, size=200)
        assert families.load_family(task.family).score(model(batch), batch).mean().item() > 0.85, task.name
