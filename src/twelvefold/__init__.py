"""One vision-and-language model, many tasks: train it jointly on clean splits, evaluate it, use it.

Every command of ``twelvefold --help`` is a function of the same name: ``twelvefold.prepare.prepare`` and so on.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twelvefold.model import Model


def load(where: str | Path) -> Model:
    """The model of a folder, or of a hub by ``user/name``, ready to use: :func:`twelvefold.hub.load`."""
    from twelvefold.hub import load as read  # here, so that importing twelvefold stays light

    return read(where)
