"""A model where it computes, asked as everything that is scored is asked."""

from __future__ import annotations

import torch
from torch import Tensor

from twelvefold.batch import Batch
from twelvefold.model import Model


class Placed:
    """A model on its device: batches go there, logits come back; a pool of pictures goes there once."""

    def __init__(self, model: Model, device: torch.device) -> None:
        self.model, self.device = model.to(device), device
        self._pool: tuple[Batch, Batch] | None = None

    def __call__(self, batch: Batch) -> Tensor:
        logits: Tensor = self.model(batch.to(self.device))
        return logits.cpu()

    def alignments(self, captions: Batch, images: Batch) -> Tensor:
        if self._pool is None or self._pool[0] is not images:
            self._pool = images, images.to(self.device)
        return self.model.alignments(captions.to(self.device), self._pool[1]).cpu()
