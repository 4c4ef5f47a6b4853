"""The origin of an imported model, from which an export restores the original file.

``origin.json`` is next to ``model.safetensors``, and so is ``carried.safetensors`` with the tensors that the model does
not use.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from twelvefold.store import atomic_files

ORIGIN = "origin.json"
CARRIED = "carried.safetensors"

CheckpointKind = Literal["multi-task with task tokens", "multi-task without task tokens", "pretraining", "plain BERT"]


class Origin(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Content of ``origin.json``.

    names: the file's entries in its order, by their names in vilbert-multi-task. dtypes: of the entries that were not
    float32. fresh: tensors of the model that the file did not have, by name on disk; they were randomly initialized.
    non_finite: tensors of the model with NaN or infinity that the import was told to accept, by name on disk.
    """

    file: str
    digest: str
    kind: CheckpointKind
    names: list[str]
    dtypes: dict[str, str] = {}
    fresh: list[str] = []
    non_finite: list[str] = []


def read(folder: Path) -> Origin | None:
    """Read the origin of the model in a folder; None if it was not imported.

    Raises:
        TwelvefoldError: the file is broken.
    """
    return atomic_files.read_optional(folder / ORIGIN, Origin, problem="does not describe the origin of a model")
