"""Select the device that a model computes on."""

from __future__ import annotations

import os

import torch

from twelvefold.environment import DEVICE_VARIABLE
from twelvefold.schema import TwelvefoldError, did_you_mean

NAMES = ("auto", "cpu", "cuda")
OTHER_NAMES = {"gpu": "cuda", "nvidia": "cuda"}


def select_device(name: str | torch.device, local_rank: int = 0) -> torch.device:
    """Return the device for ``name``: ``auto`` (a GPU if there is one), ``cpu``, ``cuda``, or one GPU as ``cuda:1``.

    :data:`DEVICE_VARIABLE` in the environment, if set, is used instead of ``name``.

    ``local_rank`` selects this process's GPU on this machine, unless the name does.

    Raises:
        TwelvefoldError: the name is another one, a GPU is requested and torch sees none, or there are more processes
            than GPUs.
    """
    name = os.environ.get(DEVICE_VARIABLE) or str(name)
    kind, colon, number = name.partition(":")
    if kind not in NAMES or (colon and not (kind == "cuda" and number.isdecimal())):
        close = OTHER_NAMES.get(kind.lower())
        advice = f"; did you mean {close!r}?" if close else did_you_mean(kind, NAMES)
        raise TwelvefoldError(f"device must be auto, cpu, cuda or cuda:NUMBER, got {name!r}{advice}")
    if kind == "cpu" or (kind == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise TwelvefoldError(
            f"device is {name!r}, but torch sees no GPU here; use --device cpu, or a recipe with device = 'auto'"
        )
    if number and int(number) >= torch.cuda.device_count():
        raise TwelvefoldError(f"device is {name!r}, but there are {torch.cuda.device_count()} GPUs, from cuda:0")
    local_rank = int(number) if number else local_rank
    if local_rank >= torch.cuda.device_count():
        raise TwelvefoldError(
            f"process {local_rank} has no GPU of its own: there are {torch.cuda.device_count()}; "
            "set [training] processes to that number"
        )
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)
