"""Read a vilbert-multi-task checkpoint of any container and age under its latest parameter names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from twelvefold.model import provenance, tensor_files
from twelvefold.model.vocabulary import describe_other_vocabulary
from twelvefold.schema import TwelvefoldError
from twelvefold.vilbert_mt.parameter_names import HEADS, TASK_EMBEDDINGS, WORD_DECODER, WORD_EMBEDDINGS, normalize_name


@dataclass(slots=True, eq=False)
class VilbertCheckpoint:
    """Tensors by name. set_aside: other contents of a training checkpoint. notes: how names were changed."""

    tensors: dict[str, Tensor]
    kind: provenance.CheckpointKind
    set_aside: tuple[str, ...]
    notes: list[str]

    @property
    def other_vocabulary(self) -> str:
        """Return what the word embeddings look like if they are of another vocabulary, else an empty string."""
        words = self.tensors.get(WORD_EMBEDDINGS, self.tensors.get(WORD_DECODER))
        return describe_other_vocabulary(len(words)) if words is not None and words.ndim else ""

    @property
    def is_plain_bert(self) -> bool:
        """Return whether the file has a text stream only."""
        return self.kind == "plain BERT"


def read_checkpoint(file: Path) -> VilbertCheckpoint:
    """Read a checkpoint. Nothing in the file is run.

    Raises:
        TwelvefoldError: the file can't be read (:func:`twelvefold.model.tensor_files.read`), or two of its names
            stand for the same parameter.
    """
    contents = tensor_files.read(file)
    if any(name.startswith("bert.bert.") for name in contents.tensors):  # a wrapper whose attribute is called bert
        contents.tensors = {name.removeprefix("bert."): tensor for name, tensor in contents.tensors.items()}
        contents.removed = (*contents.removed, "bert.")
    trunk_only = not any(name.startswith("bert.") for name in contents.tensors)
    file_names: dict[str, str] = {}
    for file_name in contents.tensors:
        name = normalize_name(file_name, add_bert=trunk_only)
        if name in file_names:
            raise TwelvefoldError(f"{file}: {file_names[name]} and {file_name} are both {name}; remove one of them")
        file_names[name] = file_name
    tensors = {name: contents.tensors[file_name] for name, file_name in file_names.items()}
    notes = [f"trunk only: {len(tensors)} names without bert."] if trunk_only else []
    notes += contents.notes
    notes += ["names had gamma and beta"] if any("gamma" in name for name in contents.tensors) else []
    set_aside = [f"{key} of the training checkpoint" for key in contents.other_keys]
    set_aside += [f"objects of {class_name}, not created" for class_name in contents.stand_ins]
    return VilbertCheckpoint(tensors, _kind(tensors), tuple(set_aside), notes)


def has_tied_decoder(tensors: Mapping[str, Tensor]) -> bool:
    """Return whether word embeddings and word decoder are both there and equal."""
    if WORD_EMBEDDINGS not in tensors or WORD_DECODER not in tensors:
        return False
    words, decoder = tensors[WORD_EMBEDDINGS], tensors[WORD_DECODER]
    return words.data_ptr() == decoder.data_ptr() or (words.dtype == decoder.dtype and torch.equal(words, decoder))


def _kind(tensors: Mapping[str, Tensor]) -> provenance.CheckpointKind:
    if not any(name.startswith(("bert.encoder.c_layer.", "bert.v_embeddings.")) for name in tensors):
        return "plain BERT"
    if not any(name.startswith(tuple(f"{head.prefix}." for head in HEADS)) for name in tensors):
        return "pretraining"
    return "multi-task with task tokens" if TASK_EMBEDDINGS in tensors else "multi-task without task tokens"
