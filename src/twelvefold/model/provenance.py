"""What an imported model remembers of the file it came from, so that its export can be that file again.

Beside ``model.safetensors`` lie ``origin.json`` and, where our network has no place for a tensor,
``carried.safetensors``, which nothing loads for inference.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from twelvefold.schema import TwelvefoldError

ORIGIN = "origin.json"
CARRIED = "carried.safetensors"

Kind = Literal["multi-task with task tokens", "multi-task without task tokens", "pretraining", "plain BERT"]


class Origin(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """names: the file's entries in its order, by current official names. dtypes: of the entries that were not
    float32. fresh: our tensors that the file did not have, drawn anew."""

    file: str
    digest: str
    kind: Kind
    names: list[str]
    dtypes: dict[str, str] = {}
    fresh: list[str] = []


def read(folder: Path) -> Origin | None:
    """What a model's folder says of where it came from; None where it was not imported.

    Raises:
        TwelvefoldError: the file is broken.
    """
    path = folder / ORIGIN
    try:
        return msgspec.json.decode(path.read_bytes(), type=Origin)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise TwelvefoldError(f"{path} doesn't say where the model came from: {error}") from error
