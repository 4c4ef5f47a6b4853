"""The model: attention, trunks, heads, saving and loading.

``Model`` is imported on first use, because checking a recipe needs only its configuration and not PyTorch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twelvefold.config.model import ModelConfig, preset

if TYPE_CHECKING:
    from twelvefold.model.model import Model

__all__ = ["Model", "ModelConfig", "preset"]


def __getattr__(name: str) -> Any:
    if name == "Model":
        from twelvefold.model.model import Model

        return Model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
