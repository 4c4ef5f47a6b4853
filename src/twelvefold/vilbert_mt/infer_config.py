"""How large an official model is: from the shapes of its own tensors, and from the JSON it was published with.

The shapes are believed; the JSON adds what no shape tells (attention heads, dropout), and where both speak they must
agree. Paper: section 3.1, the supplement's configuration ``bert_base_6layer_6conect``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from torch import Tensor

from twelvefold.config.model import ModelConfig
from twelvefold.schema import TwelvefoldError
from twelvefold.vilbert_mt import parameter_names

LAYER, V_LAYER, C_LAYER = (f"bert.encoder.{kind}.0" for kind in ("layer", "v_layer", "c_layer"))

SHAPES = {
    "vocab_size": ((parameter_names.WORDS, 0), (parameter_names.DECODER, 0)),
    "text_hidden_size": ((parameter_names.WORDS, 1), (parameter_names.DECODER, 1)),
    "max_position_embeddings": (("bert.embeddings.position_embeddings.weight", 0),),
    "feature_size": (("bert.v_embeddings.image_embeddings.weight", 1),),
    "image_hidden_size": (("bert.v_embeddings.image_embeddings.weight", 0),),
    "bi_hidden_size": (("bert.t_pooler.dense.weight", 0), (f"{C_LAYER}.biattention.query1.weight", 0)),
    "text_ffn_dim": ((f"{LAYER}.intermediate.dense.weight", 0), (f"{C_LAYER}.t_intermediate.dense.weight", 0)),
    "image_ffn_dim": ((f"{V_LAYER}.intermediate.dense.weight", 0), (f"{C_LAYER}.v_intermediate.dense.weight", 0)),
    "head_hidden_size": tuple(
        (f"{head.prefix}.logit_fc.0.weight", 0) for head in parameter_names.HEADS if head.form == "mlp"
    ),
    "num_region_categories": (("cls.imagePredictions.decoder.weight", 0),),
}
"""For each of our sizes the tensors that show it, the first one found counting, and along which dimension."""

SAID = {
    "vocab_size": "vocab_size",
    "max_position_embeddings": "max_position_embeddings",
    "hidden_size": "text_hidden_size",
    "v_hidden_size": "image_hidden_size",
    "bi_hidden_size": "bi_hidden_size",
    "v_feature_size": "feature_size",
    "intermediate_size": "text_ffn_dim",
    "v_intermediate_size": "image_ffn_dim",
    "v_target_size": "num_region_categories",
    "num_attention_heads": "text_attention_heads",
    "v_num_attention_heads": "image_attention_heads",
    "bi_num_attention_heads": "bi_attention_heads",
    "hidden_dropout_prob": "dropout",
    "initializer_range": "init_scale",
    "layer_norm_eps": "layer_norm_eps",
}
"""Keys of the official JSON and ours. Keys that change nothing here (``pooling_method``, ``bi_intermediate_size``,
which the original doesn't read either) are passed over."""

ONLY = {
    "hidden_act": ("gelu",),
    "v_hidden_act": ("gelu",),
    "model": ("bert",),
    "model_type": ("bert",),
    "dynamic_attention": (False,),
    "with_coattention": (True,),
    "fusion_method": ("mul", "sum"),
}
"""Keys that would make another network of it, and the values that don't."""

OTHER_DROPOUTS = ("attention_probs_dropout_prob", "v_attention_probs_dropout_prob", "v_hidden_dropout_prob")

HEADS_OF_WIDTH = {
    "text_attention_heads": ("text_hidden_size", {768: 12, 1024: 16}),
    "image_attention_heads": ("image_hidden_size", {1024: 8}),
    "bi_attention_heads": ("bi_hidden_size", {1024: 8}),
}
"""Attention heads of the published widths (BERT-base and -large; ViLBERT), for files that come without a JSON."""


def config_of(
    tensors: Mapping[str, Tensor], said: Mapping[str, Any], *, plain_bert: bool
) -> tuple[ModelConfig, list[str]]:
    """The configuration of a file, by current official names, and notes on what was taken for granted.

    ``said``: the official JSON, empty where there is none. ``plain_bert``: the file has a text stream alone, so all
    other sizes are the JSON's or the published ones.

    Raises:
        TwelvefoldError: file and JSON disagree (every difference listed), the JSON asks for another network, or
            attention heads can't be told.
    """
    problems = [
        f"{key}: expected {' or '.join(map(repr, valid))}, got {said[key]!r}"
        for key, valid in ONLY.items()
        if key in said and said[key] not in valid
    ]
    sizes = {field: size for field, places in SHAPES.items() if (size := _size(tensors, places)) is not None}
    fields: dict[str, Any] = {"fusion": {"sum": "sum"}.get(said.get("fusion_method", "mul"), "product")}
    for key, field in SAID.items():
        if key in said:
            fields[field] = said[key]
            if field in sizes and sizes[field] != said[key]:
                problems.append(f"{key}: the JSON says {said[key]!r}, the file's tensors {sizes[field]}")
    layers, more = _layers(tensors, said, plain_bert=plain_bert)
    problems += more
    if problems:
        raise TwelvefoldError("the official configuration does not fit:\n  " + "\n  ".join(problems))
    if not plain_bert and "num_region_categories" not in sizes:
        fields["num_region_categories"] = 0
    elif plain_bert:
        fields.setdefault("num_region_categories", 1601)
    fields |= sizes | layers
    fields.setdefault("head_hidden_size", 2 * fields.get("bi_hidden_size", ModelConfig().bi_hidden_size))
    notes = _heads(fields)
    dropout = fields.get("dropout", 0.1)
    others = [f"{key} {said[key]}" for key in OTHER_DROPOUTS if said.get(key, dropout) != dropout]
    if others:
        notes.append(
            f"one dropout for all, {dropout} (hidden_dropout_prob); the JSON's {', '.join(others)} is not kept"
        )
    fields["word_score"] = f"{parameter_names.WORD_SCORE}.weight" in tensors
    fields["task_token"] = "dataset" if parameter_names.TASK_EMBEDDINGS in tensors else "none"
    try:
        return msgspec.convert(fields, ModelConfig), notes
    except msgspec.ValidationError as error:
        raise TwelvefoldError(f"the official configuration does not fit: {error}") from error


def _size(tensors: Mapping[str, Tensor], places: tuple[tuple[str, int], ...]) -> int | None:
    for name, dimension in places:
        if name in tensors and tensors[name].ndim > dimension:
            return tensors[name].shape[dimension]
    return None


def _layers(
    tensors: Mapping[str, Tensor], said: Mapping[str, Any], *, plain_bert: bool
) -> tuple[dict[str, int], list[str]]:
    """Layers of each stream before the first block, and blocks. The original runs a stream's layers up to the number
    in ``*_biattention_id``, then co-attention: ids that count through to the last layer are our blocks."""
    counts = {kind: _count(tensors, kind) for kind in ("layer", "v_layer", "c_layer")}
    problems = []
    for kind, key in (("layer", "num_hidden_layers"), ("v_layer", "v_num_hidden_layers")):
        counts[kind] = counts[kind] or said.get(key, 6)  # none in the file: plain BERT's image stream
        if said.get(key, counts[kind]) != counts[kind]:
            problems.append(f"{key}: the JSON says {said[key]!r}, the file's tensors {counts[kind]}")
    blocks = counts["c_layer"] or (len(said.get("v_biattention_id", ())) or 6 if plain_bert else 0)
    for kind, key in (("layer", "t_biattention_id"), ("v_layer", "v_biattention_id")):
        served = list(range(counts[kind] - blocks, counts[kind]))
        if counts[kind] < blocks:
            problems.append(
                f"{counts[kind]} of {kind}, but {blocks} of c_layer: each of these comes before one of those"
            )
        elif list(said.get(key, served)) != served:
            problems.append(
                f"{key}: co-attention before the last {blocks} layers, {served}, is what can be read; got {said[key]}"
            )
    return {
        "num_text_layers": counts["layer"] - blocks,
        "num_image_layers": counts["v_layer"] - blocks,
        "num_coattention_layers": blocks,
    }, problems


def _count(tensors: Mapping[str, Tensor], kind: str) -> int:
    """How many layers of a kind there are: the highest number, and one."""
    pattern = re.compile(rf"bert\.encoder\.{kind}\.(\d+)\.")
    return max((int(found[1]) + 1 for name in tensors if (found := pattern.match(name))), default=0)


def _heads(fields: dict[str, Any]) -> list[str]:
    """Fill in attention heads that nobody gave, where the widths are published ones; what was filled in."""
    notes = []
    for field, (width, known) in HEADS_OF_WIDTH.items():
        if field not in fields:
            wide = fields.get(width, getattr(ModelConfig(), width))
            if wide not in known:
                raise TwelvefoldError(
                    f"a {width} of {wide} is not a published one, and no shape tells its attention heads ({field}); "
                    "give the model's official JSON"
                )
            fields[field] = known[wide]
            notes.append(f"{field} {known[wide]}, as published with a {width} of {wide}: no shape tells")
    return notes
