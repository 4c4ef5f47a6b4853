"""Where words and regions looked at each other while a question was answered. Paper: section 3.1 (co-attention).

What is shown is what the network computed for the answer, block by block and head by head, nothing smoothed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twelvefold.batch import Batch
from twelvefold.data.tokenizer import Tokens
from twelvefold.model import Model
from twelvefold.model.attention import Look
from twelvefold.schema import Box, TwelvefoldError

DECIMALS = 5
"""Of a share in JSON: the smallest that is told is a thousandth of the even share among 100 regions."""


@dataclass(frozen=True, slots=True)
class Block:
    """A block's shares: ``to_regions`` (heads, L, R), of each word over the regions, and ``to_words`` (heads, R, L), of
    each region over the words. Each row sums to one."""

    to_regions: NDArray[np.float32]
    to_words: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Attention:
    """One picture's and text's. ``picture``: its place among the prediction's pictures. ``words``: L word pieces with
    the special ones, the task's own in square brackets. ``boxes_px``: R boxes, the first the whole picture, then what
    was detected, then candidates that were given. ``blocks``: in the order of the network."""

    picture: int
    words: tuple[str, ...]
    boxes_px: tuple[Box, ...]
    blocks: tuple[Block, ...]

    def regions(self, block: int = -1, head: int | None = None, word: int | str | None = None) -> NDArray[np.float32]:
        """(R,): how much was looked at each region, by a head or the mean of all, from a word or the mean of all.

        ``block``: its place, negative from the end. ``word``: its place in ``words``, or the piece itself.

        Raises:
            TwelvefoldError: no such block, head or word.
        """
        shares = self.blocks[_place("block", block, len(self.blocks))].to_regions
        heads = shares if head is None else shares[[_place("head", head, len(shares))]]
        return _mean(heads if word is None else heads[:, [self._word(word)]])

    def told(self, block: int = -1, head: int | None = None, region: int | None = None) -> NDArray[np.float32]:
        """(L,): how much was looked at each word, by a head or the mean of all, from a region or the mean of all.

        Raises:
            TwelvefoldError: no such block, head or region.
        """
        shares = self.blocks[_place("block", block, len(self.blocks))].to_words
        heads = shares if head is None else shares[[_place("head", head, len(shares))]]
        return _mean(heads if region is None else heads[:, [_place("region", region, heads.shape[1])]])

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, texts and numbers."""
        return {
            "picture": self.picture,
            "words": list(self.words),
            "boxes_px": [list(box) for box in self.boxes_px],
            "blocks": [
                {"to_regions": _plain(block.to_regions), "to_words": _plain(block.to_words)} for block in self.blocks
            ],
        }

    def _word(self, word: int | str) -> int:
        if isinstance(word, str):
            if word not in self.words:
                raise TwelvefoldError(f"the text has no word piece {word!r}; it has {' '.join(self.words)}")
            return self.words.index(word)
        return _place("word", word, len(self.words))


def attention_of(
    network: Model, tokens: Tokens, batch: Batch, looks: Sequence[Look], shown: Sequence[Sequence[int]]
) -> list[tuple[Attention, ...]]:
    """For every example of a batch, an Attention for each of its pairs, without padding.

    ``looks``: of :meth:`Model.explained`. ``shown``: for each example, which of its request's pictures its pairs show.
    """
    lengths, counts = batch.token_mask.sum(dim=1).tolist(), batch.region_mask.sum(dim=1).tolist()
    task = network.tasks[batch.task]
    own = {"dataset": [f"[{task.name}]"], "head": [f"[{task.head}]"], "none": []}[network.config.task_token]
    found: list[tuple[Attention, ...]] = []
    for i, places in enumerate(shown):
        pairs = []
        for p, place in enumerate(places, i * batch.pairs_per_example):
            first, *others = tokens.pieces(batch.token_ids[p, : lengths[p]].tolist())
            words = [first, *own, *others][: looks[0].to_regions.shape[2]]  # a blind model reads fewer rows
            rows = min(counts[p], looks[0].to_regions.shape[3])
            boxes = batch.boxes_px[p, :rows].tolist()
            blocks = [
                Block(
                    look.to_regions[p, :, : len(words), :rows].float().cpu().numpy(),
                    look.to_words[p, :, :rows, : len(words)].float().cpu().numpy(),
                )
                for look in looks
            ]
            pairs.append(
                Attention(place, tuple(words), tuple((x1, y1, x2, y2) for x1, y1, x2, y2 in boxes), tuple(blocks))
            )
        found.append(tuple(pairs))
    return found


def _place(what: str, place: int, count: int) -> int:
    if not -count <= place < count:
        raise TwelvefoldError(f"there is no {what} {place}: the network has {count}, counted from 0")
    return place % count


def _mean(shares: NDArray[np.float32]) -> NDArray[np.float32]:
    mean: NDArray[np.float32] = shares.mean(axis=(0, 1))
    return mean


def _plain(shares: NDArray[np.float32]) -> list[Any]:
    rounded: list[Any] = shares.astype(np.float64).round(DECIMALS).tolist()
    return rounded
