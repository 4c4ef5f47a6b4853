"""First weights from another model: everything that two models have in common, taken by name. Paper: section 3.1
(pretraining, then the tasks), 3.2 and 4.2 (from many tasks to one).

Tensors go by their names; rows that stand for something go by what they stand for: word pieces, tasks' own rows,
answers and classes. What the new model has alone keeps the values it was drawn with, and is listed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from twelvefold.config.model import ModelConfig
from twelvefold.model import provenance, save_load
from twelvefold.model.model import Model, module_of
from twelvefold.model.save_load import Description
from twelvefold.schema import HeadSpec, TwelvefoldError

UNNAMED = "unnamed."
"""How an import calls outputs of which no answer list told the name."""
WORDS = "trunk.text_embeddings.words.weight"
TASKS = "trunk.text_embeddings.tasks.weight"
WORDS_BIAS = "pretraining.words_bias"
BESIDE = ("heads.", "pretraining.", "word_score.", TASKS)
"""What a model may leave behind: heads and the rows of tasks that it doesn't have. Its trunk it may not."""


@dataclass(frozen=True, slots=True)
class Started:
    """What came of it. taken: tensors, whole or some rows. anew: names of tensors drawn anew, and of those with new
    rows, with how many. left: names of the folder's tensors that this model has no place for."""

    folder: str
    taken: int
    anew: list[str]
    left: list[str]


def config_from(said: Description) -> ModelConfig:
    """The configuration of a model that starts from another: without the heads of pretraining, and with a row for each
    task where the other had no tasks to have rows for (a pretrained model, a plain BERT)."""
    token = said.config.task_token if said.tasks else "dataset"
    values = {name: getattr(said.config, name) for name in ModelConfig.__struct_fields__}
    return ModelConfig(**values | {"task_token": token, "region_classes": 0, "word_score": False})


def heads_from(heads: Iterable[HeadSpec], said: Description) -> list[HeadSpec]:
    """Heads as the tasks want them, in the form (two layers or one) that a head of the same name has there.

    Raises:
        TwelvefoldError: a head of the same name is of another family or reads another number of pairs.
    """
    there = {head.name: head for head in said.heads}
    found = []
    for head in heads:
        other = there.get(head.name)
        if other is None:
            found.append(head)
            continue
        if (other.family, other.pairs_per_example) != (head.family, head.pairs_per_example):
            raise TwelvefoldError(
                f"head {head.name!r} is of family {head.family} with {head.pairs_per_example} pairs here, "
                f"but of family {other.family} "
                f"with {other.pairs_per_example} in the model to start from"
            )
        found.append(dataclasses.replace(head, form=other.form))
    return found


@torch.no_grad()
def start(model: Model, folder: Path) -> Started:
    """Put into ``model`` what the model in ``folder`` has for it; the rest stays as it was drawn.

    Tensors that an import had to draw anew count as not there.

    Raises:
        TwelvefoldError: a tensor has another shape; a part of the folder's trunk has no place; a head's outputs have
            no names, so that they can't be matched. All of them are listed.
    """
    said, found = save_load.describe(folder), save_load.read_all(folder)
    came = provenance.read(folder)
    for name in came.fresh if came else ():
        found.pop(name, None)
    rows, wrong = _rows(model, said), _nameless(model, said)
    anew, taken = [], 0
    for name, ours in model.state_dict().items():
        theirs = found.pop(name, None)
        here, there = rows.get(name, ([], []))
        if theirs is None:
            anew.append(name)
        elif theirs.shape[1:] != ours.shape[1:] or (name not in rows and theirs.shape != ours.shape):
            wrong.append(f"shape: {name} is {list(theirs.shape)}, wanted {list(ours.shape)}")
        elif name not in rows:
            ours.copy_(theirs)
            taken += 1
        else:
            ours[here] = theirs[there].to(ours)
            anew += [f"{name}: {len(ours) - len(here)} of {len(ours)} rows"] if len(here) < len(ours) else []
            taken += bool(here)
    wrong += [f"no place: {name} {list(t.shape)}" for name, t in found.items() if not name.startswith(BESIDE)]
    if wrong:
        raise TwelvefoldError(f"a model like this one can't start from {folder}:\n  " + "\n  ".join(wrong))
    return Started(str(folder), taken, anew, list(found))


def _rows(model: Model, said: Description) -> dict[str, tuple[list[int], list[int]]]:
    """Tensors whose rows stand for something by name: which rows of ours are which rows of theirs."""
    words = _shared(model.known_pieces, said.word_pieces or range(model.config.vocabulary_size))
    rows = {WORDS: words, WORDS_BIAS: words, TASKS: _shared(model.task_tokens, said.task_tokens)}
    for other in said.heads:
        head = model.head_specs.get(other.name)
        if head is not None and head.outputs:
            last = f"{module_of(head.name)}.last"
            rows[f"{last}.weight"] = rows[f"{last}.bias"] = _shared(head.outputs, other.outputs)
    return rows


def _shared(ours: Sequence[str] | Sequence[int], theirs: Sequence[str] | Sequence[int]) -> tuple[list[int], list[int]]:
    """The places of what both have, in either."""
    place = {name: i for i, name in enumerate(theirs)}
    here = [i for i, name in enumerate(ours) if name in place]
    return here, [place[ours[i]] for i in here]


def _nameless(model: Model, said: Description) -> list[str]:
    return [
        f"outputs without names: those of head {head.name}; import the file again with its answer list (--answers)"
        for head in said.heads
        if head.name in model.head_specs and head.outputs and all(o.startswith(UNNAMED) for o in head.outputs)
    ]
