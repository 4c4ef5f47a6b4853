"""List what a weight file holds: which of the published models it is, and the size of each part."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from twelvefold.model.tensor_files import find_non_finite
from twelvefold.vilbert_mt import parameter_names
from twelvefold.vilbert_mt.checkpoint_file import VilbertCheckpoint, has_tied_decoder, read_checkpoint

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
    ("word score", (f"{parameter_names.WORD_SCORE}.",)),
)
"""Parts of the multi-task model, and prefixes of their parameter names."""


@dataclass(frozen=True, slots=True)
class WeightsPart:
    """Size of a part of the model in the file."""

    name: str
    tensors: int
    parameters: int


@dataclass(frozen=True, slots=True)
class WeightsContents:
    """Contents of a file.

    entries: number of names. tensors: number of distinct tensors. parameters: numbers in those. outputs: by head.
    absent: parts of the multi-task model that the file does not have. others: names that belong to no part.
    """

    file: Path
    kind: str
    entries: int
    tensors: int
    parameters: int
    parts: tuple[WeightsPart, ...]
    outputs: dict[str, int]
    absent: tuple[str, ...]
    others: tuple[str, ...]
    set_aside: tuple[str, ...]
    notes: tuple[str, ...]


def inspect_weights(file: Path) -> WeightsContents:
    """List what a file of vilbert-multi-task holds. Nothing in it is run.

    Args:
        file: A weight file: ``.bin``, ``.safetensors``, or a training checkpoint.

    Raises:
        TwelvefoldError: the file can't be read.
    """
    checkpoint = read_checkpoint(file)
    tensors = checkpoint.tensors
    tied = {parameter_names.WORD_DECODER} if has_tied_decoder(tensors) else set()
    parts = []
    for name, prefixes in PARTS:
        names = [key for key in tensors if key.startswith(prefixes)]
        parts.append(WeightsPart(name, len(names), sum(tensors[key].numel() for key in names if key not in tied)))
    all_prefixes = tuple(prefix for _, prefixes in PARTS for prefix in prefixes)
    return WeightsContents(
        file=file,
        kind=checkpoint.kind,
        entries=len(tensors),
        tensors=len(tensors) - len(tied),
        parameters=sum(tensor.numel() for key, tensor in tensors.items() if key not in tied),
        parts=tuple(part for part in parts if part.tensors),
        outputs={h.name: len(tensors[h.output_weight]) for h in parameter_names.HEADS if h.output_weight in tensors},
        absent=tuple(part.name for part in parts if not part.tensors),
        others=tuple(key for key in tensors if not key.startswith(all_prefixes)),
        set_aside=checkpoint.set_aside,
        notes=(*checkpoint.notes, *_problems(checkpoint)),
    )


def _problems(checkpoint: VilbertCheckpoint) -> list[str]:
    """Return what an import refuses unless it is told to accept it."""
    problems = [checkpoint.other_vocabulary] if checkpoint.other_vocabulary else []
    if names := find_non_finite(checkpoint.tensors):
        problems.append(f"NaN or infinity in {', '.join(names)}")
    return problems
