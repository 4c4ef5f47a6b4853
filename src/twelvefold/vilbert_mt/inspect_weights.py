"""What a weight file holds, in words: which of the published models it is, and part by part how much of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from twelvefold.vilbert_mt import parameter_names
from twelvefold.vilbert_mt.import_weights import read_official

PARTS = (
    ("text embeddings", ("bert.embeddings.word", "bert.embeddings.pos", "bert.embeddings.tok", "bert.embeddings.Lay")),
    ("task tokens", (parameter_names.TASK_EMBEDDINGS,)),
    ("image embeddings", ("bert.v_embeddings.",)),
    ("text layers", ("bert.encoder.layer.",)),
    ("image layers", ("bert.encoder.v_layer.",)),
    ("co-attention layers", ("bert.encoder.c_layer.",)),
    ("poolers", ("bert.t_pooler.", "bert.v_pooler.")),
    ("pretraining heads", ("cls.predictions.", "cls.bi_seq_relationship.", "cls.imagePredictions.")),
    *((f"head {head.name}", (f"{head.prefix}.",)) for head in parameter_names.HEADS),
    ("score of words", (f"{parameter_names.WORD_SCORE}.",)),
)
"""Parts of the official model and how the names of their tensors begin."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the official model, as far as the file has it."""

    name: str
    tensors: int
    parameters: int


@dataclass(frozen=True, slots=True)
class Contents:
    """``entries`` names, ``tensors`` distinct ones, ``parameters`` in those. ``outputs`` of each head.

    absent: parts of the official multi-task model that the file has not. others: names that belong to none.
    """

    file: Path
    kind: str
    entries: int
    tensors: int
    parameters: int
    parts: tuple[Part, ...]
    outputs: dict[str, int]
    absent: tuple[str, ...]
    others: tuple[str, ...]
    set_aside: tuple[str, ...]
    notes: tuple[str, ...]


def show_weights(file: Path) -> Contents:
    """What an official file holds.

    Raises:
        TwelvefoldError: it can't be read.
    """
    found = read_official(file)
    tensors, shared = found.tensors, set()
    if parameter_names.WORDS in tensors and parameter_names.DECODER in tensors:
        one, other = tensors[parameter_names.WORDS], tensors[parameter_names.DECODER]
        if one.data_ptr() == other.data_ptr() or one.equal(other):
            shared = {parameter_names.DECODER}
    parts, known = [], set()
    for name, beginnings in PARTS:
        mine = [key for key in tensors if key.startswith(beginnings)]
        known |= set(mine)
        parts.append(Part(name, len(mine), sum(tensors[key].numel() for key in mine if key not in shared)))
    return Contents(
        file=file,
        kind=found.kind,
        entries=len(tensors),
        tensors=len(tensors) - len(shared),
        parameters=sum(tensor.numel() for key, tensor in tensors.items() if key not in shared),
        parts=tuple(part for part in parts if part.tensors),
        outputs={head.name: len(tensors[head.last]) for head in parameter_names.HEADS if head.last in tensors},
        absent=tuple(part.name for part in parts if not part.tensors),
        others=tuple(key for key in tensors if key not in known),
        set_aside=found.set_aside,
        notes=tuple(found.notes),
    )
