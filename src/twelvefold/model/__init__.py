"""The two-stream model: attention, trunk, heads, the whole, and its weights in and out."""

from __future__ import annotations

from twelvefold.model.config import ModelConfig, preset
from twelvefold.model.model import Model

__all__ = ["Model", "ModelConfig", "preset"]
