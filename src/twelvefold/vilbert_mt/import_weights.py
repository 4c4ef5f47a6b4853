"""Make a model folder of a checkpoint of vilbert-multi-task.

Our network computes what vilbert-multi-task computes (``tests/vilbert_mt`` checks it to 1e-4). Every tensor of the
file is used, tied to another one, or carried along in a file of its own because no output depends on it. Paper:
sections 3.1 and 3.2; the published ``multi_task_model.bin`` and ``pretrained_model.bin``.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import torch
from torch import Tensor

from twelvefold import datasets
from twelvefold.datasets.reading.answers import load_answer_list
from twelvefold.model import Model, provenance, save_load, tensor_files
from twelvefold.schema import HeadSpec, TwelvefoldError, did_you_mean
from twelvefold.store import atomic_files
from twelvefold.vilbert_mt.checkpoint_file import VilbertCheckpoint, has_tied_decoder, read_checkpoint
from twelvefold.vilbert_mt.infer_config import infer_config
from twelvefold.vilbert_mt.parameter_names import (
    HEADS,
    TASK_EMBEDDINGS,
    TASK_TOKENS,
    WORD_DECODER,
    WORD_EMBEDDINGS,
    is_bert_only,
    map_parameters,
    task_token_names,
    unused_parameters,
)

MAX_HINTS = 40
"""Suggest a closest name for at most 40 differences, because the search for it is slow."""

TEXT_STREAM = ("bert.embeddings.", "bert.encoder.layer.")
"""What a plain BERT must have; the rest of the two-stream model is initialized."""


@dataclass(frozen=True, slots=True)
class ImportSummary:
    """What was imported. The file's ``entries`` are used + tied + carried, all by vilbert-multi-task names.

    carried: kept next to the model; no output depends on them, or our network has nothing like them (``unknown``).
    fresh: our parameters that were initialized. answers: number of outputs with a name, by head. set_aside: other
    contents of a training checkpoint. notes: assumptions.
    """

    folder: Path
    file: str
    digest: str
    kind: provenance.Kind
    entries: int
    parameters: int
    tasks: tuple[str, ...]
    heads: dict[str, int]
    answers: dict[str, int]
    used: tuple[str, ...]
    tied: tuple[str, ...]
    carried: tuple[str, ...]
    unknown: tuple[str, ...]
    fresh: tuple[str, ...]
    set_aside: tuple[str, ...]
    notes: tuple[str, ...]


def import_weights(
    file: Path,
    out: Path,
    *,
    config: Path | None = None,
    answers: Mapping[str, Path] | None = None,
    pad_answers: bool = False,
    guesswhat_row: int = TASK_TOKENS.index("guesswhat"),
    partial: bool = False,
    seed: int = 0,
) -> ImportSummary:
    """Make a model folder of a vilbert-multi-task file: multi-task, pretraining, plain BERT, or a training checkpoint.

    Args:
        file: The weight file. Nothing in it is run.
        out: Folder of the model; an older model there is replaced.
        config: JSON published with the file; needed if its sizes are not the published ones.
        answers: Answer lists (pickle or JSON) by task: ``vqav2``, ``gqa``.
        pad_answers: Accept lists shorter than their head; the other outputs are named ``unnamed.<column>``.
        guesswhat_row: Row of the task embedding for GuessWhat; sources differ between 17 and 16.
        partial: Initialize missing tensors and carry unknown tensors along, instead of refusing the file. A plain
            BERT never needs it.
        seed: Seed of the initialized tensors.

    Raises:
        TwelvefoldError: the file can't be read; tensors are missing, unknown or of another shape (all listed); the
            JSON contradicts the file; an answer list and its head differ in length.
    """
    if out.exists() and not (out / save_load.DESCRIPTION).exists() and (out.is_file() or any(out.iterdir())):
        raise TwelvefoldError(f"{out} is not empty and has no model; choose another folder")
    checkpoint = read_checkpoint(file)
    tensors = checkpoint.tensors
    model_config, notes = infer_config(tensors, _read_json(config), is_plain_bert=checkpoint.is_plain_bert)
    heads, num_named = _heads(tensors, answers or {}, pad=pad_answers)
    head_names = {head.name for head in heads}
    all_tasks = [datasets.load_dataset(name).TASK for name in datasets.task_names()]
    description = save_load.Description(
        config=model_config,
        tasks=[task for task in all_tasks if task.head in head_names],
        heads=heads,
        task_tokens=list(_task_tokens(tensors, guesswhat_row)),
    )
    mapping = _map_tensors(description, tensors)
    required = TEXT_STREAM if checkpoint.is_plain_bert else ""
    missing = [name for name in mapping.missing if name.startswith(required)]
    if mapping.errors or not mapping.used or (not partial and (missing or mapping.unknown)):
        raise TwelvefoldError(_list_differences(file, mapping, tensors, partial=partial))
    ours = _stack_sources(mapping, tensors)
    fresh = [name for name in mapping.wanted if name not in ours]
    if fresh:
        initial = _initialize(description, seed)
        ours |= {name: initial[name] for name in fresh}
        notes.append(f"{len(fresh)} of our parameters are not in the file and were initialized with seed {seed}")
    summary = ImportSummary(
        folder=out,
        file=file.name,
        digest=atomic_files.digest_file(file),
        kind=checkpoint.kind,
        entries=len(tensors),
        parameters=sum(tensor.numel() for name, tensor in tensors.items() if name not in mapping.tied),
        tasks=tuple(task.name for task in description.tasks),
        heads={head.name: len(head.outputs) or 1 for head in heads},
        answers=num_named,
        used=tuple(mapping.used),
        tied=tuple(mapping.tied),
        carried=tuple(mapping.carried),
        unknown=tuple(mapping.unknown),
        fresh=tuple(fresh),
        set_aside=checkpoint.set_aside,
        notes=(*checkpoint.notes, *notes, *mapping.notes),
    )
    _write_model(summary, description, ours, checkpoint)
    return summary


@dataclass(slots=True, eq=False)
class _TensorMapping:
    """Which tensors of the file become which of our parameters.

    wanted: our parameters by name on disk, on the meta device. sources: names in the file by our name. missing:
    expected shapes by name in the file. errors: what makes the file unusable.
    """

    wanted: Mapping[str, Tensor]
    sources: dict[str, tuple[str, ...]] = field(default_factory=dict)
    used: list[str] = field(default_factory=list)
    tied: list[str] = field(default_factory=list)
    carried: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    missing: dict[str, list[int]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def _map_tensors(description: save_load.Description, tensors: Mapping[str, Tensor]) -> _TensorMapping:
    with torch.device("meta"):
        mapping = _TensorMapping(_state_dict(description))
    words = WORD_DECODER if WORD_DECODER in tensors else WORD_EMBEDDINGS
    for name, sources in map_parameters(description.config, description.heads):
        names = tuple(words if source == WORD_EMBEDDINGS else source for source in sources)
        whole = mapping.wanted[name].shape
        shape = [whole[0] // len(names), *whole[1:]]
        present = [source for source in names if source in tensors]
        mapping.missing |= {source: shape for source in names if source not in tensors}
        wrong = [source for source in present if list(tensors[source].shape) != shape]
        mapping.errors += [f"shape: {source} is {list(tensors[source].shape)}, wanted {shape}" for source in wrong]
        if 0 < len(present) < len(names):  # a parameter is read whole or initialized whole
            mapping.errors.append(f"incomplete: {', '.join(present)} without {', '.join({*names} - {*present})}")
        elif present and not wrong:
            mapping.sources[name] = names
        mapping.used += present
    if has_tied_decoder(tensors):
        mapping.tied.append(WORD_EMBEDDINGS)
    elif WORD_DECODER in tensors and WORD_EMBEDDINGS in tensors:
        mapping.carried.append(WORD_EMBEDDINGS)
        mapping.notes.append(
            f"{WORD_EMBEDDINGS} differs from {WORD_DECODER}, to which it is tied; the latter is used, as in "
            "vilbert-multi-task"
        )
    unused, known = unused_parameters(description.config), {*mapping.used, *mapping.tied, *mapping.carried}
    for name in tensors:
        if name in unused or is_bert_only(name):
            mapping.carried.append(name)
        elif name not in known:
            mapping.unknown.append(name)
    mapping.carried += mapping.unknown
    return mapping


def _state_dict(description: save_load.Description) -> dict[str, Tensor]:
    """Return the parameters of a new model by their names on disk."""
    model = Model(description.config, description.tasks, description.heads, task_tokens=description.task_tokens)
    return save_load.to_disk_names(model.state_dict())


def _initialize(description: save_load.Description, seed: int) -> dict[str, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _state_dict(description)


def _stack_sources(mapping: _TensorMapping, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return our parameters as float32; a parameter with one source shares its memory where possible."""
    ours = {}
    for name, sources in mapping.sources.items():
        parts = [tensors[source].detach().float() for source in sources]
        ours[name] = (parts[0] if len(parts) == 1 else torch.cat(parts)).contiguous()
    return ours


def _write_model(
    summary: ImportSummary,
    description: save_load.Description,
    ours: dict[str, Tensor],
    checkpoint: VilbertCheckpoint,
) -> None:
    tensors = checkpoint.tensors
    origin = provenance.Origin(
        file=summary.file,
        digest=summary.digest,
        kind=summary.kind,
        names=list(tensors),
        dtypes={name: str(t.dtype).removeprefix("torch.") for name, t in tensors.items() if t.dtype != torch.float32},
        fresh=list(summary.fresh),
    )
    with atomic_files.atomic_folder(summary.folder) as folder:
        tensor_files.write(folder / save_load.TENSORS, ours)
        if summary.carried:
            tensor_files.write(folder / provenance.CARRIED, {name: tensors[name] for name in summary.carried})
        atomic_files.write_json(folder / save_load.DESCRIPTION, msgspec.to_builtins(description))
        atomic_files.write_json(folder / provenance.ORIGIN, msgspec.to_builtins(origin))


def _read_json(config: Path | None) -> dict[str, object]:
    value = atomic_files.read_json(config) if config else {}
    if not isinstance(value, dict):
        raise TwelvefoldError(f"{config}: expected an object with sizes by name, got {type(value).__name__}")
    return value


def _task_tokens(tensors: Mapping[str, Tensor], guesswhat_row: int) -> tuple[str, ...]:
    embedding = tensors.get(TASK_EMBEDDINGS)
    if embedding is None:
        return ()
    if not 0 <= guesswhat_row < len(embedding):
        raise TwelvefoldError(
            f"the file has {len(embedding)} task tokens, so row {guesswhat_row} can't be GuessWhat's (--guesswhat-row)"
        )
    return task_token_names(guesswhat_row, len(embedding))


def _heads(
    tensors: Mapping[str, Tensor], answers: Mapping[str, Path], *, pad: bool
) -> tuple[list[HeadSpec], dict[str, int]]:
    """Return the file's heads, and for each answer head the number of outputs with a name."""
    lists = _read_answer_lists(answers)
    heads, num_named = [], {}
    for head in HEADS:
        if not any(name.startswith(f"{head.prefix}.") for name in tensors):
            if head.name in lists:
                raise TwelvefoldError(f"there is an answer list for {head.name}, but the file has no {head.prefix}")
            continue
        outputs = head.outputs
        if head.family == "answers":
            weight, names = tensors.get(head.output_weight), lists.get(head.name, ())
            num_outputs = len(weight) if weight is not None and weight.ndim else 0
            outputs, num_named[head.name] = _output_names(head.name, num_outputs, names, pad=pad), len(names)
        form = head.form if head.family == "verification" else "mlp"
        heads.append(HeadSpec(head.name, head.family, outputs, head.pairs_per_example, form))
    return heads, num_named


def _read_answer_lists(answers: Mapping[str, Path]) -> dict[str, tuple[str, ...]]:
    """Return the answer lists by head; tasks with the same head have the same list."""
    specs = [datasets.load_dataset(name).TASK for name in datasets.task_names()]
    head_of = {spec.name: spec.head for spec in specs if spec.family == "answers"}
    lists: dict[str, tuple[str, ...]] = {}
    for task, path in answers.items():
        if task not in head_of:
            raise TwelvefoldError(
                f"no answer list is needed for {task!r}; the tasks with one are {', '.join(head_of)}"
                f"{did_you_mean(task, head_of)}"
            )
        names = tuple(load_answer_list(path))
        if lists.setdefault(head_of[task], names) != names:
            raise TwelvefoldError(f"{path}: not the list of the other task that shares the head {head_of[task]}")
    return lists


def _output_names(head: str, num_outputs: int, names: Sequence[str], *, pad: bool) -> tuple[str, ...]:
    if names and (len(names) > num_outputs or (len(names) < num_outputs and not pad)):
        hint = "; --pad-answers names the others unnamed.<column>" if len(names) < num_outputs else ""
        raise TwelvefoldError(f"head {head} has {num_outputs} outputs, but its answer list {len(names)} answers{hint}")
    return (*names, *(f"unnamed.{column}" for column in range(len(names), num_outputs)))


def _list_differences(file: Path, mapping: _TensorMapping, tensors: Mapping[str, Tensor], *, partial: bool) -> str:
    """Return an error that lists every difference, with the closest name."""
    lines = list(mapping.errors)
    unknown = {name: list(tensors[name].shape) for name in mapping.unknown}
    for label, shapes, others in (("missing", mapping.missing, unknown), ("unknown", unknown, mapping.missing)):
        for i, (name, shape) in enumerate(shapes.items()):
            close = difflib.get_close_matches(name, others, n=1) if i < MAX_HINTS else []
            lines.append(f"{label}: {name} {shape}" + (f"; is it {close[0]}?" if close else ""))
    hint = "\n--partial initializes missing tensors and carries unknown ones along"
    return (
        f"{file} is not a vilbert-multi-task model of its sizes:\n  "
        + "\n  ".join(lines)
        + ("" if partial or mapping.errors else hint)
    )
