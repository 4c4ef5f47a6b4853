"""Compute activations again in the backward pass instead of storing them, with torch.utils.checkpoint."""

from __future__ import annotations

from functools import partial

from torch.utils.checkpoint import checkpoint

from twelvefold.model import Model
from twelvefold.model.attention import CoAttention, TransformerLayer


def checkpoint_activations(model: Model) -> None:
    """Let every layer of the trunk keep only its inputs for the backward pass.

    Random numbers (dropout) are those of the first computation, so on a CPU updates are the same to the bit. Names of
    modules and parameters stay as they are.
    """
    for module in model.trunk.modules():
        if isinstance(module, (TransformerLayer, CoAttention)):
            for name in ("forward", "forward_rows", "forward_image"):
                if (method := getattr(module, name, None)) is not None:
                    setattr(module, name, partial(checkpoint, method, use_reentrant=False))
