"""Export one task of a model as an ONNX file, for programs without PyTorch: one image and one text in, logits out.

Batch, text length and number of regions are free. Inputs are those of the network (:class:`twelvefold.batch.Batch`):
word pieces, region features and locations, padded and masked. The file's metadata say what its numbers mean. Paper:
section 3.2, Eqs. 1-4, for tasks with one image.
"""

from __future__ import annotations

import importlib.util
import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from twelvefold.batch import Batch
from twelvefold.device import select_device
from twelvefold.export import hub
from twelvefold.families import load_family
from twelvefold.model import Model
from twelvefold.schema import TaskSpec, TwelvefoldError, did_you_mean
from twelvefold.store import atomic_files

OPSET = 20
"""The first opset with GELU as one operator; onnxruntime reads it since 1.17 (2024)."""
REQUIRED_PACKAGES = ("onnx", "onnxscript")
INPUTS = {
    "token_ids": "(batch, tokens) int64: [CLS] 101, BERT's uncased word pieces, [SEP] 102, padding 0",
    "token_mask": "(batch, tokens) bool: true for a word piece",
    "features": "(batch, regions, {feature_size}) float32: row 0 is the mean of the others, then a row per region",
    "locations": "(batch, regions, 5) float32: x1/width, y1/height, x2/width, y2/height, share of the image area; "
    "row 0 is 0, 0, 1, 1, 1",
    "region_mask": "(batch, regions) bool: true for a region",
}
"""Inputs of the file, in order."""
MAX_BYTES = 2**31
"""Limit of one protobuf message, which an ONNX file is."""


@dataclass(frozen=True, slots=True)
class OnnxSummary:
    """What was written. outputs: names of the columns of the logits; empty for retrieval and grounding."""

    file: Path
    task: str
    family: str
    opset: int
    megabytes: float
    inputs: dict[str, str]
    output: str
    outputs: tuple[str, ...]


class _TaskNetwork(nn.Module):
    """A model as a function of five tensors."""

    def __init__(self, model: Model, task: str) -> None:
        super().__init__()
        self.model = model
        self.task = task

    def forward(
        self, token_ids: Tensor, token_mask: Tensor, features: Tensor, locations: Tensor, region_mask: Tensor
    ) -> Tensor:
        batch = Batch(
            task=self.task,
            pairs_per_example=1,
            example_ids=[],
            token_ids=token_ids,
            token_mask=token_mask,
            features=features,
            boxes_px=locations[..., :4],  # no head reads boxes
            locations=locations,
            region_mask=region_mask,
            candidate_mask=region_mask,
        )
        logits: Tensor = self.model(batch)
        return logits


def export_onnx(model_path: Path, task: str, out: Path) -> OnnxSummary:
    """Write one task of a model as an ONNX file in float32.

    Args:
        model_path: Folder of a model, of a run (its latest checkpoint), or of a hub.
        task: Name of a task with one image per example, or of a retrieval task (the score of one pair).
        out: File to write.

    Raises:
        TwelvefoldError: the extra ``onnx`` is not installed; the model has no such task, or the task reads two
            images; the file would be too large for ONNX.
    """
    missing = [name for name in REQUIRED_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise TwelvefoldError(f"an ONNX file needs {' and '.join(missing)}: pip install 'twelvefold[onnx]'")
    model = hub.load_model(model_path).to(select_device("cpu"))
    spec = _find_task(model, task)
    proto = _export(model, spec).model_proto
    if proto.ByteSize() >= MAX_BYTES:
        raise TwelvefoldError(
            f"task {task} needs an ONNX file of {proto.ByteSize():,} bytes; ONNX allows {MAX_BYTES:,}"
        )
    inputs = {name: text.format(feature_size=model.config.feature_size) for name, text in INPUTS.items()}
    for name, value in _metadata(model, spec, inputs).items():
        proto.metadata_props.add(key=name, value=value)
    for graph_input in proto.graph.input:
        graph_input.doc_string = inputs[graph_input.name]
    logits, outputs = load_family(spec.family).logits_description, model.head_specs[spec.head].outputs
    proto.graph.output[0].doc_string = logits
    data = proto.SerializeToString()
    atomic_files.write_bytes(out, data)
    return OnnxSummary(out, task, spec.family, OPSET, len(data) / 1e6, inputs, logits, outputs)


def _find_task(model: Model, task: str) -> TaskSpec:
    valid = [name for name, spec in model.tasks.items() if _reads_single_image(model, spec)]
    names = ", ".join(valid) or "none"
    if task not in model.tasks:
        raise TwelvefoldError(f"the model has no task {task!r}{did_you_mean(task, valid)}; it has {names}")
    if task not in valid:
        raise TwelvefoldError(f"task {task} reads two images, an ONNX file is for one; tasks: {names}")
    return model.tasks[task]


def _reads_single_image(model: Model, spec: TaskSpec) -> bool:
    """Retrieval trains with several pairs per example, but scores each pair on its own."""
    return load_family(spec.family).head_kind == "pair_score" or model.head_specs[spec.head].pairs_per_example == 1


def _export(model: Model, spec: TaskSpec) -> Any:
    """Trace at sizes that differ from each other and from 1, so that no size becomes a constant; return the program."""
    regions, tokens, size = 3, 5, model.config.feature_size
    example = (
        torch.ones(2, tokens, dtype=torch.int64),
        torch.ones(2, tokens, dtype=torch.bool),
        torch.zeros(2, regions, size),
        torch.zeros(2, regions, 5),
        torch.ones(2, regions, dtype=torch.bool),
    )
    batch_dim = torch.export.Dim("batch")
    tokens_dim = torch.export.Dim("tokens", min=3, max=model.config.max_position_embeddings)  # [CLS], a word, [SEP]
    regions_dim = torch.export.Dim("regions")
    shapes = ({0: batch_dim, 1: tokens_dim},) * 2 + ({0: batch_dim, 1: regions_dim},) * 3
    device = next(model.parameters()).device
    inputs = tuple(tensor.to(device) for tensor in example)
    traced = torch.export.export(_TaskNetwork(model, spec.name).eval(), inputs, dynamic_shapes=shapes)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="# The axis name")  # inputs share axes on purpose
        return torch.onnx.export(
            traced,
            opset_version=OPSET,
            input_names=list(INPUTS),
            output_names=["logits"],
            dynamic_shapes=shapes,  # gives the axes their names
            verbose=False,
        )


def _metadata(model: Model, spec: TaskSpec, inputs: dict[str, str]) -> dict[str, str]:
    """Return what a program needs to use the file; structures are JSON."""
    return {
        "twelvefold.task": spec.name,
        "twelvefold.family": spec.family,
        "twelvefold.outputs": json.dumps(model.head_specs[spec.head].outputs, ensure_ascii=False),
        "twelvefold.max_tokens": str(min(spec.max_tokens, model.config.max_position_embeddings)),
        "twelvefold.max_regions": str(spec.max_regions),
        "twelvefold.feature_size": str(model.config.feature_size),
        "twelvefold.inputs": json.dumps(inputs),
        "twelvefold.logits": load_family(spec.family).logits_description,
    }
