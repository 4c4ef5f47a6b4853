"""Initialize a model from another one's weights, matched by name. Paper: sections 3.1 and 3.3 (pretraining, then the
tasks), 4.4 (from the multi-task model to one task).

Tensors are matched by their names. Rows that stand for a word piece, a task token, an answer or a class are matched by
what they stand for. Everything that only the new model has keeps its random initialization and is reported.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from twelvefold.config.model import ModelConfig
from twelvefold.model import provenance, save_load
from twelvefold.model.model import Model, head_module_path
from twelvefold.model.save_load import Description
from twelvefold.schema import HeadSpec, TwelvefoldError

UNNAMED = "unnamed."
"""Prefix of the outputs of an imported head for which no answer list was given."""
WORDS = "trunk.text_embeddings.words.weight"
TASKS = "trunk.text_embeddings.tasks.weight"
WORDS_BIAS = "pretraining.words_bias"
OPTIONAL = ("heads.", "pretraining.", "word_score.", TASKS)
"""Prefixes of tensors that the new model may lack: heads and task tokens. The whole trunk must be used."""


@dataclass(frozen=True, slots=True)
class WarmStartReport:
    """Which tensors a warm start copied, by their names on disk.

    loaded: number of tensors copied, wholly or some of their rows. initialized: tensors that kept their random
    initialization, and for partly copied ones how many rows did. unused: tensors of the folder that the model lacks.
    """

    folder: str
    loaded: int
    initialized: list[str]
    unused: list[str]


def config_from(description: Description) -> ModelConfig:
    """Return the configuration of a model that starts from another one.

    It has no pretraining heads, and a task token per dataset if the other model has no tasks (a pretrained model or a
    plain BERT).
    """
    config = description.config
    task_token = config.task_token if description.tasks else "dataset"
    values = {name: getattr(config, name) for name in ModelConfig.__struct_fields__}
    return ModelConfig(**values | {"task_token": task_token, "num_region_categories": 0, "word_score": False})


def heads_from(heads: Iterable[HeadSpec], description: Description) -> list[HeadSpec]:
    """Return the heads with the form (MLP or linear) that a head of the same name has in the other model.

    Raises:
        TwelvefoldError: a head of the same name is of another family or reads another number of pairs.
    """
    others = {head.name: head for head in description.heads}
    result = []
    for head in heads:
        other = others.get(head.name, head)
        if (other.family, other.pairs_per_example) != (head.family, head.pairs_per_example):
            raise TwelvefoldError(
                f"head {head.name!r} is of family {head.family} with {head.pairs_per_example} pairs here, "
                f"but of family {other.family} with {other.pairs_per_example} in the model to start from"
            )
        result.append(dataclasses.replace(head, form=other.form))
    return result


@torch.no_grad()
def warm_start(model: Model, folder: Path) -> WarmStartReport:
    """Copy into ``model`` the weights of the model in ``folder`` that it has too; leave the rest as it is.

    Tensors that were randomly initialized when the folder's model was imported are not copied.

    Raises:
        TwelvefoldError: a tensor has another shape, a part of the folder's trunk would be unused, or a head's outputs
            have no names to match them by; all problems are listed.
    """
    description, theirs = save_load.describe(folder), save_load.read_all(folder)
    origin = provenance.read(folder)
    for name in origin.fresh if origin else ():
        theirs.pop(name, None)
    rows, problems = _matching_rows(model, description), _unnamed_outputs(model, description)
    initialized, loaded = [], 0
    for name, ours in save_load.to_disk_names(model.state_dict()).items():
        source = theirs.pop(name, None)
        our_rows, their_rows = rows.get(name, ([], []))
        if source is None:
            initialized.append(name)
        elif source.shape[1:] != ours.shape[1:] or (name not in rows and source.shape != ours.shape):
            problems.append(f"shape: {name} is {list(source.shape)}, expected {list(ours.shape)}")
        elif name not in rows:
            ours.copy_(source)
            loaded += 1
        else:
            ours[our_rows] = source[their_rows].to(ours)
            if len(our_rows) < len(ours):
                initialized.append(f"{name}: {len(ours) - len(our_rows)} of {len(ours)} rows")
            loaded += bool(our_rows)
    problems += [f"unused: {name} {list(t.shape)}" for name, t in theirs.items() if not name.startswith(OPTIONAL)]
    if problems:
        raise TwelvefoldError(f"this model can't start from {folder}:\n  " + "\n  ".join(problems))
    return WarmStartReport(str(folder), loaded, initialized, list(theirs))


def _matching_rows(model: Model, description: Description) -> dict[str, tuple[list[int], list[int]]]:
    """Return, for tensors whose rows stand for something, which of our rows are which of theirs."""
    their_pieces = description.word_pieces or range(model.config.vocab_size)
    words = _shared_indices(model.embedded_pieces, their_pieces)
    rows = {WORDS: words, WORDS_BIAS: words, TASKS: _shared_indices(model.task_tokens, description.task_tokens)}
    for other in description.heads:
        head = model.head_specs.get(other.name)
        if head is not None and head.outputs:
            last = f"{head_module_path(head.name)}.last"
            rows[f"{last}.weight"] = rows[f"{last}.bias"] = _shared_indices(head.outputs, other.outputs)
    return rows


def _shared_indices(
    ours: Sequence[str] | Sequence[int], theirs: Sequence[str] | Sequence[int]
) -> tuple[list[int], list[int]]:
    """Return the indices in ``ours`` and in ``theirs`` of the entries that both have."""
    their_index = {name: i for i, name in enumerate(theirs)}
    our_indices = [i for i, name in enumerate(ours) if name in their_index]
    return our_indices, [their_index[ours[i]] for i in our_indices]


def _unnamed_outputs(model: Model, description: Description) -> list[str]:
    return [
        f"outputs without names: those of head {head.name}; import the file again with its answer list (--answers)"
        for head in description.heads
        if head.name in model.head_specs and head.outputs and all(o.startswith(UNNAMED) for o in head.outputs)
    ]
