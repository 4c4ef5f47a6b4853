"""Published weights in and out: an official file becomes a model folder, and a model folder an official file again.

Our network computes what the original computes (``tests/model/`` holds it to 1e-4). Every tensor of the file is
accounted for: used, tied to another, or carried along beside the model because no output depends on it. Paper:
sections 3.1 and 3.2; the published ``multi_task_model.bin`` and ``pretrained_model.bin``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import torch
from torch import Tensor

from twelvefold import datasets
from twelvefold.datasets.reading.answers import load_answer_list
from twelvefold.model import Model, ModelConfig, provenance, save_load, tensor_files
from twelvefold.schema import HeadSpec, TaskSpec, TwelvefoldError, did_you_mean
from twelvefold.store import atomic_files
from twelvefold.vilbert_mt import parameter_names
from twelvefold.vilbert_mt.export_weights import ExportSummary as ExportSummary
from twelvefold.vilbert_mt.export_weights import export_weights as export_weights
from twelvefold.vilbert_mt.infer_config import config_of
from twelvefold.vilbert_mt.parameter_names import DECODER, WORDS

HINTS = 40
"""So many differences are told with the closest name; the rest by name alone, as looking for it takes long."""

TEXT_STREAM = ("bert.embeddings.", "bert.encoder.layer.")
"""What a plain BERT must have; all else of the two-stream model is drawn anew then."""


@dataclass(frozen=True, slots=True)
class ImportSummary:
    """What came of an import. ``entries`` of the file = used + tied + carried, each list by official names.

    carried: kept beside the model, as no output depends on them or our network has nothing like them (``unknown``).
    fresh: our tensors that were drawn anew. answers: for each head, how many of its outputs have a name. set_aside:
    what else a training checkpoint held, and classes whose objects were not made. notes: what was taken for granted.
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


@dataclass(slots=True, eq=False)
class Found:
    """An official file by current names. ``kind``: which of the published models it is."""

    tensors: dict[str, Tensor]
    kind: provenance.Kind
    set_aside: tuple[str, ...]
    notes: list[str]


def read_official(file: Path) -> Found:
    """The tensors of an official file by current names, whatever its container, prefix and age.

    Raises:
        TwelvefoldError: it can't be read (:func:`twelvefold.model.tensor_files.read`), or two of its names are one.
    """
    got = tensor_files.read(file)
    bare = not any(name.removeprefix("module.").startswith("bert.") for name in got.tensors)
    named: dict[str, str] = {}
    for name in got.tensors:
        current = parameter_names.current_name(name, bare_trunk=bare)
        if current in named:
            raise TwelvefoldError(f"{file}: {named[current]} and {name} are both {current}; which one is meant?")
        named[current] = name
    tensors = {current: got.tensors[name] for current, name in named.items()}
    notes = [f"trunk only: {len(tensors)} names without bert."] if bare else []
    notes += ["names began with module."] if any(name.startswith("module.") for name in got.tensors) else []
    notes += ["names held gamma and beta"] if any("gamma" in name for name in got.tensors) else []
    beside = [f"{name} of the training checkpoint" for name in got.beside]
    set_aside = (*beside, *(f"objects of {name}, not made" for name in got.stand_ins))
    return Found(tensors, _kind(tensors), set_aside, notes)


def import_weights(
    file: Path,
    out: Path,
    *,
    config: Path | None = None,
    answers: Mapping[str, Path] | None = None,
    pad_answers: bool = False,
    guesswhat_row: int = parameter_names.TASK_ROWS.index("guesswhat"),
    partial: bool = False,
    seed: int = 0,
) -> ImportSummary:
    """Make a model folder of an official file. An older model folder at ``out`` is replaced.

    config: the official JSON. answers: answer lists by task (``vqav2``, ``gqa``). pad_answers: a list may be shorter
    than its head, whose other outputs are then called ``unnamed.<column>``. guesswhat_row: the row of the task
    embedding that GuessWhat reads. partial: tensors that are missing are drawn anew (with ``seed``), unknown ones
    carried along; else both are errors, but for a plain BERT, which has a text stream alone.

    Raises:
        TwelvefoldError: the file can't be read; tensors are missing, unknown or of another shape (all listed); the
            JSON contradicts the file; an answer list is of another length than its head.
    """
    if out.exists() and not (out / save_load.DESCRIPTION).exists() and (out.is_file() or any(out.iterdir())):
        raise TwelvefoldError(f"{out} holds something else than a model; choose another folder")
    found = read_official(file)
    tensors, notes = found.tensors, found.notes
    bert = found.kind == "plain BERT"
    said = atomic_files.read_json(config) if config else {}
    if not isinstance(said, dict):
        raise TwelvefoldError(f"{config}: expected an object with sizes by name, got {type(said).__name__}")
    sizes, more = config_of(tensors, said, plain_bert=bert)
    notes += more
    heads, named = _heads(tensors, answers or {}, pad=pad_answers)
    tasks = [
        spec
        for name in datasets.task_names()
        if (spec := datasets.load_dataset(name).TASK).head in {h.name for h in heads}
    ]
    rows = _rows(tensors, guesswhat_row)
    plan = _plan(sizes, tasks, heads, rows, tensors)
    lacking = [name for name in plan.missing if not bert or name.startswith(TEXT_STREAM)]
    if plan.wrong or not plan.used or (not partial and (lacking or plan.unknown)):
        raise TwelvefoldError(_differences(file, plan, tensors, partial=partial))
    ours = _ours(plan, tensors)
    fresh = [name for name in plan.wanted if name not in ours]
    if fresh:
        ours |= _drawn(sizes, tasks, heads, rows, seed, fresh)
        notes.append(f"{len(fresh)} of our tensors are not in the file and were drawn anew, seed {seed}")
    description = save_load.Description(config=sizes, tasks=tasks, heads=heads, task_tokens=list(rows))
    summary = _summary(file, out, found, plan, description, named, fresh)
    _write(summary, description, ours, tensors)
    return summary


@dataclass(slots=True, eq=False)
class _Plan:
    """What goes where. ``sources``: of our tensors that the file has, its parts by official name."""

    wanted: Mapping[str, Tensor]
    sources: dict[str, tuple[str, ...]]
    used: list[str]
    tied: list[str]
    carried: list[str]
    unknown: list[str]
    missing: dict[str, list[int]]
    wrong: list[str]
    notes: list[str]


def _plan(
    config: ModelConfig,
    tasks: Sequence[TaskSpec],
    heads: Sequence[HeadSpec],
    rows: Sequence[str],
    tensors: Mapping[str, Tensor],
) -> _Plan:
    with torch.device("meta"):
        wanted = save_load.to_disk_names(Model(config, tasks, heads, task_tokens=rows).state_dict())
    plan = _Plan(wanted, {}, [], [], [], [], {}, [], [])
    words = DECODER if DECODER in tensors else WORDS
    for place in parameter_names.places(config, heads):
        whole, parts = wanted[place.ours], len(place.official)
        shape = [whole.shape[0] // parts, *whole.shape[1:]]
        names = tuple(words if name == WORDS else name for name in place.official)
        there = [name for name in names if name in tensors]
        plan.missing |= {name: shape for name in names if name not in tensors}
        wrong = [name for name in there if list(tensors[name].shape) != shape]
        plan.wrong += [f"shape: {name} is {list(tensors[name].shape)}, wanted {shape}" for name in wrong]
        if 0 < len(there) < parts:  # half a layer can't be drawn anew beside the other half
            plan.wrong.append(f"incomplete: {', '.join(there)} without {', '.join({*names} - {*there})}")
        elif there and not wrong:
            plan.sources[place.ours] = names
        plan.used += there
    if words == DECODER and WORDS in tensors:
        if _same(tensors[WORDS], tensors[DECODER]):
            plan.tied.append(WORDS)
        else:
            plan.carried.append(WORDS)
            plan.notes.append(f"{WORDS} differs from {DECODER}, to which it is tied; the latter is used, as originally")
    idle, known = parameter_names.idle(config), {*plan.used, *plan.tied, *plan.carried}
    for name in tensors:
        if name in idle or parameter_names.plain_bert_only(name):
            plan.carried.append(name)
        elif name not in known:
            plan.unknown.append(name)
    plan.carried += plan.unknown
    return plan


def _same(one: Tensor, other: Tensor) -> bool:
    return one.data_ptr() == other.data_ptr() or (one.dtype == other.dtype and torch.equal(one, other))


def _ours(plan: _Plan, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our tensors, float32: the file's own where one part is all, else its parts one above the other."""
    ours = {}
    for name, parts in plan.sources.items():
        found = [tensors[part].detach().float() for part in parts]
        ours[name] = (found[0] if len(found) == 1 else torch.cat(found)).contiguous()
    return ours


def _summary(
    file: Path,
    out: Path,
    found: Found,
    plan: _Plan,
    said: save_load.Description,
    named: dict[str, int],
    fresh: Sequence[str],
) -> ImportSummary:
    return ImportSummary(
        folder=out,
        file=file.name,
        digest=atomic_files.digest_file(file),
        kind=found.kind,
        entries=len(found.tensors),
        parameters=sum(tensor.numel() for name, tensor in found.tensors.items() if name not in plan.tied),
        tasks=tuple(task.name for task in said.tasks),
        heads={head.name: len(head.outputs) or 1 for head in said.heads},
        answers=named,
        used=tuple(plan.used),
        tied=tuple(plan.tied),
        carried=tuple(plan.carried),
        unknown=tuple(plan.unknown),
        fresh=tuple(fresh),
        set_aside=found.set_aside,
        notes=tuple(found.notes + plan.notes),
    )


def _drawn(
    config: ModelConfig,
    tasks: Sequence[TaskSpec],
    heads: Sequence[HeadSpec],
    rows: Sequence[str],
    seed: int,
    names: Iterable[str],
) -> dict[str, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        state = save_load.to_disk_names(Model(config, tasks, heads, task_tokens=rows).state_dict())
    return {name: state[name] for name in names}


def _write(
    summary: ImportSummary, description: save_load.Description, ours: dict[str, Tensor], tensors: Mapping[str, Tensor]
) -> None:
    with atomic_files.atomic_folder(summary.folder) as folder:
        tensor_files.write(folder / save_load.TENSORS, ours)
        if summary.carried:
            tensor_files.write(folder / provenance.CARRIED, {name: tensors[name] for name in summary.carried})
        atomic_files.write_json(folder / save_load.DESCRIPTION, msgspec.to_builtins(description))
        came_from = provenance.Origin(
            file=summary.file,
            digest=summary.digest,
            kind=summary.kind,
            names=list(tensors),
            dtypes={
                name: str(t.dtype).removeprefix("torch.") for name, t in tensors.items() if t.dtype != torch.float32
            },
            fresh=list(summary.fresh),
        )
        atomic_files.write_json(folder / provenance.ORIGIN, msgspec.to_builtins(came_from))


def _kind(tensors: Mapping[str, Tensor]) -> provenance.Kind:
    if not any(name.startswith(("bert.encoder.c_layer.", "bert.v_embeddings.")) for name in tensors):
        return "plain BERT"
    if not any(name.startswith(tuple(f"{head.prefix}." for head in parameter_names.HEADS)) for name in tensors):
        return "pretraining"
    with_tokens = parameter_names.TASK_EMBEDDINGS in tensors
    return "multi-task with task tokens" if with_tokens else "multi-task without task tokens"


def _rows(tensors: Mapping[str, Tensor], guesswhat: int) -> tuple[str, ...]:
    table = tensors.get(parameter_names.TASK_EMBEDDINGS)
    if table is None:
        return ()
    if not 0 <= guesswhat < len(table):
        raise TwelvefoldError(f"the file has {len(table)} task tokens, so GuessWhat can't read row {guesswhat}")
    return parameter_names.rows(guesswhat, len(table))


def _heads(
    tensors: Mapping[str, Tensor], answers: Mapping[str, Path], *, pad: bool
) -> tuple[list[HeadSpec], dict[str, int]]:
    """The file's heads with their outputs by name, and how many of them have one."""
    lists = _answer_lists(answers)
    heads, named = [], {}
    for head in parameter_names.HEADS:
        if not any(name.startswith(f"{head.prefix}.") for name in tensors):
            if head.name in lists:
                raise TwelvefoldError(f"an answer list is given for {head.name}, but the file has no {head.prefix}")
            continue
        outputs = head.outputs
        if head.kind == "answers":
            last = tensors.get(head.last)
            columns = len(last) if last is not None and last.ndim else 0
            outputs = _outputs(head.name, columns, lists.get(head.name, ()), pad=pad)
            named[head.name] = len(lists.get(head.name, ()))
        form: Literal["mlp", "linear"] = head.form if head.kind == "verification" else "mlp"
        heads.append(HeadSpec(head.name, head.kind, outputs, head.pairs, form))
    return heads, named


def _answer_lists(answers: Mapping[str, Path]) -> dict[str, tuple[str, ...]]:
    """Answer lists by head. Two tasks of one head have one list."""
    owners = {
        name: spec.head
        for name in datasets.task_names()
        if (spec := datasets.load_dataset(name).TASK).family == "answers"
    }
    lists: dict[str, tuple[str, ...]] = {}
    for task, path in answers.items():
        if task not in owners:
            raise TwelvefoldError(
                f"no answer list is needed for {task!r}; give them for {', '.join(owners)}{did_you_mean(task, owners)}"
            )
        given = tuple(load_answer_list(path))
        if lists.setdefault(owners[task], given) != given:
            raise TwelvefoldError(f"{path}: not the list given for the other task that shares the head {owners[task]}")
    return lists


def _outputs(head: str, columns: int, given: tuple[str, ...], *, pad: bool) -> tuple[str, ...]:
    if given and (len(given) > columns or (len(given) < columns and not pad)):
        hint = "; --pad-answers calls the others unnamed.<column>" if len(given) < columns else ""
        raise TwelvefoldError(f"head {head} has {columns} outputs, but its answer list {len(given)} answers{hint}")
    return (*given, *(f"unnamed.{column}" for column in range(len(given), columns)))


def _differences(file: Path, plan: _Plan, tensors: Mapping[str, Tensor], *, partial: bool) -> str:
    """Every difference by name, with the closest one."""
    lines = list(plan.wrong)
    for what, names, others in (("missing", [*plan.missing], plan.unknown), ("unknown", plan.unknown, [*plan.missing])):
        for n, name in enumerate(names):
            shape = plan.missing[name] if what == "missing" else list(tensors[name].shape)
            close = difflib.get_close_matches(name, others, n=1) if n < HINTS else []
            lines.append(f"{what}: {name} {shape}" + (f"; is it {close[0]}?" if close else ""))
    advice = "" if partial or plan.wrong else "\n--partial draws missing tensors anew and carries unknown ones along"
    return f"{file} is not an official model as its sizes say:\n  " + "\n  ".join(lines) + advice
