"""Co-attention weights of an answer: how much each word attends to each region, and the reverse. Paper: section 3.1.

These are the weights of the forward pass that computed the answer, per block and head, without smoothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twelvefold.batch import Batch
from twelvefold.data.tokenizer import Tokenizer
from twelvefold.model import Model
from twelvefold.model.attention import AttentionWeights
from twelvefold.schema import Box, TwelvefoldError

DECIMALS = 5
"""Of a weight in JSON: 1e-5 is a thousandth of a uniform weight over 100 regions."""


@dataclass(frozen=True, slots=True)
class BlockAttention:
    """Weights of one co-attention block. Each row sums to one.

    to_regions: (heads, L, R), from each word to the regions. to_words: (heads, R, L), from each region to the words.
    """

    to_regions: NDArray[np.float32]
    to_words: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Attention:
    """Attention between one image and one text.

    image_index: the image's index in ``Prediction.images``. words: L word pieces, special ones included; the task token
    in square brackets. boxes_px: R boxes: the whole image, the detected regions, then given candidates. blocks: the
    co-attention blocks, first to last.
    """

    image_index: int
    words: tuple[str, ...]
    boxes_px: tuple[Box, ...]
    blocks: tuple[BlockAttention, ...]

    def region_weights(
        self, block: int = -1, head: int | None = None, word: int | str | None = None
    ) -> NDArray[np.float32]:
        """Return (R,) weights over the regions, averaged over heads and words unless one is chosen.

        ``block`` and ``word`` are indices, negative ones from the end; ``word`` may be the word piece itself.

        Raises:
            TwelvefoldError: no such block, head or word.
        """
        weights = self.blocks[_checked_index("block", block, len(self.blocks))].to_regions
        heads = weights if head is None else weights[[_checked_index("head", head, len(weights))]]
        return _mean(heads if word is None else heads[:, [self._word_index(word)]])

    def word_weights(self, block: int = -1, head: int | None = None, region: int | None = None) -> NDArray[np.float32]:
        """Return (L,) weights over the words, averaged over heads and regions unless one is chosen.

        Raises:
            TwelvefoldError: no such block, head or region.
        """
        weights = self.blocks[_checked_index("block", block, len(self.blocks))].to_words
        heads = weights if head is None else weights[[_checked_index("head", head, len(weights))]]
        return _mean(heads if region is None else heads[:, [_checked_index("region", region, heads.shape[1])]])

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists, texts and numbers."""
        return {
            "picture": self.image_index,
            "words": list(self.words),
            "boxes_px": [list(box) for box in self.boxes_px],
            "blocks": [
                {"to_regions": _rounded(block.to_regions), "to_words": _rounded(block.to_words)}
                for block in self.blocks
            ],
        }

    def _word_index(self, word: int | str) -> int:
        if isinstance(word, str):
            if word not in self.words:
                raise TwelvefoldError(f"the text has no word piece {word!r}; it has {' '.join(self.words)}")
            return self.words.index(word)
        return _checked_index("word", word, len(self.words))


def collect_attention(
    network: Model,
    tokens: Tokenizer,
    batch: Batch,
    weights: Sequence[AttentionWeights],
    image_indices: Sequence[Sequence[int]],
) -> list[tuple[Attention, ...]]:
    """Return, for every example of a batch, an Attention for each of its pairs, without padding.

    ``weights``: from :meth:`Model.forward_with_attention`. ``image_indices``: for each example, the
    index of each pair's image.
    """
    lengths, num_regions = batch.token_mask.sum(dim=1).tolist(), batch.region_mask.sum(dim=1).tolist()
    task = network.tasks[batch.task]
    names = {"dataset": task.name, "group": task.family, "head": task.head}
    task_token = [f"[{name}]" for kind, name in names.items() if kind == network.config.task_token]
    result: list[tuple[Attention, ...]] = []
    for i, indices in enumerate(image_indices):
        pairs = []
        for p, image_index in enumerate(indices, i * batch.pairs_per_example):
            first, *others = tokens.tokens(batch.token_ids[p, : lengths[p]].tolist())
            words = [first, *task_token, *others][: weights[0].to_regions.shape[2]]  # fewer without the text
            rows = min(num_regions[p], weights[0].to_regions.shape[3])
            boxes = batch.boxes_px[p, :rows].tolist()
            blocks = [
                BlockAttention(
                    block.to_regions[p, :, : len(words), :rows].float().cpu().numpy(),
                    block.to_words[p, :, :rows, : len(words)].float().cpu().numpy(),
                )
                for block in weights
            ]
            boxes_px = tuple((x1, y1, x2, y2) for x1, y1, x2, y2 in boxes)
            pairs.append(Attention(image_index, tuple(words), boxes_px, tuple(blocks)))
        result.append(tuple(pairs))
    return result


def _checked_index(name: str, index: int, size: int) -> int:
    if not -size <= index < size:
        raise TwelvefoldError(f"there is no {name} {index}: the network has {size}, counted from 0")
    return index % size


def _mean(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    mean: NDArray[np.float32] = weights.mean(axis=(0, 1))
    return mean


def _rounded(weights: NDArray[np.float32]) -> list[Any]:
    rounded: list[Any] = weights.astype(np.float64).round(DECIMALS).tolist()
    return rounded
