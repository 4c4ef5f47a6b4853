"""An imported model computes what vilbert-multi-task computes: compared with a reference written from its formulas.

The reference uses vilbert-multi-task names and none of our code. It computes in float64, head by head: additive masks
of -10000, exact GELU, norms with 1e-12 under the root, the task token after [CLS].
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from tests.vilbert_checkpoints import SMALL_VOCABULARY
from torch import Tensor

from twelvefold.batch import Batch, TrunkOutput
from twelvefold.model import Model, save_load
from twelvefold.vilbert_mt import parameter_names
from twelvefold.vilbert_mt.import_weights import import_weights

MakeTensors = Callable[..., dict[str, Tensor]]
ROWS = {
    "vqav2": 1, "vgqa": 2, "visual7w": 4, "coco": 7, "flickr30k": 8, "refcoco": 9, "refcoco+": 10, "refcocog": 11,
    "nlvr2": 12, "snli_ve": 13, "gqa": 15, "guesswhat": 17,
}  # fmt: skip
"""Task numbers of vilbert-multi-task: rows of the task embedding."""

# ---------------------------------------------------------------------------------------------- the reference


def linear(t: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    return x @ t[f"{name}.weight"].T + t[f"{name}.bias"]


def norm(t: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    mean = x.mean(-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(-1, keepdim=True)
    return t[f"{name}.weight"] * ((x - mean) / torch.sqrt(variance + 1e-12)) + t[f"{name}.bias"]


def gelu(x: Tensor) -> Tensor:
    return x * 0.5 * (1.0 + torch.erf(x / math.sqrt(2.0)))


def mix(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, heads: int) -> Tensor:
    """Soft-max attention, head by head; mask (P, S) of 1 and 0."""
    wide = query.shape[-1] // heads
    done = []
    for h in range(heads):
        part = slice(h * wide, (h + 1) * wide)
        scores = query[..., part] @ key[..., part].transpose(1, 2) / math.sqrt(wide)
        scores = scores + (1.0 - mask[:, None, :]) * -10000.0
        done.append(torch.softmax(scores, -1) @ value[..., part])
    return torch.cat(done, -1)


def layer(t: dict[str, Tensor], name: str, x: Tensor, mask: Tensor, heads: int) -> Tensor:
    query, key, value = (linear(t, f"{name}.attention.self.{part}", x) for part in ("query", "key", "value"))
    mixed = linear(t, f"{name}.attention.output.dense", mix(query, key, value, mask, heads))
    x = norm(t, f"{name}.attention.output.LayerNorm", mixed + x)
    inner = gelu(linear(t, f"{name}.intermediate.dense", x))
    return norm(t, f"{name}.output.LayerNorm", linear(t, f"{name}.output.dense", inner) + x)


def connect(
    t: dict[str, Tensor], name: str, image: Tensor, text: Tensor, image_mask: Tensor, text_mask: Tensor, heads: int
) -> tuple[Tensor, Tensor]:
    def project(part: str, n: int, x: Tensor) -> Tensor:
        return linear(t, f"{name}.biattention.{part}{n}", x)

    for_text = mix(project("query", 2, text), project("key", 1, image), project("value", 1, image), image_mask, heads)
    for_image = mix(project("query", 1, image), project("key", 2, text), project("value", 2, text), text_mask, heads)
    out = []
    for n, side, x, mixed in ((1, "v", image, for_image), (2, "t", text, for_text)):
        y = norm(t, f"{name}.biOutput.LayerNorm{n}", linear(t, f"{name}.biOutput.dense{n}", mixed) + x)
        inner = gelu(linear(t, f"{name}.{side}_intermediate.dense", y))
        out.append(norm(t, f"{name}.{side}_output.LayerNorm", linear(t, f"{name}.{side}_output.dense", inner) + y))
    return out[0], out[1]


@dataclass
class Outputs:
    text: Tensor
    image: Tensor
    steps: list[tuple[Tensor, Tensor]]
    heads: dict[str, Tensor]


def reference(t: dict[str, Tensor], sizes: dict[str, Any], b: Batch, row: int | None) -> Outputs:
    """Return all outputs of vilbert-multi-task for a batch; ``steps``: both streams after each block."""
    words = t["bert.embeddings.word_embeddings.weight"]
    length = b.token_ids.shape[1]
    text = words[b.token_ids] + t["bert.embeddings.position_embeddings.weight"][:length]
    text = text + t["bert.embeddings.token_type_embeddings.weight"][0]
    text_mask, image_mask = b.token_mask.double(), b.region_mask.double()
    if row is not None:
        token = t["bert.embeddings.task_embeddings.weight"][row].expand(len(text), 1, -1)
        text = torch.cat([text[:, :1], token, text[:, 1:]], 1)
        text_mask = torch.cat([torch.ones(len(text), 1).double(), text_mask], 1)
    text = norm(t, "bert.embeddings.LayerNorm", text)
    locations = linear(t, "bert.v_embeddings.image_location_embeddings", b.locations.double())
    image = linear(t, "bert.v_embeddings.image_embeddings", b.features.double()) + locations
    image = norm(t, "bert.v_embeddings.LayerNorm", image)
    done_text, done_image, steps = 0, 0, []

    def run(stream: str, x: Tensor, start: int, end: int) -> Tensor:
        mask, heads = (text_mask, "num_attention_heads") if stream == "layer" else (image_mask, "v_num_attention_heads")
        for n in range(start, end):
            x = layer(t, f"bert.encoder.{stream}.{n}", x, mask, sizes[heads])
        return x

    ids = zip(sizes["v_biattention_id"], sizes["t_biattention_id"], strict=True)
    for count, (until_image, until_text) in enumerate(ids):
        text, image = run("layer", text, done_text, until_text), run("v_layer", image, done_image, until_image)
        if count:
            steps.append((text, image))
        done_text, done_image = until_text, until_image
        name, heads = f"bert.encoder.c_layer.{count}", sizes["bi_num_attention_heads"]
        image, text = connect(t, name, image, text, image_mask, text_mask, heads)
    text = run("layer", text, done_text, sizes["num_hidden_layers"])
    image = run("v_layer", image, done_image, sizes["v_num_hidden_layers"])
    pooled_text = torch.relu(linear(t, "bert.t_pooler.dense", text[:, 0]))
    pooled_image = torch.relu(linear(t, "bert.v_pooler.dense", image[:, 0]))
    fused = pooled_text + pooled_image if sizes.get("fusion_method") == "sum" else pooled_text * pooled_image
    return Outputs(text, image, [*steps, (text, image)], heads_of(t, text, image, fused))


def heads_of(t: dict[str, Tensor], text: Tensor, image: Tensor, fused: Tensor) -> dict[str, Tensor]:
    def classify(name: str, x: Tensor) -> Tensor:
        inner = gelu(linear(t, f"{name}.logit_fc.0", x))
        return linear(t, f"{name}.logit_fc.3", norm(t, f"{name}.logit_fc.2", inner))

    def transform(name: str, x: Tensor) -> Tensor:
        return norm(t, f"{name}.transform.LayerNorm", gelu(linear(t, f"{name}.transform.dense", x)))

    logits = {
        "words": transform("cls.predictions", text) @ t["cls.predictions.decoder.weight"].T + t["cls.predictions.bias"],
        "regions": linear(t, "cls.imagePredictions.decoder", transform("cls.imagePredictions", image)),
        "alignment": linear(t, "cls.bi_seq_relationship", fused),
    }
    if "vil_prediction.logit_fc.0.weight" in t:
        logits |= {
            "vqa": classify("vil_prediction", fused),
            "gqa": classify("vil_prediction_gqa", fused),
            "nlvr2": classify("vil_binary_prediction", fused.reshape(len(fused) // 2, -1)),
            "retrieval": linear(t, "vil_logit", fused),
            "snli_ve": linear(t, "vil_tri_prediction", fused),
            "grounding": linear(t, "vision_logit", image)[..., 0],
            "word score": linear(t, "linguisic_logit", text)[..., 0],
        }
    return logits


# -------------------------------------------------------------------------------------------------- the tests


def batch(task: str, pairs: int = 1) -> Batch:
    """Return six pairs of texts of 2 to 9 words and 2 to 8 regions, with random padding."""
    g = torch.Generator().manual_seed(5)
    lengths, counts = torch.tensor([9, 2, 5, 7, 3, 9]), torch.tensor([8, 4, 2, 8, 5, 3])
    real = torch.arange(8) < counts[:, None]
    return Batch(
        task,
        pairs,
        [str(n) for n in range(6 // pairs)],
        torch.randint(0, 60, (6, 9), generator=g),
        torch.arange(9) < lengths[:, None],
        torch.randn(6, 8, 20, generator=g),
        torch.zeros(6, 8, 4),
        torch.rand(6, 8, 5, generator=g),
        real,
        real,
    )


Sizes = dict[str, Any]
Imported = Callable[..., tuple[dict[str, Tensor], Model]]


@pytest.fixture(scope="module")
def imported(vilbert_tensors: MakeTensors, small_sizes: Sizes, tmp_path_factory: pytest.TempPathFactory) -> Imported:
    """Return the function ``imported(kind)``, which gives a file's tensors and the model imported from it."""

    @functools.cache
    def make(kind: str = "tokens", fusion: str = "mul") -> tuple[dict[str, Tensor], Model]:
        folder, tensors = tmp_path_factory.mktemp("vilbert"), vilbert_tensors(kind)
        torch.save(tensors, folder / "vilbert.bin")
        (folder / "bert_base_6layer_6conect.json").write_text(json.dumps(small_sizes | {"fusion_method": fusion}))
        config = folder / "bert_base_6layer_6conect.json"
        import_weights(folder / "vilbert.bin", folder / "model", config=config, options=SMALL_VOCABULARY)
        return tensors, Model.load(folder / "model")

    return make


def double(tensors: dict[str, Tensor], *, leaves: bool = False) -> dict[str, Tensor]:
    made = {name: tensor.double().requires_grad_(leaves) for name, tensor in tensors.items()}
    made["cls.predictions.decoder.weight"] = made["bert.embeddings.word_embeddings.weight"]
    return made


def close(got: Tensor, expected: Tensor, real: Tensor | None = None) -> None:
    """Check equality to 1e-4 at the rows of the mask ``real``."""
    got, expected = (got, expected.float()) if real is None else (got[real], expected.float()[real])
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", ["tokens", "no tokens"])
def test_every_task_head_matches_the_reference(kind: str, imported: Imported, small_sizes: Sizes) -> None:
    t, m = imported(kind)
    assert set(m.tasks) == set(ROWS)
    for task, row in ROWS.items():
        spec = m.tasks[task]
        b = batch(task, spec.pairs_per_example)
        expected = reference(double(t), small_sizes, b, row if kind == "tokens" else None).heads[spec.head]
        close(m(b), expected, b.region_mask if spec.family == "grounding" else None)


def test_every_block_and_the_pretraining_heads_match_the_reference(imported: Imported, small_sizes: Sizes) -> None:
    t, m = imported()
    steps: list[tuple[Tensor, Tensor]] = []
    hooks = [
        block.register_forward_hook(lambda _m, _inputs, output: steps.append(output))
        for block in m.trunk.get_submodule("blocks").children()
    ]
    b = batch("refcoco+")
    expected = reference(double(t), small_sizes, b, ROWS["refcoco+"])
    states: TrunkOutput = m.encode(b)
    for hook in hooks:
        hook.remove()
    text_real = torch.cat([b.token_mask[:, :1], torch.ones(6, 1, dtype=torch.bool), b.token_mask[:, 1:]], 1)
    assert len(steps) == len(expected.steps) == 2
    for (text, image), (expected_text, expected_image) in zip(steps, expected.steps, strict=True):
        close(text[text_real.flatten()] if len(text) == text_real.numel() else text, expected_text[text_real])
        close(
            image[b.region_mask.flatten()] if len(image) == b.region_mask.numel() else image,
            expected_image[b.region_mask],
        )
    close(states.text, expected.text, text_real)
    close(states.regions, expected.image, b.region_mask)
    logits = m.pretraining_logits(b)
    close(logits.tokens, expected.heads["words"], text_real)
    close(logits.regions, expected.heads["regions"], b.region_mask)
    close(logits.alignment, expected.heads["alignment"])
    close(m.word_scores(b), expected.heads["word score"], text_real)


@pytest.mark.parametrize("fusion", ["mul", "sum"])
def test_a_pretraining_file_matches_the_reference(fusion: str, imported: Imported, small_sizes: Sizes) -> None:
    (t, m), b = imported("pretraining", fusion), batch("any captions at all")
    sizes = small_sizes | {"fusion_method": fusion}
    logits, expected = m.pretraining_logits(b), reference(double(t), sizes, b, None).heads
    close(logits.tokens, expected["words"], b.token_mask)
    close(logits.regions, expected["regions"], b.region_mask)
    close(logits.alignment, expected["alignment"])


@pytest.mark.parametrize("task", ["gqa", "nlvr2", "snli_ve", "coco", "visual7w", "pretraining"])
def test_gradients_match_the_reference(task: str, imported: Imported, small_sizes: Sizes) -> None:
    t, m = imported()
    m.zero_grad()
    leaves = double(t, leaves=True)
    b = batch("vqav2" if task == "pretraining" else task, 2 if task == "nlvr2" else 1)
    heads = reference(leaves, small_sizes, b, ROWS[b.task]).heads
    if task == "pretraining":
        real = torch.cat([b.token_mask[:, :1], b.token_mask], 1)
        logits = m.pretraining_logits(b)
        got = [logits.tokens[real], logits.regions[b.region_mask], logits.alignment]
        expected = [heads["words"][real], heads["regions"][b.region_mask], heads["alignment"]]
    else:
        family = m.tasks[task].family
        rows = b.region_mask if family == "grounding" else slice(None)
        got, expected = [m(b)[rows]], [heads[m.tasks[task].head][rows]]
    torch.autograd.backward([weighted_sum(x) for x in got])
    torch.autograd.backward([weighted_sum(x) for x in expected])
    parameters = {save_load.disk_name(name): parameter for name, parameter in m.named_parameters()}
    num_nonzero = 0
    for name, sources in parameter_names.map_parameters(m.config, m.head_specs.values()):
        ours = parameters[name].grad
        theirs = [leaves[source].grad for source in sources]
        if ours is None:
            assert all(g is None or not g.any() for g in theirs)
            continue
        stacked = torch.cat(
            [torch.zeros_like(leaves[n]) if g is None else g for n, g in zip(sources, theirs, strict=True)]
        )
        torch.testing.assert_close(ours, stacked.float(), atol=1e-4 * max(1.0, stacked.abs().max().item()), rtol=0)
        num_nonzero += bool(stacked.any())
    assert num_nonzero > 100


def weighted_sum(x: Tensor) -> Tensor:
    """Return a number to which every entry contributes with another weight."""
    return (x * torch.cos(torch.arange(x.numel(), dtype=x.dtype)).view(x.shape)).sum()
