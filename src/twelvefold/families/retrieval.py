"""Caption-based image retrieval (G2; COCO, Flickr30k): the true pair must score highest. Paper: Eq. 2, section 3.2.

Text retrieval, which finds an image's captions, uses the same scores of captions with images. Not in the paper.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from twelvefold.batch import Batch
from twelvefold.config.training import TrainingConfig
from twelvefold.families.shared.interface import Family
from twelvefold.families.shared.labels import read_labels, require_target
from twelvefold.families.shared.probabilities import decode_names
from twelvefold.schema import Example, ExamplePrediction, HeadSpec, PositivePair, TaskForm


class RetrievalFamily(Family):
    """Find the image of a caption."""

    group = "G2"
    title = "Caption-based image retrieval"
    text_label = "Caption"
    form = TaskForm(
        tab="Find by caption",
        heading="Find the image that a caption describes",
        label="Caption",
        placeholder="A red car next to a tree.",
        hint="Your images are ranked by how well the caption describes them.",
        verb="Find",
    )
    head_kind = "pair_score"
    logits_description = "(batch, 1) float32: score of text and image; softmax over the pairs to compare"
    searches_images = True
    is_slow = True

    def target(
        self, examples: Sequence[Example], boxes_px: NDArray[Any], candidate_mask: NDArray[Any], head: HeadSpec
    ) -> NDArray[np.int64] | None:
        """Return the index of each example's true pair: (B,) int64."""
        labels = read_labels(examples, PositivePair, head)
        return None if labels is None else np.array([label.index for label in labels], dtype=np.int64)

    def loss(self, logits: Tensor, batch: Batch, config: TrainingConfig | None = None) -> Tensor:
        """Return softmax cross-entropy over the K pairs of an example, mean over the batch."""
        return F.cross_entropy(logits.float(), require_target(batch))

    def score(self, logits: Tensor, batch: Batch) -> Tensor:
        """Return 1 if the true pair scores higher than all others, else 0: (B,) float32.

        Ties count as wrong: a model that ignores the text gives several pairs the same score, and argmax would choose
        the first.
        """
        return (rank_true_images(logits, require_target(batch)) == 0).float()

    def decode(
        self, logits: Tensor, batch: Batch, head: HeadSpec, top: int = 5, temperature: float = 1.0
    ) -> list[ExamplePrediction]:
        """Return the ``top`` most probable pairs of each example, named by their index (``"0"`` is the first).

        :func:`decode_names` also ranks a pool of images by image key.
        """
        names = [str(k) for k in range(logits.shape[1])]
        return decode_names(logits, batch.example_ids, names, batch.task, top, temperature)

    def chance(self, batch: Batch, head: HeadSpec) -> list[float]:
        """Return 1 / K for each example."""
        return [1 / batch.pairs_per_example] * len(batch.example_ids)


FAMILY = RetrievalFamily()

RECALLS = (1, 5, 10)
"""R@k is reported for these k."""


def rank_true_images(scores: Tensor, true_image: Tensor) -> Tensor:
    """Return the rank of each caption's true image in the pool: (N,) int64, 0 is best.

    scores: (N, M), any captions with the whole pool. true_image: (N,) int64, the column of the true image.

    Differs: scripts that sort the scores count a tie as right or wrong by chance. Here ties and NaN count as wrong.
    """
    true = scores.gather(1, true_image[:, None])
    return (~(scores < true)).sum(dim=1) - 1  # minus 1 for the true image itself


def rank_true_texts(blocks: Callable[[], Iterable[Tensor]], true_image: Tensor) -> Tensor:
    """Return, for each image that has captions, the rank of its best caption among all captions: (Q,) int64, 0 is best.

    Text retrieval: any of an image's captions counts (Flickr30k and COCO have five), as in the literature. Images are
    in the order of their columns. Ties with another image's caption and NaN count as wrong.

    blocks: called twice, returns the scores of :func:`rank_true_images` in blocks of captions, (n, M) each; only one
    block is needed at a time. true_image: (N,) int64, of the captions of all blocks.
    """
    images = torch.unique(true_image)  # (Q,), sorted
    best = torch.full((len(images),), float("-inf"))  # score of each image's best caption
    ranks = torch.zeros(len(images), dtype=torch.int64)
    for own, scores in _with_own_images(blocks(), true_image):
        true = scores.gather(1, own[:, None]).squeeze(1).float()
        true = true.nan_to_num(nan=float("-inf"), posinf=float("inf"), neginf=float("-inf"))
        best.scatter_reduce_(0, torch.searchsorted(images, own), true, "amax")
    for own, scores in _with_own_images(blocks(), true_image):
        ranks += (~(scores[:, images] < best) & (own[:, None] != images)).sum(dim=0)
    return ranks


def _with_own_images(blocks: Iterable[Tensor], true_image: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield each block (n, M) with the columns of its captions' own images (n,)."""
    start = 0
    for scores in blocks:
        yield true_image[start : start + len(scores)], scores
        start += len(scores)


def recall_at(ranks: Tensor, k: int) -> float:
    """Return R@k: the share of queries whose true image or text is among the first ``k``, in 0..1."""
    return float((ranks < k).double().mean())
