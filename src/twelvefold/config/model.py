"""The size and shape of a model: every number that decides its parameters. Paper: section 3.1 (ViLBERT)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from twelvefold.schema import TwelvefoldError, did_you_mean


class ModelConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A two-stream model of any size; the defaults are the published one (``vilbert_base``).

    Each stream first runs its own layers alone (``text_layers``, ``image_layers``); then come ``blocks`` of
    co-attention, one image layer and one text layer. ``joint_*`` is co-attention, the poolers and their product.
    ``*_inner`` is the width inside a feed-forward layer, ``head_inner`` that inside a head's MLP.

    norm: ``post`` as BERT has it, or ``pre`` (with one more at the end of each stream), which trains without
    warm-up troubles from scratch. task_token: one learned row per dataset (section 3.2), per head, or none.
    fusion: how the two pooled vectors become one; the published models multiply.

    region_classes: how many kinds of region the pretraining heads tell apart (section 3.1), or how long a feature
    they rebuild; 0: the model has no pretraining heads. word_score: it has the per-word score of the published
    multi-task files, which no task uses.

    init: ``normal`` draws weights from N(0, init_scale²), ``fan_in`` from N(0, init_scale² / inputs).
    ``residual_scale`` multiplies the weights that write into a residual stream. ``answer_bias`` and
    ``region_bias`` start answers and regions off improbable, as most of them are.

    sees: ``text`` hides every region's look and place from the model, ``image`` every word: what a task gives away
    to the whole network with one side hidden (``twelvefold blind`` has lighter ones).
    """

    vocabulary_size: int = 30522
    max_positions: int = 512
    feature_size: int = 2048
    text_width: int = 768
    image_width: int = 1024
    joint_width: int = 1024
    text_heads: int = 12
    image_heads: int = 8
    joint_heads: int = 8
    text_inner: int = 3072
    image_inner: int = 1024
    head_inner: int = 2048
    text_layers: int = 6
    image_layers: int = 0
    blocks: int = 6
    norm: Literal["post", "pre"] = "post"
    norm_eps: float = 1e-12
    dropout: float = 0.1
    task_token: Literal["dataset", "head", "none"] = "dataset"  # noqa: S105
    fusion: Literal["product", "sum"] = "product"
    region_classes: int = 0
    word_score: bool = False
    init: Literal["normal", "fan_in"] = "normal"
    init_scale: float = 0.02
    residual_scale: float = 1.0
    answer_bias: float = 0.0
    region_bias: float = 0.0
    sees: Literal["both", "text", "image"] = "both"

    def __post_init__(self) -> None:
        for width, heads in (
            ("text_width", "text_heads"),
            ("image_width", "image_heads"),
            ("joint_width", "joint_heads"),
        ):
            w, h = getattr(self, width), getattr(self, heads)
            if h < 1 or w < 1 or w % h:
                raise TwelvefoldError(f"model: {width} = {w} can't be split among {heads} = {h} heads of equal width")
        least_of = {"blocks": 1, "text_layers": 0, "image_layers": 0, "vocabulary_size": 1, "region_classes": 0}
        for name, least in least_of.items():
            if getattr(self, name) < least:
                raise TwelvefoldError(f"model: {name} must be at least {least}, got {getattr(self, name)}")
        if not 0.0 <= self.dropout < 1.0:
            raise TwelvefoldError(f"model: dropout must be at least 0 and less than 1, got {self.dropout}")


PRESETS: dict[str, dict[str, Any]] = {
    "vilbert_base": {},
    "small": {
        "feature_size": 192,
        "text_width": 128,
        "image_width": 128,
        "joint_width": 128,
        "text_heads": 4,
        "image_heads": 4,
        "joint_heads": 4,
        "text_inner": 256,
        "image_inner": 256,
        "head_inner": 256,
        "text_layers": 1,
        "image_layers": 1,
        "blocks": 1,
        "norm": "pre",
        "norm_eps": 1e-6,
        "dropout": 0.0,
        "init": "fan_in",
        "init_scale": 0.8,
        "residual_scale": 0.5,
        "answer_bias": -3.5,
        "region_bias": -2.0,
    },
}
"""``vilbert_base``: the published configuration (6 image, 12 text, 6 co-attention layers; the supplement's
defaults). ``small``: learns the embedded world from scratch in minutes on one CPU core (measured)."""


def preset(name: str, **changes: Any) -> ModelConfig:
    """A preset with some fields changed: ``preset("small", blocks=2)``.

    Raises:
        TwelvefoldError: no such preset, no such field, or a value that can't be.
    """
    if name not in PRESETS:
        raise TwelvefoldError(f"no model preset {name!r}; there are {', '.join(PRESETS)}{did_you_mean(name, PRESETS)}")
    return changed(ModelConfig(), **PRESETS[name] | changes)


def changed(config: ModelConfig, **changes: Any) -> ModelConfig:
    """A configuration with some fields changed.

    Raises:
        TwelvefoldError: no such field, or a value that can't be.
    """
    check_names(changes)
    try:
        return msgspec.convert({**msgspec.to_builtins(config), **changes}, ModelConfig)
    except msgspec.ValidationError as error:
        raise TwelvefoldError(f"model: {error}") from error


def check_names(changes: Iterable[str]) -> None:
    """See that these are fields of a configuration.

    Raises:
        TwelvefoldError: one is not; names the closest.
    """
    fields = ModelConfig.__struct_fields__
    for field in changes:
        if field not in fields:
            raise TwelvefoldError(f"a model has no {field!r}; it has {', '.join(fields)}{did_you_mean(field, fields)}")
