"""Make a model folder of a checkpoint of vilbert-multi-task.

Our network computes what vilbert-multi-task computes (``tests/vilbert_mt`` checks it to 1e-4). Every tensor of the
file is used, tied to another one, or carried along in a file of its own because no output depends on it. Paper:
sections 3.1 and 3.2; the published ``multi_task_model.bin`` and ``pretrained_model.bin``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import torch
from torch import Tensor

from twelvefold import datasets
from twelvefold.config.weights import WeightsImportConfig
from twelvefold.datasets.reading.answers import read_answer_lists
from twelvefold.model import Model, provenance, save_load, tensor_files
from twelvefold.model.state_dicts import state_dict_differences
from twelvefold.schema import HeadSpec, TaskSpec, TwelvefoldError
from twelvefold.store import atomic_files
from twelvefold.vilbert_mt.checkpoint_file import VilbertCheckpoint, has_tied_decoder, read_checkpoint
from twelvefold.vilbert_mt.infer_config import infer_config
from twelvefold.vilbert_mt.parameter_names import (
    HEADS,
    TASK_EMBEDDINGS,
    WORD_DECODER,
    WORD_EMBEDDINGS,
    is_bert_only,
    map_parameters,
    task_token_names,
    unused_parameters,
)

DEFAULTS = WeightsImportConfig()
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
    kind: provenance.CheckpointKind
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
    options: WeightsImportConfig = DEFAULTS,
) -> ImportSummary:
    """Make a model folder of a vilbert-multi-task file: multi-task, pretraining, plain BERT, or a training checkpoint.

    Args:
        file: The weight file. Nothing in it is run.
        out: Folder of the model; an older model there is replaced.
        config: JSON published with the file; needed if its sizes are not the published ones.
        answers: Answer lists (pickle or JSON) by task: ``vqav2``, ``gqa``.
        options: What to accept, and how to fill gaps.

    Raises:
        TwelvefoldError: the file can't be read or has missing, unknown or wrongly shaped tensors; the JSON
            contradicts the file; an answer list and its head differ in length; the file has another vocabulary, or
            NaN in a tensor, and ``options`` do not accept that.
    """
    _check_free(out)
    checkpoint = read_checkpoint(file)
    tensors = checkpoint.tensors
    accepted = _check_contents(file, checkpoint, options)
    model_config, notes = infer_config(tensors, _read_json(config), is_plain_bert=checkpoint.is_plain_bert)
    heads, num_named = _heads(tensors, answers or {}, pad=options.pad_answers)
    tokens = _task_tokens(tensors, options.guesswhat_row)
    description = save_load.Description(config=model_config, tasks=_tasks_of(heads), heads=heads, task_tokens=tokens)
    match = _match_tensors(description, tensors)
    required = TEXT_STREAM if checkpoint.is_plain_bert else ("",)
    _check_match(file, match, tensors, partial=options.partial, required=required)
    ours = {name: _stack(sources, tensors) for name, sources in match.sources.items() if sources[0] in tensors}
    if fresh := [name for name in match.sources if name not in ours]:
        ours |= _initialize(description, fresh, options.seed)
        count = f"{len(fresh)} of our parameters"
        notes.append(f"{count} are not in the file and were initialized with seed {options.seed}")
    summary = ImportSummary(
        folder=out,
        file=file.name,
        digest=atomic_files.digest_file(file),
        kind=checkpoint.kind,
        entries=len(tensors),
        parameters=sum(tensor.numel() for name, tensor in tensors.items() if name not in match.tied),
        tasks=tuple(task.name for task in description.tasks),
        heads={head.name: len(head.outputs) or 1 for head in heads},
        answers=num_named,
        used=tuple(match.used),
        tied=tuple(match.tied),
        carried=tuple(match.carried),
        unknown=tuple(match.unknown),
        fresh=tuple(fresh),
        set_aside=checkpoint.set_aside,
        notes=(*checkpoint.notes, *accepted, *notes, *match.notes),
    )
    return _write_model(summary, description, ours, checkpoint)


def _check_contents(file: Path, checkpoint: VilbertCheckpoint, options: WeightsImportConfig) -> list[str]:
    """Refuse another vocabulary and tensors with NaN unless they are accepted; return notes about what is accepted."""
    notes = []
    if checkpoint.other_vocabulary:
        if not options.other_vocabulary:
            raise TwelvefoldError(
                f"{file}: {checkpoint.other_vocabulary}. Texts would be split into word pieces that its embeddings do "
                "not stand for; use an uncased English BERT, or accept it with --other-vocabulary"
            )
        notes.append(checkpoint.other_vocabulary)
    if not options.non_finite:
        advice = "the training that wrote it diverged; use another checkpoint, or accept it with --non-finite"
        tensor_files.check_finite(file, checkpoint.tensors, advice)
    elif names := tensor_files.find_non_finite(checkpoint.tensors):
        notes.append(f"NaN or infinity in {', '.join(names)}")
    return notes


def _check_free(out: Path) -> None:
    if out.exists() and not (out / save_load.DESCRIPTION).exists() and (out.is_file() or any(out.iterdir())):
        raise TwelvefoldError(f"{out} is not empty and has no model; choose another folder")


@dataclass(frozen=True, slots=True, eq=False)
class _TensorMatch:
    """How the file's tensors match our parameters, which go by their names on disk.

    sources: names in the file by our name. expected: tensors of the expected shapes by name in the file. The other
    fields are names in the file.
    """

    sources: dict[str, tuple[str, ...]]
    expected: dict[str, Tensor]
    used: list[str]
    tied: list[str]
    carried: list[str]
    unknown: list[str]
    notes: list[str]


def _match_tensors(description: save_load.Description, tensors: Mapping[str, Tensor]) -> _TensorMatch:
    with torch.device("meta"):
        ours = _state_dict(description)
    words = WORD_DECODER if WORD_DECODER in tensors else WORD_EMBEDDINGS
    sources = {
        name: tuple(words if source == WORD_EMBEDDINGS else source for source in sources)
        for name, sources in map_parameters(description.config, description.heads)
    }
    expected = {
        source: part
        for name, parts in sources.items()
        for source, part in zip(parts, ours[name].chunk(len(parts)), strict=True)
    }
    tied, carried, notes = [], [], []
    if has_tied_decoder(tensors):
        tied.append(WORD_EMBEDDINGS)
    elif WORD_DECODER in tensors and WORD_EMBEDDINGS in tensors:
        carried.append(WORD_EMBEDDINGS)
        notes.append(
            f"{WORD_EMBEDDINGS} differs from {WORD_DECODER}, to which it is tied; the latter is used, as in "
            "vilbert-multi-task"
        )
    unused = unused_parameters(description.config)
    carried += [name for name in tensors if name in unused or is_bert_only(name)]
    known = {*expected, *tied, *carried}
    unknown = [name for name in tensors if name not in known]
    used = [name for name in expected if name in tensors]
    return _TensorMatch(sources, expected, used, tied, [*carried, *unknown], unknown, notes)


def _check_match(
    file: Path, match: _TensorMatch, tensors: Mapping[str, Tensor], *, partial: bool, required: tuple[str, ...]
) -> None:
    """Refuse a file that does not match. ``required``: prefixes of the names that may not be missing."""
    errors = [name for name in match.used if tensors[name].shape != match.expected[name].shape]
    incomplete = []
    for sources in match.sources.values():
        present = [source for source in sources if source in tensors]
        if 0 < len(present) < len(sources):  # a parameter is read whole or initialized whole
            incomplete.append(f"incomplete: {', '.join(present)} without {', '.join({*sources} - {*present})}")
    missing = [name for name in match.expected if name not in tensors and name.startswith(required)]
    unusable = bool(errors or incomplete or not match.used)
    if unusable or (not partial and (missing or match.unknown)):
        matched = {name: tensors[name] for name in (*match.used, *match.unknown)}
        lines = [*incomplete, *state_dict_differences(matched, match.expected)]
        hint = "" if partial or unusable else "\n--partial initializes missing tensors and carries unknown ones along"
        raise TwelvefoldError(f"{file} is not a vilbert-multi-task model of its sizes:\n  " + "\n  ".join(lines) + hint)


def _state_dict(description: save_load.Description) -> dict[str, Tensor]:
    """Return the parameters of a new model by their names on disk."""
    model = Model(description.config, description.tasks, description.heads, task_tokens=description.task_tokens)
    return save_load.to_disk_names(model.state_dict())


def _initialize(description: save_load.Description, names: Sequence[str], seed: int) -> dict[str, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        state = _state_dict(description)
    return {name: state[name] for name in names}


def _stack(sources: Sequence[str], tensors: Mapping[str, Tensor]) -> Tensor:
    """Return a parameter as float32; with one source it shares the file's memory where possible."""
    parts = [tensors[source].detach().float() for source in sources]
    return (parts[0] if len(parts) == 1 else torch.cat(parts)).contiguous()


def _write_model(
    summary: ImportSummary,
    description: save_load.Description,
    ours: dict[str, Tensor],
    checkpoint: VilbertCheckpoint,
) -> ImportSummary:
    tensors = checkpoint.tensors
    origin = provenance.Origin(
        file=summary.file,
        digest=summary.digest,
        kind=summary.kind,
        names=list(tensors),
        dtypes={name: str(t.dtype).removeprefix("torch.") for name, t in tensors.items() if t.dtype != torch.float32},
        fresh=list(summary.fresh),
        non_finite=[name for name, tensor in ours.items() if not tensor.isfinite().all()],
    )
    with atomic_files.atomic_folder(summary.folder) as folder:
        tensor_files.write(folder / save_load.TENSORS, ours)
        if summary.carried:
            tensor_files.write(folder / provenance.CARRIED, {name: tensors[name] for name in summary.carried})
        atomic_files.write_json(folder / save_load.DESCRIPTION, msgspec.to_builtins(description))
        atomic_files.write_json(folder / provenance.ORIGIN, msgspec.to_builtins(origin))
    return summary


def _tasks_of(heads: Sequence[HeadSpec]) -> list[TaskSpec]:
    tasks = [datasets.load_dataset(name).TASK for name in datasets.paper_task_names()]
    return [task for task in tasks if task.head in {head.name for head in heads}]


def _read_json(config: Path | None) -> dict[str, object]:
    value = atomic_files.read_json(config) if config else {}
    if not isinstance(value, dict):
        raise TwelvefoldError(f"{config}: expected an object with sizes by name, got {type(value).__name__}")
    return value


def _task_tokens(tensors: Mapping[str, Tensor], guesswhat_row: int) -> list[str]:
    embedding = tensors.get(TASK_EMBEDDINGS)
    if embedding is None:
        return []
    if not 0 <= guesswhat_row < len(embedding):
        raise TwelvefoldError(
            f"the file has {len(embedding)} task tokens, so row {guesswhat_row} can't be GuessWhat's (--guesswhat-row)"
        )
    return list(task_token_names(guesswhat_row, len(embedding)))


def _heads(
    tensors: Mapping[str, Tensor], answers: Mapping[str, Path], *, pad: bool
) -> tuple[list[HeadSpec], dict[str, int]]:
    """Return the file's heads, and for each answer head the number of outputs with a name."""
    specs = [datasets.load_dataset(name).TASK for name in datasets.paper_task_names()]
    lists = read_answer_lists(answers, {spec.name: spec.vocabulary for spec in specs if spec.vocabulary})
    list_of = {spec.head: lists[spec.vocabulary].answers for spec in specs if spec.vocabulary in lists}
    heads, num_named = [], {}
    for head in HEADS:
        if not any(name.startswith(f"{head.prefix}.") for name in tensors):
            if head.name in list_of:
                raise TwelvefoldError(f"there is an answer list for {head.name}, but the file has no {head.prefix}")
            continue
        outputs = head.outputs
        if head.family == "answers":
            weight, names = tensors.get(head.output_weight), list_of.get(head.name, ())
            num_outputs = len(weight) if weight is not None and weight.ndim else 0
            outputs, num_named[head.name] = _output_names(head.name, num_outputs, names, pad=pad), len(names)
        form = head.form if head.family == "verification" else "mlp"
        heads.append(HeadSpec(head.name, head.family, outputs, head.pairs_per_example, form))
    return heads, num_named


def _output_names(head: str, num_outputs: int, names: Sequence[str], *, pad: bool) -> tuple[str, ...]:
    if names and (len(names) > num_outputs or (len(names) < num_outputs and not pad)):
        hint = "; --pad-answers names the others unnamed.<column>" if len(names) < num_outputs else ""
        raise TwelvefoldError(f"head {head} has {num_outputs} outputs, but its answer list {len(names)} answers{hint}")
    return (*names, *(f"unnamed.{column}" for column in range(len(names), num_outputs)))
