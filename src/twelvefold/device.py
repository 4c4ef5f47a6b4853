"""Select the device that a model computes on."""

from __future__ import annotations

import os

import torch

from twelvefold.environment import DEVICE_VARIABLE
from twelvefold.schema import TwelvefoldError


def select_device(name: str, local_rank: int = 0) -> torch.device:
    """Return the device for ``name``: ``auto`` (a GPU if there is one), ``cpu`` or ``cuda``.

    :data:`DEVICE_VARIABLE` in the environment, if set, is used instead of ``name``.

    ``local_rank`` selects this process's GPU on this machine.

    Raises:
        TwelvefoldError: the name is another one, a GPU is requested and torch sees none, or there are more processes
            than GPUs.
    """
    name = os.environ.get(DEVICE_VARIABLE) or name
    if name not in ("auto", "cpu", "cuda"):
        raise TwelvefoldError(f"device must be auto, cpu or cuda, got {name!r}")
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise TwelvefoldError(
            "device is 'cuda', but torch sees no GPU here; use --device cpu, or a recipe with device = 'auto'"
        )
    if local_rank >= torch.cuda.device_count():
        raise TwelvefoldError(
            f"process {local_rank} has no GPU of its own: there are {torch.cuda.device_count()}; "
            "set [training] processes to that number"
        )
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)
