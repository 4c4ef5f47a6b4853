"""Settings of this process and of those that it starts, kept in the environment; the names of devices."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from twelvefold.schema import TwelvefoldError, did_you_mean

DEVICE_VARIABLE = "TWELVEFOLD_DEVICE"
"""Environment variable with a device that is used instead of every other choice, also in processes started later."""

DEVICE_KINDS = ("auto", "cpu", "cuda", "mps", "xpu", "hpu", "mtia", "npu")
"""Kinds of devices: PyTorch's, and ``auto``."""

_OTHER_NAMES = {"gpu": "cuda", "nvidia": "cuda", "rocm": "cuda", "hip": "cuda", "metal": "mps"}
"""What people call a kind -> PyTorch's name of it."""


def check_device_name(name: str, label: str = "device") -> str:
    """Return ``name`` if it names a device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps`` ...

    It is not checked whether the device is there, which needs torch (:func:`twelvefold.device.select_device`).

    Raises:
        TwelvefoldError: the name has another form. ``label``: how the error calls it.
    """
    kind, colon, number = name.partition(":")
    has_form = kind in DEVICE_KINDS and (not colon or (kind != "auto" and re.fullmatch("[0-9]{1,4}", number)))
    if not has_form or (kind == "cpu" and number.strip("0")):
        close = _OTHER_NAMES.get(kind.lower())
        advice = f"; did you mean {close + colon + number!r}?" if close else did_you_mean(kind, DEVICE_KINDS)
        raise TwelvefoldError(
            f"{label} must be auto, cpu, or a name of PyTorch such as cuda, cuda:1 or mps, got {name!r}{advice}"
        )
    return name


def is_main_process() -> bool:
    """Return whether this process is rank 0 of the processes that compute together, or computes alone."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def override_device(name: str | None) -> Iterator[None]:
    """Use the device ``name`` wherever :func:`twelvefold.device.select_device` is called; None changes nothing."""
    before = os.environ.get(DEVICE_VARIABLE)
    if name is not None:
        os.environ[DEVICE_VARIABLE] = name
    try:
        yield
    finally:
        if name is not None:
            os.environ.pop(DEVICE_VARIABLE)
            if before is not None:
                os.environ[DEVICE_VARIABLE] = before
