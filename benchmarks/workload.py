"""Models and batches that the benchmarks share: the published model with random weights, and random inputs.

Lengths are either the full ones (every text at the task's limit, 100 regions and IMG) or real ones: questions have nine
words on average and images 38 regions, spread as in VQAv2 and in detections between 10 and 100 regions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from benchmarks.training_time import forward_operations
from numpy.typing import NDArray

from twelvefold.batch import Batch
from twelvefold.config.model import ModelConfig, changed, preset
from twelvefold.data.collate import make_batch
from twelvefold.data.region_inputs import RegionRows, assemble_rows
from twelvefold.datasets import load_dataset
from twelvefold.model import Model
from twelvefold.schema import HeadSpec, Regions, TaskSpec
from twelvefold.vilbert_mt.parameter_names import HEADS, TASK_TOKENS

SMALL: dict[str, Any] = {
    "vocab_size": 2000, "max_position_embeddings": 64, "feature_size": 256, "text_hidden_size": 192,
    "image_hidden_size": 256, "bi_hidden_size": 256, "text_attention_heads": 3, "image_attention_heads": 2,
    "bi_attention_heads": 2, "text_ffn_dim": 768, "image_ffn_dim": 256, "head_hidden_size": 512,
    "num_text_layers": 2, "num_coattention_layers": 2,
}  # fmt: skip
"""A quarter of the published widths, a third of its layers: for a quick look."""
SIZES = {"published": (1601, 3129, 1533), "small": (100, 300, 150)}
"""Region categories, and outputs of the answer heads of VQAv2 and GQA."""
TASKS = ("vqav2", "gqa", "nlvr2", "coco", "snli_ve", "refcoco")
"""A task for each head."""
LENGTHS = ("full", "real")
MEAN_WORDS, MEAN_REGIONS, MAX_REGIONS = 9, 38, 100


def make_model(size: str = "published", *, dropout: float = 0.1, seed: int = 0) -> Model:
    """Return a model with every published head and random weights, in evaluation mode.

    ``size``: ``published`` (268 million parameters) or ``small``.
    """
    categories, vqa_answers, gqa_answers = SIZES[size]
    fields = {"num_region_categories": categories, "word_score": True, "dropout": dropout}
    config: ModelConfig = preset("vilbert_base", **fields, **(SMALL if size == "small" else {}))
    outputs = {"vqa": vqa_answers, "gqa": gqa_answers}
    heads = [
        HeadSpec(
            head.name,
            head.family,
            head.outputs or tuple(f"answer {i}" for i in range(outputs.get(head.name, 0))),
            head.pairs_per_example,
            head.form,
        )
        for head in HEADS
    ]
    torch.manual_seed(seed)
    return Model(config, [task_spec(name) for name in TASKS], heads, task_tokens=TASK_TOKENS).eval()


def task_spec(name: str) -> TaskSpec:
    """Return a built-in task."""
    return load_dataset(name).TASK


def draw_lengths(lengths: str, count: int, max_tokens: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Return the number of words (without special tokens) and of regions of ``count`` pairs."""
    if lengths == "full":
        return [(max_tokens - 2, MAX_REGIONS)] * count
    words = np.clip(3 + _gamma(4.0, (MEAN_WORDS - 3) / 4.0, count, rng), 3, max_tokens - 2).round().astype(int)
    regions = np.clip(10 + _gamma(2.0, (MEAN_REGIONS - 10) / 2.0, count, rng), 10, MAX_REGIONS).round().astype(int)
    return list(zip(words.tolist(), regions.tolist(), strict=True))


def _gamma(shape: float, scale: float, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return evenly spaced quantiles of a gamma distribution in random order: few numbers have its mean and spread."""
    sample = np.random.default_rng(0).gamma(shape, scale, 100_000)
    return rng.permutation(np.quantile(sample, (np.arange(count) + 0.5) / count))


def random_regions(count: int, feature_size: int, rng: np.random.Generator) -> Regions:
    """Return ``count`` regions of a 640 x 480 image with float16 features, as a region store holds them."""
    corners = rng.random((count, 2), dtype=np.float32) * (400, 300)
    boxes_px = np.concatenate([corners, corners + rng.random((count, 2)) * (240, 180)], axis=1).astype(np.float32)
    features = rng.random((count, feature_size), dtype=np.float32).astype(np.float16)
    return Regions(boxes_px, features, 640, 480)


def random_rows(count: int, feature_size: int, rng: np.random.Generator) -> RegionRows:
    """Return IMG and ``count`` regions."""
    regions = random_regions(count, feature_size, rng)
    return assemble_rows(regions, regions.features.mean(axis=0, dtype=np.float32)[None], MAX_REGIONS + 1)


def random_batch(model: Model, task: str, pairs: Sequence[tuple[int, int]], seed: int = 0) -> Batch:
    """Return a batch with random words and features, without a target.

    ``pairs``: number of words and of regions of each pair.
    """
    rng, spec, config = np.random.default_rng(seed), model.tasks[task], model.config
    first_word = min(1000, config.vocab_size // 2)  # the vocabulary begins with special tokens
    tokens = [rng.integers(first_word, config.vocab_size, words).tolist() for words, _ in pairs]
    rows = [random_rows(regions, config.feature_size, rng) for _, regions in pairs]
    ids = [str(i) for i in range(len(pairs) // spec.pairs_per_example)]
    return make_batch(spec, ids, tokens, rows, config.feature_size)


def random_target(model: Model, batch: Batch, seed: int = 0) -> torch.Tensor:
    """Return a target of the batch's task: answers (B, A) with three answers each, retrieval (B,) the first pair."""
    rng, task = np.random.default_rng(seed), model.tasks[batch.task]
    if task.family == "retrieval":
        return torch.zeros(len(batch.example_ids), dtype=torch.int64)
    target = np.zeros((len(batch.example_ids), len(model.head_specs[task.head].outputs)), dtype=np.float32)
    for row in target:
        row[rng.choice(target.shape[1], 3, replace=False)] = (1.0, 0.6, 0.3)
    return torch.from_numpy(target)


def fused_operations(config: ModelConfig, batch: Batch) -> float:
    """Return the operations of the matrix products that a fused vector needs, of all pairs of a batch.

    Real rows only; the last text and image layer compute the pooled row alone. Heads are not counted (0.1 %).
    """
    total = 0.0
    for tokens, rows in zip(batch.token_mask.sum(dim=1).tolist(), batch.region_mask.sum(dim=1).tolist(), strict=True):
        text = _all_but_one_row(tokens + 1, config.text_hidden_size, config.text_ffn_dim)
        image = _all_but_one_row(rows, config.image_hidden_size, config.image_ffn_dim)
        total += forward_operations(config, tokens + 1, rows) - text - image
    return total


def _all_but_one_row(rows: int, size: int, ffn_dim: int) -> float:
    """Return the operations of a layer's queries, attention, output and feed-forward part in all rows but one."""
    return 2.0 * (rows - 1) * (2 * size**2 + 2 * size * ffn_dim + 2 * rows * size)


def pair_operations(config: ModelConfig, captions: Batch, images: Batch) -> float:
    """Return the operations of all pairs of a caption and an image, with image streams that are already encoded.

    A caption's layers before co-attention are counted once, and co-attention and what follows for each pair.
    """
    joint = changed(config, num_text_layers=0, num_image_layers=0, feature_size=1)
    before = changed(config, num_coattention_layers=1, feature_size=1)
    without = changed(joint, num_coattention_layers=1)
    tokens, rows = captions.token_mask.sum(dim=1).tolist(), images.region_mask.sum(dim=1).tolist()
    total = 0.0
    for words in tokens:
        total += forward_operations(before, words + 1, 0) - forward_operations(without, words + 1, 0)
        for regions in rows:
            text = _all_but_one_row(words + 1, config.text_hidden_size, config.text_ffn_dim)
            image = _all_but_one_row(regions, config.image_hidden_size, config.image_ffn_dim)
            total += forward_operations(joint, words + 1, regions) - text - image
    return total


def trunk_bytes(model: Model) -> float:
    """Return the bytes of the trunk's weights without the word embeddings, of which a batch reads a few rows."""
    words = model.trunk.text_embeddings.words.weight
    return 4.0 * (sum(p.numel() for p in model.trunk.parameters()) - words.numel())
