"""Apply the option ``--device`` of commands that compute."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from twelvefold.environment import override_device


@contextmanager
def computing_on(device: str | None) -> Iterator[None]:
    """Use a device wherever one is selected, by this process and those that it starts; None changes nothing.

    Raises:
        TwelvefoldError: there is no such device. It is raised before anything is read.
    """
    if device is not None:
        from twelvefold.device import find_device  # here, because it imports torch

        find_device(device)
    with override_device(device):
        yield
