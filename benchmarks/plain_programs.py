"""What the original project's programs do with its model (``plain_reference.py``): train, search, read features.

- Training updates one parameter after the other, without gradient clipping, and keeps gradients of zeros.
- Retrieval encodes the text once for each caption, and the images again for each caption.
- Region features are read from pickled LMDB records, found by a search through a list of keys, and padded in float64.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import torch
from benchmarks.plain_reference import PaddedInputs, PlainVilbert
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

HEAD_LR = 1e-4
"""Learning rate of the heads on pooled vectors."""
NOT_DECAYED = ("bias", "LayerNorm.bias", "LayerNorm.weight")
IMAGES_AT_ONCE = 500
"""Images that a caption is compared with in one pass."""


class LoopAdamW:
    """The original's AdamW: no bias correction, decay after the update, one parameter after the other.

    A parameter takes part from its first gradient on, with gradients of zeros in the steps of other tasks.
    """

    def __init__(self, model: PlainVilbert, lr: float) -> None:
        self.parameters = [
            (p, HEAD_LR if "vil_" in name else lr, 0.0 if any(n in name for n in NOT_DECAYED) else 0.01)
            for name, p in model.named_parameters()
        ]
        self.state: dict[nn.Parameter, tuple[Tensor, Tensor]] = {}

    def zero_grad(self) -> None:
        for parameter, _, _ in self.parameters:
            if parameter.grad is not None:
                parameter.grad.zero_()

    @torch.no_grad()
    def step(self, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-6) -> None:
        for p, lr, decay in self.parameters:
            if p.grad is None:
                continue
            if p not in self.state:
                self.state[p] = torch.zeros_like(p), torch.zeros_like(p)
            average, square = self.state[p]
            average.mul_(beta1).add_(p.grad, alpha=1.0 - beta1)
            square.mul_(beta2).addcmul_(p.grad, p.grad, value=1.0 - beta2)
            p.addcdiv_(average, square.sqrt().add_(eps), value=-lr)
            if decay:
                p.add_(p, alpha=-lr * decay)


def loss(logits: dict[str, Tensor], head: str, target: Tensor) -> Tensor:
    """Return the loss of a task before loss scaling. ``head``: the package's name of the head that the task uses.

    target: vqa and gqa (B, A) float32, retrieval (B,) int64 among four pairs, grounding (P, R) float32, nlvr2 and
    snli_ve (B, A) float32, one-hot.
    """
    if head == "retrieval":
        return F.cross_entropy(logits[head].view(len(target), -1), target)
    predicted = logits[head].squeeze(-1)
    mean = F.binary_cross_entropy_with_logits(predicted, target)
    return mean * target.shape[1] if head in ("vqa", "gqa", "grounding") else mean


def train_step(
    model: PlainVilbert, optimizer: LoopAdamW, inputs: PaddedInputs, head: str, target: Tensor, scale: float = 1.0
) -> float:
    """Run one step of one task and return its loss, as the original logs it."""
    value = loss(model(inputs), head, target) * scale
    torch.autograd.backward(value)
    optimizer.step()
    optimizer.zero_grad()
    return float(value.detach())


@torch.no_grad()
def search(model: PlainVilbert, captions: PaddedInputs, images: PaddedInputs) -> Tensor:
    """Return the score of every caption with every image: (N, M). Each caption is computed alone.

    Of ``captions`` only the texts are read, of ``images`` only the regions.
    """
    rows = []
    for n in range(len(captions.token_ids)):
        scores = []
        for start in range(0, len(images.features), IMAGES_AT_ONCE):
            part = slice(start, start + IMAGES_AT_ONCE)
            pairs = PaddedInputs(
                captions.token_ids[n : n + 1],
                captions.text_mask[n : n + 1],
                images.features[part],
                images.locations[part],
                images.image_mask[part],
                captions.task_row,
            )
            scores.append(model(pairs)["retrieval"].squeeze(1))
        rows.append(torch.cat(scores))
    return torch.stack(rows)


class FeatureReader:
    """Region features in an LMDB file of pickled records, as the original writes them (float32, by image id)."""

    def __init__(self, folder: Path) -> None:
        self.environment = lmdb.open(str(folder), max_readers=1, readonly=True, lock=False, readahead=False)
        self.keys: list[bytes] = self._load(b"keys")

    def __getitem__(self, image_id: str) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Return features (N + 1, D) and locations (N + 1, 5), the mean of the regions and the whole image first."""
        key = self.keys[self.keys.index(image_id.encode())]
        item = self._load(key)
        width, height = int(item["image_w"]), int(item["image_h"])
        features = item["features"].reshape(-1, item["features"].shape[-1])
        boxes = item["boxes"].reshape(-1, 4)
        locations = np.zeros((len(boxes), 5))
        locations[:, :4] = boxes
        locations[:, 4] = (boxes[:, 3] - boxes[:, 1]) * (boxes[:, 2] - boxes[:, 0]) / (float(width) * float(height))
        locations[:, [0, 2]] /= float(width)
        locations[:, [1, 3]] /= float(height)
        mean = np.sum(features, axis=0) / len(features)
        features = np.concatenate([mean[None], features], axis=0)
        return features, np.concatenate([[[0.0, 0.0, 1.0, 1.0, 1.0]], locations], axis=0)

    def padded(self, image_id: str, max_regions: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return features (R, D), locations (R, 5) and mask (R,) of an image: float32, padded to ``max_regions``."""
        features, locations = self[image_id]
        count = min(len(features), max_regions)
        mask = [1] * count + [0] * (max_regions - count)
        padded_features = np.zeros((max_regions, features.shape[1]))
        padded_locations = np.zeros((max_regions, 5))
        padded_features[:count] = features[:count]
        padded_locations[:count] = locations[:count]
        return (
            torch.tensor(padded_features).float(),
            torch.tensor(padded_locations).float(),
            torch.tensor(np.array(mask)).float(),
        )

    def batch(self, image_ids: list[str], max_regions: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return :meth:`padded` of several images, stacked: (P, R, D), (P, R, 5), (P, R)."""
        images = [self.padded(image_id, max_regions) for image_id in image_ids]
        features, locations, masks = (torch.stack(parts) for parts in zip(*images, strict=True))
        return features, locations, masks

    def _load(self, key: bytes) -> Any:
        with self.environment.begin(write=False) as transaction:
            return pickle.loads(transaction.get(key) or b"")  # noqa: S301 - the benchmark's own file
