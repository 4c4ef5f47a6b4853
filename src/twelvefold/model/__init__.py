"""The two-stream model: attention, trunk, heads, the whole, and its weights in and out.

``Model`` is imported when it is first asked for: whoever checks a recipe needs ``config`` alone, and no PyTorch.
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
