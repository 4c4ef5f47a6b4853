"""One task of a model as an ONNX file, for programs that have no PyTorch: one picture and one text in, logits out.

The file takes batches, texts and pictures of any size and says in its metadata what its numbers mean. It wants the
same inputs as the network itself (``schema.Batch``): word pieces, region features and places, padded and masked.
Paper: section 3.2, Eqs. 1-4, for tasks of one picture.
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
from twelvefold.export import hub
from twelvefold.model import Model
from twelvefold.schema import FamilyName, TaskSpec, TwelvefoldError, did_you_mean
from twelvefold.store import atomic_files

OPSET = 20
"""The first with GELU as one operator; onnxruntime reads it since 1.17 (2024)."""
NEEDED = ("onnx", "onnxscript")
INPUTS = {
    "token_ids": "(batch, tokens) int64: [CLS] 101, BERT's uncased word pieces, [SEP] 102, padding 0",
    "token_mask": "(batch, tokens) bool: true where there is a word piece",
    "features": "(batch, regions, {feature_size}) float32: row 0 the mean of all others, then a row for each region",
    "locations": "(batch, regions, 5) float32: x1/width, y1/height, x2/width, y2/height, share of the picture's area; "
    "row 0 is 0, 0, 1, 1, 1",
    "region_mask": "(batch, regions) bool: true where there is a region",
}
"""The file's inputs, in their order."""
OUTPUT: dict[FamilyName, str] = {
    "answers": "(batch, answers) float32: the sigmoid of each is that answer's own probability",
    "retrieval": "(batch, 1) float32: how well text and picture go together; a soft-max over pairs that compete",
    "grounding": "(batch, regions) float32: a soft-max over the rows that may be meant; masked rows say nothing",
    "verification": "(batch, classes) float32: a soft-max over the classes",
}
LARGEST = 2**31
"""Bytes that one protobuf message, which an ONNX file is, can have."""


@dataclass(frozen=True, slots=True)
class OnnxSummary:
    """What was written. outputs: names of the logits' columns, in order; empty for retrieval and grounding."""

    file: Path
    task: str
    family: FamilyName
    opset: int
    megabytes: float
    inputs: dict[str, str]
    output: str
    outputs: tuple[str, ...]


class _Task(nn.Module):
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
            boxes_px=locations[..., :4],  # which no head reads
            locations=locations,
            region_mask=region_mask,
            candidate_mask=region_mask,
        )
        logits: Tensor = self.model(batch)
        return logits


def export_onnx(where: Path, task: str, file: Path) -> OnnxSummary:
    """Write a task of the model in ``where`` (a model's folder, a run's, or a hub's) as an ONNX file, in float32.

    Raises:
        TwelvefoldError: the extra ``onnx`` is not installed; the model has no such task, or it reads two pictures;
            the file would be larger than ONNX allows.
    """
    lacking = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if lacking:
        raise TwelvefoldError(f"an ONNX file needs {' and '.join(lacking)}: pip install 'twelvefold[onnx]'")
    model = hub.load(where)
    spec = _spec(model, task)
    program = _exported(model, spec)
    proto = program.model_proto
    if proto.ByteSize() >= LARGEST:
        raise TwelvefoldError(f"task {task} makes an ONNX file of {proto.ByteSize():,} bytes; it can have {LARGEST:,}")
    inputs = {name: said.format(feature_size=model.config.feature_size) for name, said in INPUTS.items()}
    for name, value in _metadata(model, spec, inputs).items():
        proto.metadata_props.add(key=name, value=value)
    for described in proto.graph.input:
        described.doc_string = inputs[described.name]
    proto.graph.output[0].doc_string = OUTPUT[spec.family]
    data = proto.SerializeToString()
    atomic_files.write_bytes(file, data)
    outputs = model.head_specs[spec.head].outputs
    return OnnxSummary(file, task, spec.family, OPSET, len(data) / 1e6, inputs, OUTPUT[spec.family], outputs)


def _spec(model: Model, task: str) -> TaskSpec:
    one_picture = [name for name, spec in model.tasks.items() if _reads_one_picture(model, spec)]
    if task not in model.tasks:
        raise TwelvefoldError(
            f"the model has no task {task!r}{did_you_mean(task, one_picture)}; "
            f"it has {', '.join(one_picture) or 'none'}"
        )
    if task not in one_picture:
        raise TwelvefoldError(f"task {task} reads two pictures; an ONNX file is for one: {', '.join(one_picture)}")
    return model.tasks[task]


def _reads_one_picture(model: Model, spec: TaskSpec) -> bool:
    """Retrieval learns from several pairs, but scores each alone."""
    return spec.family == "retrieval" or model.head_specs[spec.head].pairs_per_example == 1


def _exported(model: Model, spec: TaskSpec) -> Any:
    """Traced at sizes that are unlike each other and unlike 1, so that none of them can become a constant."""
    rows, tokens, size = 3, 5, model.config.feature_size
    example = (
        torch.ones(2, tokens, dtype=torch.int64),
        torch.ones(2, tokens, dtype=torch.bool),
        torch.zeros(2, rows, size),
        torch.zeros(2, rows, 5),
        torch.ones(2, rows, dtype=torch.bool),
    )
    batch = torch.export.Dim("batch")
    length = torch.export.Dim("tokens", min=3, max=model.config.max_position_embeddings)  # [CLS], a word, [SEP]
    regions = torch.export.Dim("regions")
    shapes = ({0: batch, 1: length},) * 2 + ({0: batch, 1: regions},) * 3
    traced = torch.export.export(_Task(model, spec.name).eval(), example, dynamic_shapes=shapes)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="# The axis name")  # two inputs share an axis: as it should be
        return torch.onnx.export(
            traced,
            opset_version=OPSET,
            input_names=list(INPUTS),
            output_names=["logits"],
            dynamic_shapes=shapes,  # here for the axes' names alone
            verbose=False,
        )


def _metadata(model: Model, spec: TaskSpec, inputs: dict[str, str]) -> dict[str, str]:
    """What a program must know to use the file: under names of our own, structures as JSON."""
    return {
        "twelvefold.task": spec.name,
        "twelvefold.family": spec.family,
        "twelvefold.outputs": json.dumps(model.head_specs[spec.head].outputs, ensure_ascii=False),
        "twelvefold.max_tokens": str(min(spec.max_tokens, model.config.max_position_embeddings)),
        "twelvefold.max_regions": str(spec.max_regions),
        "twelvefold.feature_size": str(model.config.feature_size),
        "twelvefold.inputs": json.dumps(inputs),
        "twelvefold.logits": OUTPUT[spec.family],
    }
