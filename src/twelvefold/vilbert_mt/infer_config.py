"""Infer the sizes of a vilbert-multi-task model from the shapes of its tensors and the JSON published with it.

Shapes are decisive. The JSON adds what no shape shows (attention heads, dropout); where both give a size they must
agree. Paper: section 3.1, "default parameter setting"; the original project's ``bert_base_6layer_6conect.json``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from torch import Tensor

from twelvefold.config.model import ModelConfig
from twelvefold.schema import TwelvefoldError
from twelvefold.vilbert_mt.parameter_names import HEADS, TASK_EMBEDDINGS, WORD_DECODER, WORD_EMBEDDINGS, WORD_SCORE

LAYER, V_LAYER, C_LAYER = (f"bert.encoder.{layer}.0" for layer in ("layer", "v_layer", "c_layer"))

SIZE_SOURCES = {
    "vocab_size": ((WORD_EMBEDDINGS, 0), (WORD_DECODER, 0)),
    "text_hidden_size": ((WORD_EMBEDDINGS, 1), (WORD_DECODER, 1)),
    "max_position_embeddings": (("bert.embeddings.position_embeddings.weight", 0),),
    "feature_size": (("bert.v_embeddings.image_embeddings.weight", 1),),
    "image_hidden_size": (("bert.v_embeddings.image_embeddings.weight", 0),),
    "bi_hidden_size": (("bert.t_pooler.dense.weight", 0), (f"{C_LAYER}.biattention.query1.weight", 0)),
    "text_ffn_dim": ((f"{LAYER}.intermediate.dense.weight", 0), (f"{C_LAYER}.t_intermediate.dense.weight", 0)),
    "image_ffn_dim": ((f"{V_LAYER}.intermediate.dense.weight", 0), (f"{C_LAYER}.v_intermediate.dense.weight", 0)),
    "head_hidden_size": tuple((f"{head.prefix}.logit_fc.0.weight", 0) for head in HEADS if head.form == "mlp"),
    "num_region_categories": (("cls.imagePredictions.decoder.weight", 0),),
}
"""For each of our sizes, tensors and the dimension that has the size. The first tensor in the file counts."""

JSON_KEYS = {
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
"""Keys of the JSON, and ours. Keys without effect (``pooling_method``, ``bi_intermediate_size``) are ignored;
vilbert-multi-task ignores them too."""

SUPPORTED_VALUES = {
    "hidden_act": ("gelu",),
    "v_hidden_act": ("gelu",),
    "model": ("bert",),
    "model_type": ("bert",),
    "dynamic_attention": (False,),
    "with_coattention": (True,),
    "fusion_method": ("mul", "sum"),
}
"""Keys that select another network, and the values that we support."""

OTHER_DROPOUTS = ("attention_probs_dropout_prob", "v_attention_probs_dropout_prob", "v_hidden_dropout_prob")

HEADS_BY_WIDTH = {
    "text_attention_heads": ("text_hidden_size", {768: 12, 1024: 16}),
    "image_attention_heads": ("image_hidden_size", {1024: 8}),
    "bi_attention_heads": ("bi_hidden_size", {1024: 8}),
}
"""Attention heads of the published widths (BERT-base and -large; ViLBERT), for files without a JSON."""


def infer_config(
    tensors: Mapping[str, Tensor], json_config: Mapping[str, Any], *, is_plain_bert: bool
) -> tuple[ModelConfig, list[str]]:
    """Return the configuration of a model, and notes on assumptions.

    ``json_config``: the published JSON, or empty. ``is_plain_bert``: the file has a text stream only, so all other
    sizes are the JSON's or the published ones.

    Raises:
        TwelvefoldError: file and JSON disagree (every difference is listed), the JSON selects another network, or the
            number of attention heads is unknown.
    """
    problems = [
        f"{key}: expected {' or '.join(map(repr, supported))}, got {json_config[key]!r}"
        for key, supported in SUPPORTED_VALUES.items()
        if key in json_config and json_config[key] not in supported
    ]
    sizes = {name: size for name, sources in SIZE_SOURCES.items() if (size := _size(tensors, sources)) is not None}
    fields: dict[str, Any] = {"fusion": "sum" if json_config.get("fusion_method") == "sum" else "product"}
    for key, name in JSON_KEYS.items():
        if key in json_config:
            fields[name] = json_config[key]
            if name in sizes and sizes[name] != json_config[key]:
                problems.append(_contradiction(key, json_config[key], sizes[name]))
    layers, layer_problems = _count_layers(tensors, json_config, is_plain_bert=is_plain_bert)
    problems += layer_problems
    source = "the JSON" if json_config else "the published configuration, which is assumed without --config,"
    if problems:
        raise TwelvefoldError(f"{source} does not fit the file:\n  " + "\n  ".join(problems))
    if not is_plain_bert and "num_region_categories" not in sizes:
        fields["num_region_categories"] = 0
    elif is_plain_bert:
        fields.setdefault("num_region_categories", 1601)
    fields |= sizes | layers
    fields.setdefault("head_hidden_size", 2 * fields.get("bi_hidden_size", ModelConfig().bi_hidden_size))
    notes = _add_attention_heads(fields)
    dropout = fields.get("dropout", 0.1)
    others = [f"{key} {json_config[key]}" for key in OTHER_DROPOUTS if json_config.get(key, dropout) != dropout]
    if others:
        notes.append(f"dropout {dropout} everywhere (hidden_dropout_prob); the JSON's {', '.join(others)} is not used")
    fields["word_score"] = f"{WORD_SCORE}.weight" in tensors
    fields["task_token"] = "dataset" if TASK_EMBEDDINGS in tensors else "none"
    try:
        return msgspec.convert(fields, ModelConfig), notes
    except msgspec.ValidationError as error:
        raise TwelvefoldError(f"{source} does not fit the file: {error}") from error


def _contradiction(key: str, json_value: object, size: int) -> str:
    return f"{key}: the JSON says {json_value!r}, the file's tensors {size}"


def _size(tensors: Mapping[str, Tensor], sources: Sequence[tuple[str, int]]) -> int | None:
    for name, dimension in sources:
        if name in tensors and tensors[name].ndim > dimension:
            return tensors[name].shape[dimension]
    return None


def _count_layers(
    tensors: Mapping[str, Tensor], json_config: Mapping[str, Any], *, is_plain_bert: bool
) -> tuple[dict[str, int], list[str]]:
    """Return the number of layers of each stream before the first block, the number of blocks, and problems.

    vilbert-multi-task runs the layers of a stream up to the number in ``*_biattention_id``, then co-attention. Our
    blocks are equivalent if these numbers count up to the last layer.
    """
    counts = {layer: _count(tensors, layer) for layer in ("layer", "v_layer", "c_layer")}
    problems = []
    for layer, key in (("layer", "num_hidden_layers"), ("v_layer", "v_num_hidden_layers")):
        counts[layer] = counts[layer] or json_config.get(key, 6)  # a plain BERT has no image stream
        if json_config.get(key, counts[layer]) != counts[layer]:
            problems.append(_contradiction(key, json_config[key], counts[layer]))
    blocks = counts["c_layer"] or (len(json_config.get("v_biattention_id", ())) or 6 if is_plain_bert else 0)
    for layer, key in (("layer", "t_biattention_id"), ("v_layer", "v_biattention_id")):
        expected = list(range(counts[layer] - blocks, counts[layer]))
        if counts[layer] < blocks:
            problems.append(
                f"{counts[layer]} x {layer}, but {blocks} x c_layer (co-attention), each of which needs a {layer}"
            )
        elif list(json_config.get(key, expected)) != expected:
            problems.append(
                f"{key}: expected co-attention before the last {blocks} layers, {expected}; got {json_config[key]}"
            )
    layers = {
        "num_text_layers": counts["layer"] - blocks,
        "num_image_layers": counts["v_layer"] - blocks,
        "num_coattention_layers": blocks,
    }
    return layers, problems


def _count(tensors: Mapping[str, Tensor], layer: str) -> int:
    """Return the number of layers: the highest index plus one."""
    pattern = re.compile(rf"bert\.encoder\.{layer}\.(\d+)\.")
    return max((int(match[1]) + 1 for name in tensors if (match := pattern.match(name))), default=0)


def _add_attention_heads(fields: dict[str, Any]) -> list[str]:
    """Add missing numbers of attention heads if the widths are published ones; return notes about them."""
    notes = []
    for name, (width_name, published) in HEADS_BY_WIDTH.items():
        if name not in fields:
            width = fields.get(width_name, getattr(ModelConfig(), width_name))
            if width not in published:
                raise TwelvefoldError(
                    f"{width_name} {width} is not a published one, so the number of attention heads ({name}) is "
                    "unknown; give the model's JSON (--config)"
                )
            fields[name] = published[width]
            notes.append(f"{name} {published[width]}, as published with {width_name} {width}; no shape shows it")
    return notes
