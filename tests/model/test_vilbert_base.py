"""The published model: its size, number by number, and one training step of the whole."""

from __future__ import annotations

import pytest
import torch

from twelvefold import families
from twelvefold.batch import Batch
from twelvefold.model import Model, preset
from twelvefold.schema import HeadSpec, TaskSpec

PUBLISHED = 268_028_859
"""Distinct parameters of the published multi-task model with task tokens."""

MEMBERS: dict[str, tuple[str, str, int]] = {
    "vqav2": ("answers", "vqa", 1),
    "vgqa": ("answers", "vqa", 1),
    "gqa": ("answers", "gqa", 1),
    "coco": ("retrieval", "alignment", 4),
    "flickr30k": ("retrieval", "alignment", 4),
    "refcoco": ("grounding", "grounding", 1),
    "refcoco+": ("grounding", "grounding", 1),
    "refcocog": ("grounding", "grounding", 1),
    "visual7w": ("grounding", "grounding", 1),
    "guesswhat": ("grounding", "grounding", 1),
    "nlvr2": ("verification", "nlvr2", 2),
    "snli_ve": ("verification", "snli_ve", 1),
}
TASKS = [
    TaskSpec(name, name, f, head, "", 23, 128, 4e-5, pairs_per_example=k) for name, (f, head, k) in MEMBERS.items()
]
HEADS = [
    HeadSpec("vqa", "answers", tuple(map(str, range(3129)))),
    HeadSpec("gqa", "answers", tuple(map(str, range(1533)))),
    HeadSpec("alignment", "retrieval", (), 4),
    HeadSpec("grounding", "grounding"),
    HeadSpec("nlvr2", "verification", ("False", "True"), 2),
    HeadSpec("snli_ve", "verification", ("contradiction", "neutral", "entailment")),
]


def linear(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


def test_the_parameter_count_is_the_published_one_without_unused_parameters() -> None:
    with torch.device("meta"):
        model = Model(preset("vilbert_base"), TASKS, HEADS)
    ours = sum(p.numel() for p in model.parameters())
    # Never read in the published forward pass, or only in its pre-training:
    second_queries = 6 * (linear(1024, 1024) + linear(1024, 768))
    assert second_queries == 11_020_800
    words = linear(768, 768) + 2 * 768 + 30522  # the decoder is the word embedding itself
    regions = linear(1024, 1024) + 2 * 1024 + linear(1024, 1601)
    pretraining = words + regions + linear(1024, 2)
    per_token_score = linear(768, 1)
    unused_task_rows = (20 - len(TASKS)) * 768
    # SNLI-VE's head is of NLVR2's form (paper), where the published model has one linear layer:
    theirs, own = linear(1024, 3), linear(1024, 2048) + 2 * 2048 + linear(2048, 3)
    assert ours - own + theirs + second_queries + pretraining + per_token_score + unused_task_rows == PUBLISHED


@pytest.mark.slow
def test_the_published_model_takes_a_training_step() -> None:
    torch.manual_seed(0)
    model = Model(preset("vilbert_base"), TASKS, HEADS).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=4e-5, fused=True)
    ones = torch.ones(2, 4, dtype=torch.bool)
    batch = Batch(
        "vqav2",
        1,
        ["a", "b"],
        torch.tensor([[101, 2054, 3609, 102], [101, 2054, 102, 0]]),
        torch.tensor([[True] * 4, [True, True, True, False]]),
        torch.rand(2, 4, 2048),
        torch.zeros(2, 4, 4),
        torch.rand(2, 4, 5),
        ones,
        ones,
        torch.nn.functional.one_hot(torch.tensor([5, 7]), 3129).float(),
    )
    loss = families.load_family("answers").loss(model(batch), batch)
    torch.autograd.backward(loss)
    probe = "trunk.blocks.0.co_attention.text.qkv.weight"
    before = model.get_parameter(probe)[0].clone()
    optimiser.step()
    model.eval()
    with torch.no_grad():
        after = families.load_family("answers").loss(model(batch), batch)
    assert after < loss
    assert not torch.equal(model.get_parameter(probe)[0], before)
