"""Settings of this process and of those that it starts, kept in the environment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

DEVICE_VARIABLE = "TWELVEFOLD_DEVICE"
"""Environment variable with a device that is used instead of every other choice, also in processes started later."""


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
