"""Select the device that a model computes on."""

from __future__ import annotations

import os

import torch

from twelvefold.environment import DEVICE_KINDS, DEVICE_VARIABLE, check_device_name
from twelvefold.schema import TwelvefoldError


def select_device(name: str | torch.device, local_rank: int = 0) -> torch.device:
    """Return the device for ``name``: ``auto`` (a GPU if there is one), ``cpu``, ``cuda``, one GPU as ``cuda:1``, or
    any other device of PyTorch.

    :data:`DEVICE_VARIABLE` in the environment, if set, is used instead of ``name``.

    ``local_rank`` selects this process's GPU on this machine, unless the name does.

    Raises:
        TwelvefoldError: the name is another one, torch does not see the device, or there are more processes than GPUs.
    """
    override = os.environ.get(DEVICE_VARIABLE)
    device = find_device(override or str(name), local_rank)
    if device.type != "cpu" and hasattr(module := getattr(torch, device.type), "set_device"):
        module.set_device(device.index)
    return device


def find_device(name: str, local_rank: int = 0) -> torch.device:
    """Return the device for ``name`` as :func:`select_device` does, whatever the environment says, and leave the
    current device as it is.

    Raises:
        TwelvefoldError: as :func:`select_device`.
    """
    kind, _, number = check_device_name(name).partition(":")
    if kind == "cpu" or (kind == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    kind = "cuda" if kind == "auto" else kind
    count = _device_count(kind)
    available = ", ".join(["cpu", *(f"{k}:{i}" for k in DEVICE_KINDS for i in range(_device_count(k)))])
    if not count or (number and int(number) >= count):
        raise TwelvefoldError(f"device is {name!r}, but torch sees no such device here; it sees {available}")
    index = int(number) if number else local_rank
    if index >= count:
        raise TwelvefoldError(
            f"process {index} has no {kind} device of its own: torch sees {available}; set [training] processes to "
            "their number"
        )
    return torch.device(kind, index)


def _device_count(kind: str) -> int:
    """Return how many devices of a kind torch sees, except CPUs."""
    module = getattr(torch, kind, None) if kind != "cpu" else None
    return int(module.device_count()) if module is not None and hasattr(module, "device_count") else 0
