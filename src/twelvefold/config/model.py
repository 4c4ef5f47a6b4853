"""The size and shape of a model: every number that decides its parameters. Paper: section 3.1 (ViLBERT)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from twelvefold.config import renamed
from twelvefold.config.validation import check_name, check_numbers
from twelvefold.schema import TwelvefoldError, did_you_mean


class ModelConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Configuration of a model; the defaults are those of the published one (``vilbert_base``).

    In the two-stream trunk, text and image streams first run their own transformer layers (``num_text_layers``,
    ``num_image_layers``). Then come ``num_coattention_layers`` blocks, each with a co-attention layer, an image layer
    and a text layer. The published model therefore has 6 image, 12 text and 6 co-attention layers.
    """

    trunk: Literal["two_stream", "single_stream"] = "two_stream"
    """The network between inputs and heads; ``two_stream`` is the paper's. The others have a file of this name in
    ``model/`` that says which of the fields below they read."""
    vocab_size: int = 30522
    max_position_embeddings: int = 512
    feature_size: int = 2048
    """Length of a region's feature vector."""
    text_hidden_size: int = 768
    image_hidden_size: int = 1024
    bi_hidden_size: int = 1024
    """Hidden size of co-attention, of the pooled vectors and of their product."""
    text_attention_heads: int = 12
    image_attention_heads: int = 8
    bi_attention_heads: int = 8
    text_ffn_dim: int = 3072
    image_ffn_dim: int = 1024
    head_hidden_size: int = 2048
    """Hidden size of the two-layer MLP of a task head."""
    num_text_layers: int = 6
    num_image_layers: int = 0
    num_coattention_layers: int = 6
    norm: Literal["post", "pre"] = "post"
    """Layer norm after each residual sum (``post``, as in BERT) or before each sublayer (``pre``, which trains more
    stably from scratch and adds a final norm to each stream)."""
    layer_norm_eps: float = 1e-12
    dropout: float = 0.1
    task_token: Literal["dataset", "group", "head", "none"] = "dataset"  # noqa: S105
    """A learned embedding per dataset (section 3.2), per group of tasks (the paper's "per output head, 4 total"), per
    head of the model, or none."""
    fusion: Literal["product", "sum"] = "product"
    """How the pooled text and image vectors are combined; the published models multiply."""
    num_region_categories: int = 0
    """Detector categories that the pretraining heads predict for a masked region (section 3.1), or the length of the
    feature vector that they regress; 0: no pretraining heads."""
    word_score: bool = False
    """Add the per-word score head of the published multi-task files, which no task uses."""
    init: Literal["normal", "fan_in"] = "normal"
    """Initialize weights from N(0, init_scale²), or from N(0, init_scale² / number of inputs)."""
    init_scale: float = 0.02
    residual_scale: float = 1.0
    """Factor on the initial weights of layers that write into a residual stream."""
    answer_bias: float = 0.0
    """Initial bias of answer logits; negative, because most answers are wrong."""
    region_bias: float = 0.0
    """Initial bias of region logits; negative, because most regions are wrong."""
    modality: Literal["both", "text", "image"] = "both"
    """Which inputs the model reads: ``text`` zeroes every region's feature and location, ``image`` drops every token
    but [CLS]. Trains a unimodal baseline of full size; ``twelvefold baselines`` trains smaller ones."""

    def __post_init__(self) -> None:
        for stream in ("text", "image", "bi"):
            size, heads = f"{stream}_hidden_size", f"{stream}_attention_heads"
            s, h = getattr(self, size), getattr(self, heads)
            if h < 1 or s < 1 or s % h:
                raise TwelvefoldError(f"model: {size} = {s} must be a positive multiple of {heads} = {h}")
        check_numbers(msgspec.structs.asdict(self), "model")
        for name in self.__struct_fields__:
            value, minimum = getattr(self, name), 0 if name in MAY_BE_ZERO else 1
            if type(value) is int and not minimum <= value <= MAX_SIZE:
                raise TwelvefoldError(f"model: {name} must be between {minimum} and {MAX_SIZE:,}, got {value}")
        for name in ("layer_norm_eps", "init_scale", "residual_scale"):
            if getattr(self, name) < 0:
                raise TwelvefoldError(f"model: {name} must not be negative, got {getattr(self, name)}")
        if not 0.0 <= self.dropout < 1.0:
            raise TwelvefoldError(f"model: dropout must be at least 0 and less than 1, got {self.dropout}")


MAY_BE_ZERO = ("num_text_layers", "num_image_layers", "num_region_categories")
MAX_SIZE = 1 << 20
"""Largest size of any part; the largest published one is a vocabulary of 30,522."""

PRESETS: dict[str, dict[str, Any]] = {
    "vilbert_base": {},
    "small": {
        "feature_size": 192,
        "text_hidden_size": 128,
        "image_hidden_size": 128,
        "bi_hidden_size": 128,
        "text_attention_heads": 4,
        "image_attention_heads": 4,
        "bi_attention_heads": 4,
        "text_ffn_dim": 256,
        "image_ffn_dim": 256,
        "head_hidden_size": 256,
        "num_text_layers": 1,
        "num_image_layers": 1,
        "num_coattention_layers": 1,
        "norm": "pre",
        "layer_norm_eps": 1e-6,
        "dropout": 0.0,
        "init": "fan_in",
        "init_scale": 0.8,
        "residual_scale": 0.5,
        "answer_bias": -3.5,
        "region_bias": -2.0,
    },
}
"""``vilbert_base``: the published configuration (6 image, 12 text, 6 co-attention layers; the supplement's
defaults). ``small``: learns the drawn world from scratch in minutes on one CPU core (measured)."""


def preset(name: str, **changes: Any) -> ModelConfig:
    """Return a preset with some fields changed: ``preset("small", num_coattention_layers=2)``.

    Raises:
        TwelvefoldError: no such preset, no such field, or an invalid value.
    """
    if name not in PRESETS:
        raise TwelvefoldError(f"no model preset {name!r}; there are {', '.join(PRESETS)}{did_you_mean(name, PRESETS)}")
    return changed(ModelConfig(), **PRESETS[name] | changes)


def changed(config: ModelConfig, **changes: Any) -> ModelConfig:
    """Return a copy of a configuration with some fields changed.

    Raises:
        TwelvefoldError: no such field, or an invalid value.
    """
    check_names(changes)
    try:
        return msgspec.convert({**msgspec.to_builtins(config), **changes}, ModelConfig)
    except msgspec.ValidationError as error:
        raise TwelvefoldError(f"model: {error}") from error


def check_names(changes: Iterable[str]) -> None:
    """Check that these are fields of :class:`ModelConfig`.

    Raises:
        TwelvefoldError: a name is not a field; the message gives its present name or the closest field.
    """
    for name in changes:
        check_name(name, ModelConfig.__struct_fields__, renamed.RECIPE["model"], name)
