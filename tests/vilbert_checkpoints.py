"""Checkpoints as vilbert-multi-task writes them, with random weights: names and shapes are those of its files."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from twelvefold.config.weights import WeightsImportConfig
from twelvefold.vilbert_mt.import_weights import ImportSummary, import_weights

Tensors = dict[str, Tensor]
Shapes = dict[str, tuple[int, ...]]
MakeTensors = Callable[..., Tensors]
ImportTensors = Callable[..., ImportSummary]
WORDS, DECODER = "bert.embeddings.word_embeddings.weight", "cls.predictions.decoder.weight"

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
"""Sizes that all differ, with a layer of each stream before the first co-attention."""


SMALL_VOCABULARY = WeightsImportConfig(other_vocabulary=True)
"""Accepts the word embeddings of ``SMALL``."""


def linear(s: Shapes, name: str, outputs: int, inputs: int) -> None:
    s[f"{name}.weight"], s[f"{name}.bias"] = (outputs, inputs), (outputs,)


def norm(s: Shapes, name: str, width: int) -> None:
    s[f"{name}.weight"], s[f"{name}.bias"] = (width,), (width,)


def layer(s: Shapes, name: str, width: int, inner: int) -> None:
    """One layer of a stream."""
    for part in ("query", "key", "value"):
        linear(s, f"{name}.attention.self.{part}", width, width)
    linear(s, f"{name}.attention.output.dense", width, width)
    norm(s, f"{name}.attention.output.LayerNorm", width)
    linear(s, f"{name}.intermediate.dense", inner, width)
    linear(s, f"{name}.output.dense", width, inner)
    norm(s, f"{name}.output.LayerNorm", width)


def co_layer(s: Shapes, name: str, sizes: dict[str, Any]) -> None:
    """One co-attention layer: 1 and v are vision, 2 and t are text."""
    t, v, b = sizes["hidden_size"], sizes["v_hidden_size"], sizes["bi_hidden_size"]
    for i, width in ((1, v), (2, t)):
        for part in ("query", "key", "value"):
            linear(s, f"{name}.biattention.{part}{i}", b, width)
        linear(s, f"{name}.biOutput.dense{i}", width, b)
        norm(s, f"{name}.biOutput.LayerNorm{i}", width)
        linear(s, f"{name}.biOutput.q_dense{i}", width, b)
    for side, width, inner in (("v", v, sizes["v_intermediate_size"]), ("t", t, sizes["intermediate_size"])):
        linear(s, f"{name}.{side}_intermediate.dense", inner, width)
        linear(s, f"{name}.{side}_output.dense", width, inner)
        norm(s, f"{name}.{side}_output.LayerNorm", width)


def task_heads(s: Shapes, sizes: dict[str, Any], answers: tuple[int, int]) -> None:
    t, v, b = sizes["hidden_size"], sizes["v_hidden_size"], sizes["bi_hidden_size"]
    for name, inputs, outputs in (
        ("vil_prediction", b, answers[0]),
        ("vil_prediction_gqa", b, answers[1]),
        ("vil_binary_prediction", 2 * b, 2),
    ):
        linear(s, f"{name}.logit_fc.0", 2 * b, inputs)
        norm(s, f"{name}.logit_fc.2", 2 * b)
        linear(s, f"{name}.logit_fc.3", outputs, 2 * b)
    linear(s, "vil_logit", 1, b)
    linear(s, "vil_tri_prediction", 3, b)
    linear(s, "vision_logit", 1, v)
    linear(s, "linguisic_logit", 1, t)


def shapes(sizes: dict[str, Any], kind: str, answers: tuple[int, int]) -> Shapes:
    """Return names and shapes. ``kind``: tokens, no tokens, pretraining, bert."""
    t, v, b, words = (sizes[name] for name in ("hidden_size", "v_hidden_size", "bi_hidden_size", "vocab_size"))
    s: Shapes = {}
    for name, rows in (("word", words), ("position", sizes["max_position_embeddings"]), ("token_type", 2)):
        s[f"bert.embeddings.{name}_embeddings.weight"] = (rows, t)
    norm(s, "bert.embeddings.LayerNorm", t)
    if kind == "tokens":
        s["bert.embeddings.task_embeddings.weight"] = (20, t)
    for n in range(sizes["num_hidden_layers"]):
        layer(s, f"bert.encoder.layer.{n}", t, sizes["intermediate_size"])
    linear(s, "cls.predictions.transform.dense", t, t)
    norm(s, "cls.predictions.transform.LayerNorm", t)
    s["cls.predictions.decoder.weight"], s["cls.predictions.bias"] = (words, t), (words,)
    if kind == "bert":
        linear(s, "bert.pooler.dense", t, t)
        linear(s, "cls.seq_relationship", 2, t)
        return s
    linear(s, "bert.v_embeddings.image_embeddings", v, sizes["v_feature_size"])
    linear(s, "bert.v_embeddings.image_location_embeddings", v, 5)
    norm(s, "bert.v_embeddings.LayerNorm", v)
    for n in range(sizes["v_num_hidden_layers"]):
        layer(s, f"bert.encoder.v_layer.{n}", v, sizes["v_intermediate_size"])
    for n in range(len(sizes["v_biattention_id"])):
        co_layer(s, f"bert.encoder.c_layer.{n}", sizes)
    linear(s, "bert.t_pooler.dense", b, t)
    linear(s, "bert.v_pooler.dense", b, v)
    linear(s, "cls.bi_seq_relationship", 2, b)
    linear(s, "cls.imagePredictions.transform.dense", v, v)
    norm(s, "cls.imagePredictions.transform.LayerNorm", v)
    linear(s, "cls.imagePredictions.decoder", sizes["v_target_size"], v)
    if kind != "pretraining":
        task_heads(s, sizes, answers)
    return s


def random_tensors(sizes: dict[str, Any], kind: str, answers: tuple[int, int]) -> Tensors:
    """Return random weights, with the decoder tied to the word embeddings as in a saved model."""
    tensors = {}
    numbers = torch.randn(24_000_000 if sizes is PUBLISHED else 20_000, generator=torch.Generator().manual_seed(3))
    start = 0  # every tensor is a slice of these numbers, which is faster than 268 million random ones
    for name, shape in shapes(sizes, kind, answers).items():
        count = math.prod(shape)
        start = (start * 7 + 13) % (len(numbers) - count)
        tensors[name] = numbers[start : start + count].view(shape) * 0.2
        if name.endswith("LayerNorm.weight"):
            tensors[name] += 1.0
    tensors["cls.predictions.decoder.weight"] = tensors["bert.embeddings.word_embeddings.weight"]
    return tensors


@pytest.fixture(scope="session")
def vilbert_tensors() -> MakeTensors:
    """Return the function ``vilbert_tensors(kind)``: a small model; ``published=True``: of the published size."""

    def make(kind: str = "tokens", *, published: bool = False, answers: tuple[int, int] | None = None) -> Tensors:
        sizes = PUBLISHED if published else SMALL
        return random_tensors(sizes, kind, answers or ((3129, 1533) if published else (9, 7)))

    return make


@pytest.fixture(scope="session")
def small_sizes() -> dict[str, Any]:
    """Return the JSON of the small model."""
    return SMALL


@pytest.fixture
def vilbert_json(tmp_path: Path) -> Path:
    path = tmp_path / "bert_base_6layer_6conect.json"
    path.write_text(json.dumps(SMALL))
    return path


@pytest.fixture
def import_tensors(vilbert_json: Path, tmp_path: Path) -> Callable[..., ImportSummary]:
    """Return a function that saves tensors to a file and imports it."""

    def make(value: Any, **options: Any) -> ImportSummary:
        name = tmp_path / options.pop("name", "vilbert.bin")
        legacy = options.pop("legacy", False)
        torch.save(value, name, _use_new_zipfile_serialization=not legacy)
        answers = options.pop("answers", None)
        settings = WeightsImportConfig(**{"other_vocabulary": True} | options)
        return import_weights(name, tmp_path / "model", config=vilbert_json, answers=answers, options=settings)

    return make


def equal_tensors(a: Tensors, b: Tensors) -> bool:
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)
