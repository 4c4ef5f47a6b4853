"""Names that earlier versions used in recipes and in the files of a run, each with the present name.

A person's recipe with an old name is refused, and the error states the present one. Files that a run wrote
(``recipe.toml``, ``state.json``, ``events.jsonl``, the optimizer's file) are translated when they are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twelvefold.config.extract import DETECTORS, PATCHES

RECIPE: dict[str, dict[str, str]] = {
    "model": {
        "vocabulary_size": "vocab_size",
        "max_positions": "max_position_embeddings",
        "text_width": "text_hidden_size",
        "image_width": "image_hidden_size",
        "joint_width": "bi_hidden_size",
        "text_heads": "text_attention_heads",
        "image_heads": "image_attention_heads",
        "joint_heads": "bi_attention_heads",
        "text_inner": "text_ffn_dim",
        "image_inner": "image_ffn_dim",
        "head_inner": "head_hidden_size",
        "text_layers": "num_text_layers",
        "image_layers": "num_image_layers",
        "blocks": "num_coattention_layers",
        "norm_eps": "layer_norm_eps",
        "region_classes": "num_region_categories",
        "sees": "modality",
    },
    "training": {
        "beta1": "adam_beta1",
        "beta2": "adam_beta2",
        "epsilon": "adam_eps",
        "clip": "max_grad_norm",
        "accumulation": "gradient_accumulation_steps",
        "stop_from_fraction": "stop_and_go_start_fraction",
        "gap": "stop_and_go_gap",
        "evaluate_within": "eval_interval",
        "checkpoint_every": "checkpoint_interval",
        "keep": "keep_last",
        "loaders": "num_workers",
    },
    "pretraining": {
        "words": "token_mask_prob",
        "regions": "region_mask_prob",
        "hide_overlapping": "mask_overlapping",
        "swapped": "mismatch_prob",
        "tell_of_swapped": "predict_on_mismatched",
        "region_weight": "region_loss_weight",
        "pool": "retrieval_pool",
    },
    "evaluation": {"pool": "retrieval_pool", "bootstrap": "bootstrap_samples"},
}
"""Keys of a recipe, by table."""

STATE = {"measures": "metrics", "made_from": "data_digests"}
"""Keys of ``state.json``, format 1."""

STOP_AND_GO = {"best": "best_score", "mark": "reference_score", "idle": "num_bad_evals"}
"""Keys of each task's stop-and-go state inside ``state.json``, format 1."""

EVENT = {"epoch_iterations": "steps_per_epoch", "measures": "metrics", "initial": "warm_start"}
"""Fields of the events in ``events.jsonl``."""

WARM_START = {"taken": "loaded", "anew": "initialized", "left": "unused"}
"""Fields of ``warm_start`` in the ``start`` event."""

OPTIMIZER_FILE = "optimiser.safetensors"
"""The optimizer's file in checkpoints of format 1."""


def translate(fields: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Return ``fields`` with every old name of ``names`` replaced by the present one."""
    return {names.get(name, name): value for name, value in fields.items()}


def translate_recipe(tables: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tables of a run's recipe with present names, and with what an earlier version did without a key."""
    present = {
        name: translate(value, RECIPE[name]) if name in RECIPE and isinstance(value, Mapping) else value
        for name, value in tables.items()
    }
    training = present.get("training")
    if isinstance(training, Mapping) and training.get("iterations"):  # else both meanings are the same
        present["training"] = {"warmup_fraction_of": "iterations", **training}
    extract = present.get("extract")
    if isinstance(extract, Mapping):
        detector = str(extract.get("detector", DETECTORS[0]))
        if detector not in DETECTORS and not detector.startswith(PATCHES):
            present["extract"] = translate(extract, {"detector": "weights"})  # `detector` was the path of the weights
    return present


def translate_state(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return a ``state.json`` of format 1 with present names."""
    tasks = {task: translate(fields, STOP_AND_GO) for task, fields in state["stop_and_go"].items()}
    return translate(state, STATE) | {"stop_and_go": tasks}


def translate_event(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event with present names."""
    fields = translate(event, EVENT)
    if "warm_start" in fields:
        fields["warm_start"] = translate(fields["warm_start"], WARM_START)
    return fields
