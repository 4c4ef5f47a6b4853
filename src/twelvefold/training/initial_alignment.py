"""Align words with regions before the first step, so that a model trained from scratch learns from the start.

Without it all tasks stay at chance together for a third of a short run: nothing tells a word which regions it describes
until attention between words and regions means something, and the reverse. The grounding tasks answer that question in
closed form. Of each word they give the regions that its expressions refer to and the others of the same images; the
linear discriminant between the two is a direction of the region features. It becomes the initial projection of regions
on the word's embedding (:func:`align`), and co-attention begins by comparing words and regions.

Not in the paper, which starts from weights pretrained on captions. Only training examples are read. Measurements:
docs/results/learning_early.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from twelvefold.batch import Batch
from twelvefold.data.task_batches import TaskBatches
from twelvefold.families import load_family
from twelvefold.families.shared.labels import require_target
from twelvefold.model import Model
from twelvefold.model.attention import CoAttention
from twelvefold.model.two_stream import TwoStreamTrunk
from twelvefold.schema import TwelvefoldError
from twelvefold.training.distributed import ProcessGroup

MAX_EXAMPLES = 5_120
"""Examples of each task that are read; more hardly change the directions."""
SAMPLE_REGIONS = 10_000
"""Regions from which mean and scale are estimated."""
MIN_EXPRESSIONS = 3
"""Words in fewer expressions keep their random initialization."""
SHRINKAGE = 0.05
"""Added to the diagonal of the covariance, relative to the diagonal."""
RANDOM_SCALE = 0.5
"""Factor on the random initial projection of regions."""
WORD_SCALE = 4.0
"""Norm of the part that stands for words, relative to that of the random part before it is scaled."""
ATTENTION_SCALE = 2.0
"""Factor on the initial query and key weights of co-attention, which makes it sharper."""


@dataclass(frozen=True, slots=True)
class WordDirections:
    """Linear discriminants of the regions that words refer to.

    rows: (J,) int64, rows of the word embedding. directions: (J, D + 5), on a region's feature and location; their
    product with a region minus ``mean`` is near 1 for regions that the word describes, and near 0 for others.
    sample: (n, D + 5), some regions.
    """

    rows: Tensor
    directions: Tensor
    mean: Tensor
    sample: Tensor


def align_model(model: Model, tasks: Iterable[TaskBatches], group: ProcessGroup) -> None:
    """Initialize the region projection and the co-attention of a new model from the training examples of ``tasks``.

    Raises:
        TwelvefoldError: none of the tasks chooses a region, or the model is not made of two streams of equal size.
    """
    grounding = [batches for batches in tasks if load_family(batches.task.family).chooses_region]
    trunk, config = model.trunk, model.config
    if not grounding:
        raise TwelvefoldError(
            "[training] initial_alignment reads the examples of grounding tasks, and the recipe has none: add one, or "
            "set initial_alignment = false"
        )
    if not isinstance(trunk, TwoStreamTrunk) or config.text_hidden_size != config.image_hidden_size:
        raise TwelvefoldError(
            "[training] initial_alignment needs the trunk two_stream with text_hidden_size equal to image_hidden_size, "
            f"got {config.trunk} with {config.text_hidden_size} and {config.image_hidden_size}; set initial_alignment "
            "= false for other models"
        )
    text, image = trunk.text_embeddings, trunk.image_embeddings
    batches = (batch for task in grounding for batch in _first_batches(task))
    fitted = fit_word_directions(batches, text.token_to_row.cpu(), text.words.num_embeddings)
    with torch.no_grad():
        initial = torch.cat([image.features.weight, image.locations.weight], dim=1).cpu()  # (W, D + 5)
        aligned = text.words.weight.cpu()[fitted.rows].T @ fitted.directions  # (W, D + 5)
        centered = fitted.sample - fitted.mean
        random_norm, word_norm = ((centered @ weight.T).norm() for weight in (initial, aligned))
        aligned *= WORD_SCALE * random_norm / word_norm
        weights = RANDOM_SCALE * initial + aligned
        size = image.features.in_features
        image.features.weight.copy_(weights[:, :size])
        image.features.bias.sub_((aligned @ fitted.mean).to(image.features.bias))
        image.locations.weight.copy_(weights[:, size:])
        for module in trunk.modules():
            if isinstance(module, CoAttention):
                module.match_queries_and_keys(ATTENTION_SCALE)
    # Another machine may round differently, but all ranks must begin with the same weights.
    group.broadcast_tensors([image.features.weight.data, image.features.bias.data, image.locations.weight.data])


def fit_word_directions(batches: Iterable[Batch], token_to_row: Tensor, num_rows: int) -> WordDirections:
    """Fit the direction of every word in the batches of grounding tasks.

    With ``d`` the mean of (region that is meant - mean of the image's regions) over a word's expressions, and ``S`` the
    covariance of regions within images, the direction is proportional to the linear discriminant ``inv(S) d``. It is
    scaled by how well the word separates regions: by ``m / (m + R)``, where ``m = d inv(S) d`` without the part that is
    due to chance, and R is the number of regions in an image. Words such as "the" get a direction near zero.
    """
    differences, expressions, sample = _Sums(num_rows), 0, list[Tensor]()
    covariance, regions = torch.zeros(()), 0.0
    for batch in batches:
        rows = batch.pad_regions(torch.cat([batch.features, batch.locations], dim=-1))  # (P, R, D + 5)
        real = batch.candidate_mask
        rows = rows * real[..., None]
        count = real.sum(dim=1, keepdim=True)  # (P, 1)
        centered = (rows - rows.sum(dim=1, keepdim=True) / count.clamp(min=1)[..., None]) * real[..., None]
        value, target = require_target(batch)[..., 0].max(dim=1)  # (P,) each
        has_target = value > 0
        flat = centered.flatten(0, 1)
        covariance = covariance + flat.T @ flat
        regions += float(count.sum())
        expressions += len(rows)
        chosen = centered[torch.arange(len(rows)), target]  # (P, D + 5)
        words = token_to_row[batch.token_ids] * batch.token_mask
        differences.add(words[has_target], chosen[has_target])
        if sum(map(len, sample)) < SAMPLE_REGIONS:
            sample.append(rows[real])
    used, mean_difference = differences.means(MIN_EXPRESSIONS)
    covariance = covariance / max(regions, 1.0)
    covariance = covariance + SHRINKAGE * torch.diag(covariance.diagonal()) + 1e-6 * torch.eye(len(covariance))
    discriminants = torch.linalg.solve(covariance, mean_difference.T).T  # (J, D + 5)
    separation = (mean_difference * discriminants).sum(dim=1)  # (J,)
    by_chance = mean_difference.shape[1] / differences.counts[used]
    real_separation = (separation - by_chance).clamp(min=0)
    response = real_separation / (real_separation + regions / max(expressions, 1))
    scale = response / separation.clamp(min=1e-9)
    all_regions = torch.cat(sample)
    return WordDirections(used, discriminants * scale[:, None], all_regions.mean(dim=0), all_regions)


class _Sums:
    """Sum of a vector and number of expressions for each word."""

    def __init__(self, num_rows: int) -> None:
        self.counts = torch.zeros(num_rows)
        self._sums = torch.zeros(())

    def add(self, words: Tensor, vectors: Tensor) -> None:
        """words (P, L): rows of the words of an expression, repeated or 0 for none. vectors (P, n)."""
        is_in = torch.zeros(len(words), len(self.counts)).scatter_(1, words, 1.0)  # (P, rows)
        is_in[:, 0] = 0.0  # [UNK], and padding
        self.counts += is_in.sum(dim=0)
        self._sums = self._sums + is_in.T @ vectors

    def means(self, min_count: int) -> tuple[Tensor, Tensor]:
        """Return the rows of words with at least so many expressions (J,), and their mean vectors (J, n)."""
        used = (self.counts >= min_count).nonzero().flatten()
        return used, self._sums[used] / self.counts[used, None]


def _first_batches(task: TaskBatches) -> Iterator[Batch]:
    """Yield batches of a task's first epoch, at most ``MAX_EXAMPLES`` examples."""
    steps: Sequence[int] = range(min(task.steps_per_epoch, max(1, MAX_EXAMPLES // task.task.batch_size)))
    return map(task.train_batch, steps)
