"""Fit the statistics of region features on a run's training images (:mod:`twelvefold.model.feature_statistics`)."""

from __future__ import annotations

from collections.abc import Sequence

from twelvefold.data.task_batches import evenly_spaced
from twelvefold.model.feature_statistics import FeatureStatistics
from twelvefold.schema import ImageKey, Split
from twelvefold.store.prepared import Prepared
from twelvefold.store.region_store import RegionStore

MAX_IMAGES = 2000
"""Images of train and of val, each evenly spaced over all tasks' images. The distances of drawn test images differ by
1 % from those with 1,000 images (measured with the world's detector)."""


def fit_feature_statistics(prepared: Prepared, detected: RegionStore, tasks: Sequence[str]) -> FeatureStatistics | None:
    """Fit the statistics on the tasks' training images; the limit on validation images that no task trains on.

    Return None if there are too few images.
    """
    train = _images(prepared, tasks, "train")
    held_out = _images(prepared, tasks, "val") - train
    samples = [sorted(images) for images in (train, held_out)]
    train_regions, held_out_regions = (
        [detected[sample[i]] for i in evenly_spaced(len(sample), MAX_IMAGES)] for sample in samples
    )
    return FeatureStatistics.fit(train_regions, held_out_regions)


def _images(prepared: Prepared, tasks: Sequence[str], split: Split) -> set[ImageKey]:
    """Return the images of a split of these tasks."""
    tables = [prepared.table(task, split) for task in tasks if split in prepared.splits(task)]
    return {image for table in tables for image in table.all_images()}
