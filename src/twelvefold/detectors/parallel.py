"""Run a detector in several processes of one machine, for calls with many images."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from twelvefold.config.extract import ExtractConfig
from twelvefold.detectors.interface import RegionDetector, RegionPair, group_by_input_size
from twelvefold.detectors.load import load_detector
from twelvefold.detectors.world_detector.detector import ComputeDtype
from twelvefold.images import RGB
from twelvefold.schema import TwelvefoldError
from twelvefold.store.steps import check_processes
from twelvefold.store.worker_pool import create_pool

BATCHES_PER_PROCESS = 4
"""Batches of a call for each process; more keep the processes busy to the end, and hold more images in memory."""


class ParallelDetector:
    """A detector whose batches are divided among processes, each with its own detector and one thread.

    A call with a single image runs in this process. The processes start with the first larger call and end with this
    process. Batches have images of one input size, as the detector needs; features may differ by about 1e-6 from those
    of a single process, which may use more threads.
    """

    def __init__(self, detector: RegionDetector, config: ExtractConfig, dtype: ComputeDtype, processes: int) -> None:
        """``config``, ``dtype``: with which ``detector`` was loaded, on a CPU.

        Raises:
            TwelvefoldError: ``processes`` is below 1.
        """
        check_processes(processes)
        self.digest, self.categories = detector.digest, detector.categories
        self.feature_size = detector.feature_size
        self.batch_size = detector.batch_size * processes * BATCHES_PER_PROCESS
        self._detector, self._config, self._dtype, self._processes = detector, config, dtype, processes
        self._pool: ProcessPoolExecutor | None = None

    def input_size(self, width: int, height: int) -> tuple[int, int]:
        """Return (0, 0) for all images, because images of any size may share a call."""
        return 0, 0

    def extract_regions(
        self, images: Sequence[RGB], given_boxes_px: Sequence[NDArray[np.floating]]
    ) -> list[RegionPair]:
        """Return the regions of each image, as the detector does.

        Raises:
            TwelvefoldError: as the detector's, or a process was killed, or the weight file has changed.
        """
        if len(images) == 1:
            return self._detector.extract_regions(images, given_boxes_px)
        size = self._detector.batch_size
        groups = group_by_input_size(self._detector, images).values()
        batches = [group[i : i + size] for group in groups for i in range(0, len(group), size)]
        pool = self._pool = self._pool or create_pool(self._processes)
        job = (self._config, self._dtype, self.digest)
        regions: dict[int, RegionPair] = {}
        try:
            parts = [
                pool.submit(_extract, *job, [images[i] for i in batch], [given_boxes_px[i] for i in batch])
                for batch in batches
            ]
            for batch, part in zip(batches, parts, strict=True):
                regions.update(zip(batch, part.result(), strict=True))
            return [regions[i] for i in range(len(images))]
        except BrokenProcessPool as error:
            self._pool = None
            raise TwelvefoldError(
                "a process of the detector was killed (out of memory?); repeat the call with fewer processes"
            ) from error


@lru_cache(maxsize=1)
def _load(config: ExtractConfig, dtype: ComputeDtype, digest: str) -> RegionDetector:
    torch.set_num_threads(1)
    detector = load_detector(config, dtype=dtype)
    if detector.digest != digest:
        raise TwelvefoldError("the detector's weight file changed after it was loaded; repeat the call")
    return detector


def _extract(
    config: ExtractConfig,
    dtype: ComputeDtype,
    digest: str,
    images: Sequence[RGB],
    given_boxes_px: Sequence[NDArray[np.floating]],
) -> list[RegionPair]:
    """Run one batch in a worker process, which loads the detector once."""
    return _load(config, dtype, digest).extract_regions(images, given_boxes_px)
