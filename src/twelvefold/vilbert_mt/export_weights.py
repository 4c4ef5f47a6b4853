"""A model folder as an official file again: official names, every entry that the original's loader looks for.

An imported model gives back exactly the entries that it came from, bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from twelvefold.model import provenance, save_load, tensor_files
from twelvefold.schema import TwelvefoldError
from twelvefold.store import atomic_files
from twelvefold.vilbert_mt import parameter_names
from twelvefold.vilbert_mt.parameter_names import DECODER, WORDS


@dataclass(frozen=True, slots=True)
class ExportSummary:
    """What was written. zeros: official tensors that no output depends on and the model has not, filled with zeros.
    carried: those that came along from the file it was imported from."""

    file: Path
    entries: int
    parameters: int
    zeros: tuple[str, ...]
    carried: tuple[str, ...]


def export_weights(folder: Path, file: Path) -> ExportSummary:
    """Write a model, or that of a run, under official names: safetensors where ``file`` ends so, else what
    ``torch.save`` writes.

    Raises:
        TwelvefoldError: the folder holds no model, or one that the official network has no place for: each reason
            is listed.
    """
    folder = save_load.model_folder(folder)
    said, came_from = save_load.describe(folder), provenance.read(folder)
    reasons = _reasons(said)
    if reasons:
        listed = "\n  ".join(reasons)
        raise TwelvefoldError(f"{folder} can't be an official model:\n  {listed}\na hub folder holds any model (--hub)")
    entries = dict(_official(folder, said, own=came_from is None))
    carried = dict(_tensors(folder / provenance.CARRIED)) if (folder / provenance.CARRIED).exists() else {}
    entries |= carried
    zeros = []
    if came_from is None or came_from.fresh:
        if not said.config.num_region_categories:
            entries.pop(DECODER)
        for name, shape in parameter_names.idle(said.config).items():
            if name not in entries:
                entries[name] = torch.zeros(shape)
                zeros.append(name)
    else:
        entries = {name: entries[name] for name in came_from.names}
    for name, dtype in came_from.dtypes.items() if came_from else ():
        entries[name] = entries[name].to(getattr(torch, dtype))
    _save(file, entries)
    count = sum(tensor.numel() for name, tensor in entries.items() if not _tied(name, entries))
    return ExportSummary(file, len(entries), count, tuple(zeros), tuple(carried))


def _tied(name: str, entries: dict[str, Tensor]) -> bool:
    return name == DECODER and WORDS in entries and entries[WORDS] is entries[DECODER]


def _save(file: Path, entries: dict[str, Tensor]) -> None:
    if file.suffix != ".safetensors":
        with atomic_files.atomic_file(file) as opened:
            torch.save(entries, opened)
        return
    if _tied(DECODER, entries):  # safetensors knows no ties: both names are written
        entries = entries | {DECODER: entries[DECODER].clone()}
    tensor_files.write(file, entries)


def _official(folder: Path, said: save_load.Description, *, own: bool) -> Iterator[tuple[str, Tensor]]:
    """The model's tensors by official name, in the order of the official table."""
    tensors = dict(_tensors(folder / save_load.TENSORS))
    for place in parameter_names.places(said.config, said.heads):
        whole = tensors[place.ours]
        if own and place.official == (parameter_names.TASK_EMBEDDINGS,) and len(whole) < len(parameter_names.TASK_ROWS):
            whole = _rows(whole, said.task_tokens)
        parts = whole.chunk(len(place.official)) if len(place.official) > 1 else [whole]
        for name, part in zip(place.official, parts, strict=True):
            yield name, part.clone() if len(parts) > 1 else part
    yield DECODER, tensors["trunk.text_embeddings.words.weight"]


def _rows(table: Tensor, names: list[str]) -> Tensor:
    """A task embedding of our own with its rows at their official numbers; rows that nobody has are zero."""
    whole = table.new_zeros(len(parameter_names.TASK_ROWS), table.shape[1])
    for name, row in zip(names, table, strict=True):
        whole[parameter_names.TASK_ROWS.index(name)] = row
    return whole


def _tensors(path: Path) -> Iterator[tuple[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118
                yield name, file.get_tensor(name)
    except (OSError, SafetensorError) as error:
        raise TwelvefoldError(f"{path}: can't be read as safetensors ({error})") from error


def _reasons(said: save_load.Description) -> list[str]:
    """Why the official network can't be this one."""
    reasons, config = [], said.config
    if config.norm != "post":
        reasons.append("it norms before each step (norm = pre); the official model after it")
    if said.word_pieces:
        reasons.append("only some word pieces have a row of their own; the official model has one for each")
    if config.task_token == "head":  # noqa: S105
        reasons.append("its task tokens are one per head; the official model's one per dataset")
    theirs = {head.name: head for head in parameter_names.HEADS}
    for head in said.heads:
        known = theirs.get(head.name)
        if known is None or known.kind != head.family or known.pairs != head.pairs_per_example:
            reasons.append(
                f"the official model has no head {head.name} ({head.family}, {head.pairs_per_example} pairs)"
            )
        elif head.family in ("answers", "verification") and known.form != head.form:
            reasons.append(f"the official head {head.name} is of form {known.form}, the model's {head.form}")
    numbered = [name for name in said.task_tokens if not name.startswith("row.")]
    reasons += [
        f"the official task embedding has no row for {n}" for n in numbered if n not in parameter_names.TASK_ROWS
    ]
    return reasons
