"""Files as the original project wrote them, with random weights: names and shapes as its checkpoints list them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

Tensors = dict[str, Tensor]
Shapes = dict[str, tuple[int, ...]]

PUBLISHED: dict[str, Any] = {
    "attention_probs_dropout_prob": 0.1,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 768,
    "initializer_range": 0.02,
    "intermediate_size": 3072,
    "max_position_embeddings": 512,
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "type_vocab_size": 2,
    "vocab_size": 30522,
    "v_feature_size": 2048,
    "v_target_size": 1601,
    "v_hidden_size": 1024,
    "v_num_hidden_layers": 6,
    "v_num_attention_heads": 8,
    "v_intermediate_size": 1024,
    "bi_hidden_size": 1024,
    "bi_num_attention_heads": 8,
    "bi_intermediate_size": 1024,
    "v_attention_probs_dropout_prob": 0.1,
    "v_hidden_act": "gelu",
    "v_hidden_dropout_prob": 0.1,
    "pooling_method": "mul",
    "v_biattention_id": [0, 1, 2, 3, 4, 5],
    "t_biattention_id": [6, 7, 8, 9, 10, 11],
}
SMALL = PUBLISHED | {
    "hidden_size": 24, "intermediate_size": 96, "max_position_embeddings": 16, "num_attention_heads": 4,
    "num_hidden_layers": 5, "vocab_size": 60, "v_feature_size": 20, "v_target_size": 11, "v_hidden_size": 32,
    "v_num_hidden_layers": 3, "v_num_attention_heads": 4, "v_intermediate_size": 36, "bi_hidden_size": 40,
    "bi_num_attention_heads": 5, "v_biattention_id": [1, 2], "t_biattention_id": [3, 4],
}  # fmt: skip
"""Of unequal widths throughout, and with a layer of each stream before the first co-attention."""


def shapes(sizes: dict[str, Any], kind: str, answers: tuple[int, int]) -> Shapes:
    """Names and shapes; ``kind``: tokens, no tokens, pretraining, bert."""
    t, v, b = sizes["hidden_size"], sizes["v_hidden_size"], sizes["bi_hidden_size"]
    ti, vi, words = sizes["intermediate_size"], sizes["v_intermediate_size"], sizes["vocab_size"]
    s: Shapes = {}

    def linear(name: str, outputs: int, inputs: int) -> None:
        s[f"{name}.weight"], s[f"{name}.bias"] = (outputs, inputs), (outputs,)

    def norm(name: str, width: int) -> None:
        s[f"{name}.weight"], s[f"{name}.bias"] = (width,), (width,)

    def layer(name: str, width: int, inner: int) -> None:
        for part in ("query", "key", "value"):
            linear(f"{name}.attention.self.{part}", width, width)
        linear(f"{name}.attention.output.dense", width, width)
        norm(f"{name}.attention.output.LayerNorm", width)
        linear(f"{name}.intermediate.dense", inner, width)
        linear(f"{name}.output.dense", width, inner)
        norm(f"{name}.output.LayerNorm", width)

    for what, rows in (("word", words), ("position", sizes["max_position_embeddings"]), ("token_type", 2)):
        s[f"bert.embeddings.{what}_embeddings.weight"] = (rows, t)
    norm("bert.embeddings.LayerNorm", t)
    if kind == "tokens":
        s["bert.embeddings.task_embeddings.weight"] = (20, t)
    for n in range(sizes["num_hidden_layers"]):
        layer(f"bert.encoder.layer.{n}", t, ti)
    linear("cls.predictions.transform.dense", t, t)
    norm("cls.predictions.transform.LayerNorm", t)
    s["cls.predictions.decoder.weight"], s["cls.predictions.bias"] = (words, t), (words,)
    if kind == "bert":
        linear("bert.pooler.dense", t, t)
        linear("cls.seq_relationship", 2, t)
        return s
    linear("bert.v_embeddings.image_embeddings", v, sizes["v_feature_size"])
    linear("bert.v_embeddings.image_location_embeddings", v, 5)
    norm("bert.v_embeddings.LayerNorm", v)
    for n in range(sizes["v_num_hidden_layers"]):
        layer(f"bert.encoder.v_layer.{n}", v, vi)
    for n in range(len(sizes["v_biattention_id"])):
        c = f"bert.encoder.c_layer.{n}"
        for i, width in ((1, v), (2, t)):
            for part in ("query", "key", "value"):
                linear(f"{c}.biattention.{part}{i}", b, width)
            linear(f"{c}.biOutput.dense{i}", width, b)
            norm(f"{c}.biOutput.LayerNorm{i}", width)
            linear(f"{c}.biOutput.q_dense{i}", width, b)
        for side, width, inner in (("v", v, vi), ("t", t, ti)):
            linear(f"{c}.{side}_intermediate.dense", inner, width)
            linear(f"{c}.{side}_output.dense", width, inner)
            norm(f"{c}.{side}_output.LayerNorm", width)
    linear("bert.t_pooler.dense", b, t)
    linear("bert.v_pooler.dense", b, v)
    linear("cls.bi_seq_relationship", 2, b)
    linear("cls.imagePredictions.transform.dense", v, v)
    norm("cls.imagePredictions.transform.LayerNorm", v)
    linear("cls.imagePredictions.decoder", sizes["v_target_size"], v)
    if kind != "pretraining":
        for name, inputs, outputs in (
            ("vil_prediction", b, answers[0]),
            ("vil_prediction_gqa", b, answers[1]),
            ("vil_binary_prediction", 2 * b, 2),
        ):
            linear(f"{name}.logit_fc.0", 2 * b, inputs)
            norm(f"{name}.logit_fc.2", 2 * b)
            linear(f"{name}.logit_fc.3", outputs, 2 * b)
        linear("vil_logit", 1, b)
        linear("vil_tri_prediction", 3, b)
        linear("vision_logit", 1, v)
        linear("linguisic_logit", 1, t)
    return s


def tensors(sizes: dict[str, Any], kind: str, answers: tuple[int, int]) -> Tensors:
    """Random weights of the size, the decoder tied to the word embeddings as a saved model has it."""
    made = {}
    numbers = torch.randn(24_000_000 if sizes is PUBLISHED else 20_000, generator=torch.Generator().manual_seed(3))
    start = 0  # every tensor is a piece of these numbers, which is quicker than drawing 268 million
    for name, shape in shapes(sizes, kind, answers).items():
        count = math.prod(shape)
        start = (start * 7 + 13) % (len(numbers) - count)
        made[name] = numbers[start : start + count].view(shape) * 0.2
        if name.endswith("LayerNorm.weight"):
            made[name] += 1.0
    made["cls.predictions.decoder.weight"] = made["bert.embeddings.word_embeddings.weight"]
    return made


Official = Callable[..., Tensors]


@pytest.fixture(scope="session")
def official_tensors() -> Official:
    """``official_tensors(kind)``: a small official model; ``published=True``: one of the published size."""

    def make(kind: str = "tokens", *, published: bool = False, answers: tuple[int, int] | None = None) -> Tensors:
        sizes = PUBLISHED if published else SMALL
        return tensors(sizes, kind, answers or ((3129, 1533) if published else (9, 7)))

    return make


@pytest.fixture(scope="session")
def small_sizes() -> dict[str, Any]:
    """The JSON of the small model."""
    return SMALL


@pytest.fixture
def official_json(tmp_path: Path) -> Path:
    path = tmp_path / "official.json"
    path.write_text(json.dumps(SMALL))
    return path
