"""The distribution of region features in a model's training images, to recognize images of another kind.

Two measures of an image are compared with those of validation images:

- distance: the Mahalanobis distance of a region's feature to the closest class mean, with one covariance for all
  classes, averaged over the regions. Source: Lee et al., "A simple unified framework for detecting out-of-distribution
  samples and adversarial attacks", NeurIPS 2018, section 2.1.
- doubt: minus the log-odds of the region's most probable category, averaged over the regions: a detector is less sure
  about objects that it was not trained on. Source: Hendrycks and Gimpel, "A baseline for detecting misclassified and
  out-of-distribution examples in neural networks", ICLR 2017.

Not in the paper.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twelvefold.model import tensor_files
from twelvefold.schema import Regions, TwelvefoldError

FILE = "feature_statistics.safetensors"
"""Name of the file in a model's folder. It is optional: imported models have none."""
TENSORS = ("whitening", "class_means", "centers", "scales", "limit")
MAX_REGIONS = 20_000
"""Regions of training images from which the statistics are computed: 330 MB of the paper's features in float64."""
MIN_IMAGES = 50
"""Fewest held-out images from which a limit is estimated."""
LIMIT_DEVIATIONS = 4.0
"""The limit, in standard deviations above the mean of validation images. Of the drawn world's 3,184 training images the
most distant is 4.1 above it."""
EPSILON = 1e-4
"""Distance of probabilities from 0 and 1, about the precision of half precision near 1; added to scales, too."""
SHRINKAGE = 1e-2
"""Share of the mean variance that is added to each dimension, so that dimensions without variance can be divided by."""


@dataclass(frozen=True, slots=True, eq=False)
class FeatureStatistics:
    """Statistics of training images: of their region features, and of the measures of images that are still usual.

    whitening: (D, D) float32, features times it have the identity as covariance within a class. class_means: (C, D)
    float32, whitened. centers, scales: mean and standard deviation of each measure on validation images, distance and,
    if the detector gives ``class_probs``, doubt. limit: of the mean standardized measure.
    """

    whitening: NDArray[np.float32]
    class_means: NDArray[np.float32]
    centers: NDArray[np.float64]
    scales: NDArray[np.float64]
    limit: float

    @classmethod
    def fit(cls, train: Iterable[Regions], held_out: Iterable[Regions]) -> FeatureStatistics | None:
        """Compute the statistics of training images; centers, scales and limit come from images held out of them.

        Classes are the detector's most probable categories; one class if ``class_probs`` are not stored. Return None
        if there are fewer than ``MIN_IMAGES`` images with regions in either part.
        """
        train, held_out = ([regions for regions in part if len(regions.features)] for part in (train, held_out))
        if min(len(train), len(held_out)) < MIN_IMAGES:
            return None
        parts = _spread_rows([len(regions.features) for regions in train])
        chosen = list(zip(train, parts, strict=True))
        features = np.concatenate([regions.features[rows] for regions, rows in chosen]).astype(np.float64)
        classes = np.concatenate([_classes(regions)[rows] for regions, rows in chosen])
        labels, members = np.unique(classes, return_inverse=True)
        means = np.zeros((len(labels), features.shape[1]))
        np.add.at(means, members, features)
        means /= np.bincount(members)[:, None]
        covariance = np.atleast_2d(np.cov(features - means[members], rowvar=False))
        # A feature that never varies gets a share of the mean variance, or 1 where nothing varies.
        covariance += np.eye(len(covariance)) * (SHRINKAGE * np.trace(covariance) / len(covariance) or 1.0)
        whitening = np.linalg.cholesky(np.linalg.inv(covariance))
        statistics = cls(
            whitening.astype(np.float32), (means @ whitening).astype(np.float32), np.zeros(2), np.ones(2), np.inf
        )
        measures = np.stack([statistics.measure(regions) for regions in held_out])
        centers, scales = measures.mean(axis=0), measures.std(axis=0) + EPSILON
        scores = ((measures - centers) / scales).mean(axis=1)
        return replace(statistics, centers=centers, scales=scales, limit=float(LIMIT_DEVIATIONS * scores.std()))

    def measure(self, regions: Regions) -> NDArray[np.float64]:
        """Return an image's distance, about 1 for training images, and doubt if ``class_probs`` are known.

        The image must have regions.
        """
        whitened = torch.from_numpy(regions.features.astype(np.float32) @ self.whitening)
        closest = torch.cdist(whitened, torch.from_numpy(self.class_means)).min(dim=1).values
        distance = float(closest.mean()) / math.sqrt(len(self.whitening))
        if regions.class_probs is None:
            return np.array([distance])
        best = regions.class_probs.max(axis=1).astype(np.float64).clip(EPSILON, 1 - EPSILON)
        return np.array([distance, float(np.mean(np.log(1 - best) - np.log(best)))])

    def is_unusual(self, regions: Regions) -> bool:
        """Return whether an image is farther from the training images than the limit; False without regions.

        Doubt counts if it is known of the training images.

        Raises:
            TwelvefoldError: the training images had ``class_probs`` and these regions have none.
        """
        if not len(regions.features):
            return False
        measures = self.measure(regions)[: len(self.centers)]
        if len(measures) < len(self.centers):
            raise TwelvefoldError(
                "the regions of the training images have class probabilities and those of this image none, so they "
                "cannot be compared; use the detector of the training images, or calibrate again"
            )
        return bool(((measures - self.centers) / self.scales).mean() > self.limit)

    def write(self, folder: Path) -> None:
        """Write the file to a model's folder, atomically."""
        tensors: dict[str, Tensor] = {
            "whitening": torch.from_numpy(self.whitening),
            "class_means": torch.from_numpy(self.class_means),
            "centers": torch.from_numpy(self.centers),
            "scales": torch.from_numpy(self.scales),
            "limit": torch.tensor([self.limit], dtype=torch.float64),
        }
        tensor_files.write(folder / FILE, tensors)


def read(folder: Path) -> FeatureStatistics | None:
    """Read the statistics of a model's folder; return None if it has none.

    Raises:
        TwelvefoldError: the file is damaged.
    """
    path = folder / FILE
    if not path.exists():
        return None
    tensors = tensor_files.read_safetensors(path).tensors
    try:
        whitening, means, centers, scales, limit = (tensors[name].numpy() for name in TENSORS)
    except KeyError as error:
        raise TwelvefoldError(
            f"{path} has no tensor {error}; run `twelvefold calibrate` again, or delete it"
        ) from error
    size = whitening.shape[-1]
    shapes = [whitening.shape, means.shape[1:], centers.shape, limit.shape]
    if shapes != [(size, size), (size,), scales.shape, (1,)] or len(centers) not in (1, 2):
        raise TwelvefoldError(f"{path} has tensors of wrong shapes; run `twelvefold calibrate` again, or delete it")
    return FeatureStatistics(whitening, means, centers, scales, float(limit[0]))


def _spread_rows(counts: list[int]) -> list[NDArray[np.int64]]:
    """Return the regions of each image to use, at most ``MAX_REGIONS`` in all, evenly spaced over all images."""
    ends = np.cumsum(counts)
    rows = np.linspace(0, ends[-1] - 1, min(int(ends[-1]), MAX_REGIONS)).round().astype(np.int64)
    starts = ends - counts
    return [part - start for part, start in zip(np.split(rows, np.searchsorted(rows, ends[:-1])), starts, strict=True)]


def _classes(regions: Regions) -> NDArray[np.int64]:
    """Return (N,) int64: each region's most probable category, or 0 if probabilities are not stored."""
    if regions.class_probs is None:
        return np.zeros(len(regions.features), dtype=np.int64)
    classes: NDArray[np.int64] = regions.class_probs.argmax(axis=1)
    return classes
