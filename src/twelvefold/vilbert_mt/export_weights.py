"""Write a model folder as a checkpoint of vilbert-multi-task, with every entry that its loader expects.

An imported model is written exactly as it was read, bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from twelvefold.device import select_device
from twelvefold.model import provenance, save_load, tensor_files
from twelvefold.schema import TwelvefoldError
from twelvefold.store import atomic_files
from twelvefold.vilbert_mt.parameter_names import (
    HEADS,
    TASK_EMBEDDINGS,
    TASK_TOKENS,
    WORD_DECODER,
    WORD_EMBEDDINGS,
    map_parameters,
    unused_parameters,
)


@dataclass(frozen=True, slots=True)
class ExportSummary:
    """What was written.

    zeros: tensors that no output depends on and that the model does not have; filled with zeros. carried: tensors
    kept from the imported file.
    """

    file: Path
    entries: int
    parameters: int
    zeros: tuple[str, ...]
    carried: tuple[str, ...]


def export_weights(folder: Path, file: Path) -> ExportSummary:
    """Write a model under the parameter names of vilbert-multi-task.

    Args:
        folder: Folder of a model, or of a run (its latest checkpoint).
        file: File to write: safetensors if the name ends so, else as ``torch.save`` writes.

    Raises:
        TwelvefoldError: the folder has no model, or vilbert-multi-task can't represent it; every reason is listed.
    """
    folder = save_load.model_folder(folder)
    description, origin = save_load.describe(folder), provenance.read(folder)
    reasons = _incompatibilities(description)
    if reasons:
        raise TwelvefoldError(
            f"{folder} can't be a vilbert-multi-task model:\n  "
            + "\n  ".join(reasons)
            + "\na hub folder holds any model (--hub)"
        )
    entries = dict(_renamed_tensors(folder, description, reorder_task_tokens=origin is None))
    carried_path = folder / provenance.CARRIED
    carried = tensor_files.read(carried_path).tensors if carried_path.exists() else {}
    entries |= carried
    zeros = []
    if origin is None or origin.fresh:
        if not description.config.num_region_categories:
            entries.pop(WORD_DECODER)
        for name, shape in unused_parameters(description.config).items():
            if name not in entries:
                entries[name] = torch.zeros(shape)
                zeros.append(name)
    else:
        entries = {name: entries[name] for name in origin.names}
    for name, dtype in origin.dtypes.items() if origin else ():
        entries[name] = entries[name].to(getattr(torch, dtype))
    _save(file, entries)
    num_parameters = sum(tensor.numel() for name, tensor in entries.items() if not _is_tied(name, entries))
    return ExportSummary(file, len(entries), num_parameters, tuple(zeros), tuple(carried))


def _is_tied(name: str, entries: dict[str, Tensor]) -> bool:
    return name == WORD_DECODER and entries.get(WORD_EMBEDDINGS) is entries[WORD_DECODER]


def _save(file: Path, entries: dict[str, Tensor]) -> None:
    on_cpu = {id(tensor): tensor.cpu() for tensor in entries.values()}
    entries = {name: on_cpu[id(tensor)] for name, tensor in entries.items()}  # a tied tensor stays one tensor
    if file.suffix != ".safetensors":
        with atomic_files.atomic_file(file) as opened:
            torch.save(entries, opened)
        return
    if WORD_DECODER in entries and _is_tied(WORD_DECODER, entries):  # safetensors can't hold one tensor twice
        entries = entries | {WORD_DECODER: entries[WORD_DECODER].clone()}
    tensor_files.write(file, entries)


def _renamed_tensors(
    folder: Path, description: save_load.Description, *, reorder_task_tokens: bool
) -> Iterator[tuple[str, Tensor]]:
    """Yield the model's tensors under vilbert-multi-task names."""
    device = select_device("cpu")
    tensors = {
        name: tensor.to(device) for name, tensor in tensor_files.read(folder / save_load.TENSORS).tensors.items()
    }
    for name, sources in map_parameters(description.config, description.heads):
        tensor = tensors[name]
        if reorder_task_tokens and sources == (TASK_EMBEDDINGS,) and len(tensor) < len(TASK_TOKENS):
            tensor = _reorder_task_tokens(tensor, description.task_tokens)
        if len(sources) == 1:
            yield sources[0], tensor
        else:
            for source, part in zip(sources, tensor.chunk(len(sources)), strict=True):
                yield source, part.clone()
    yield WORD_DECODER, tensors["trunk.text_embeddings.words.weight"]


def _reorder_task_tokens(embedding: Tensor, names: list[str]) -> Tensor:
    """Return a task embedding with each row at its vilbert-multi-task number; other rows are zero."""
    rows = embedding.new_zeros(len(TASK_TOKENS), embedding.shape[1])
    for name, row in zip(names, embedding, strict=True):
        rows[TASK_TOKENS.index(name)] = row
    return rows


def _incompatibilities(description: save_load.Description) -> list[str]:
    """Return why vilbert-multi-task can't represent this model; empty if it can."""
    reasons, config = [], description.config
    if config.trunk != "two_stream":
        reasons.append(f"its trunk is {config.trunk}, vilbert-multi-task's is two_stream")
    if config.norm != "post":
        reasons.append("it norms before each step (norm = pre), vilbert-multi-task after it")
    if description.word_pieces:
        reasons.append("only some word pieces have an embedding, in vilbert-multi-task all of them")
    if config.task_token in ("group", "head"):
        reasons.append(f"it has one task token per {config.task_token}, vilbert-multi-task one per dataset")
    vilbert_heads = {head.name: head for head in HEADS}
    for head in description.heads:
        other = vilbert_heads.get(head.name)
        if other is None or (other.family, other.pairs_per_example) != (head.family, head.pairs_per_example):
            reasons.append(
                f"vilbert-multi-task has no head {head.name} ({head.family}, {head.pairs_per_example} pairs)"
            )
        elif head.family in ("answers", "verification") and other.form != head.form:
            reasons.append(
                f"the head {head.name} of vilbert-multi-task is of form {other.form}, the model's {head.form}"
            )
    tasks = [name for name in description.task_tokens if not name.startswith("row.")]
    reasons += [f"vilbert-multi-task has no task token for {name}" for name in tasks if name not in TASK_TOKENS]
    return reasons
