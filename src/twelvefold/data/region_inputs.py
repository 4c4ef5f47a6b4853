"""The region rows of an image that the trunk reads: IMG, detected regions, candidate boxes.

Paper: section 3.1 (IMG and the regions), 3.2 (candidates of Visual7W and GuessWhat).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from twelvefold import boxes
from twelvefold.schema import Pair, Regions, TwelvefoldError
from twelvefold.store.region_store import RegionStore

_ALIGNMENT = 64
_MEMORY: ContextVar[list[NDArray[np.uint8]] | None] = ContextVar("memory of features", default=None)
"""What is left of the memory of a :func:`features_in` block, in a list of one."""


@dataclass(frozen=True, slots=True, eq=False)
class RegionRows:
    """The rows of one image, not padded: IMG, then ``num_detected`` regions, then ``num_candidates`` candidate boxes.

    features: three parts (1, D), (num_detected, D), (num_candidates, D), of the stored type. boxes_px: (rows, 4)
    float32. width, height: of the image, in pixels.
    """

    features: tuple[NDArray[Any], ...]
    boxes_px: NDArray[np.float32]
    width: int
    height: int
    num_detected: int
    num_candidates: int

    def __len__(self) -> int:
        return 1 + self.num_detected + self.num_candidates


def fill_features(rows: Sequence[RegionRows], out: Tensor) -> None:
    """Write the features of many images into a tensor, one image after the other, without padding.

    Each number is read once from where it is stored and written once, converted to the type of ``out`` on the way.

    Args:
        rows: The rows of the images.
        out: (N, D) float32 or float16 on the CPU, contiguous; N is the number of rows of all images.

    Raises:
        ValueError: ``out`` has another number of rows.
    """
    numbers, row = out.numpy(), 0
    for image in rows:
        for part in image.features:
            end = row + len(part)
            if part.dtype == numbers.dtype:
                numbers[row:end] = part
            else:  # PyTorch converts 7 times as fast as NumPy; DLPack also takes read-only arrays, as a store's are
                out[row:end].copy_(from_dlpack(part))
            row = end
    if row != len(out):
        raise ValueError(f"{row} rows were written to a tensor of {len(out)}")


def empty_features(num_rows: int, feature_size: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return an uninitialized (num_rows, feature_size) tensor for :func:`fill_features`.

    NumPy allocates it, in huge pages where the system has them: filling new memory is then 5 times as fast. In a
    :func:`features_in` block it is a part of that memory, if there is room.
    """
    numpy_type = np.dtype(np.float16 if dtype == torch.float16 else np.float32)
    memory, num_bytes = _MEMORY.get(), num_rows * feature_size * numpy_type.itemsize
    if memory and num_bytes <= len(memory[0]):
        part, memory[0] = memory[0][:num_bytes], memory[0][-(-num_bytes // _ALIGNMENT) * _ALIGNMENT :]
        return torch.from_numpy(part.view(numpy_type).reshape(num_rows, feature_size))
    return torch.from_numpy(np.empty((num_rows, feature_size), dtype=numpy_type))


@contextmanager
def features_in(memory: NDArray[np.uint8] | None) -> Iterator[None]:
    """Let :func:`empty_features` use ``memory`` (bytes,) uint8, one tensor after the other, within the ``with`` block.

    None: it allocates, as outside the block.
    """
    token = _MEMORY.set(None if memory is None else [memory])
    try:
        yield
    finally:
        _MEMORY.reset(token)


def assemble_rows(
    regions: Regions, mean: NDArray[np.float32], max_regions: int, candidates: Regions | None = None
) -> RegionRows:
    """Return IMG (mean feature, whole image), at most ``max_regions - 1`` detected regions, and every candidate.

    ``mean``: (1, D), the mean feature of all detected regions.
    """
    count = min(len(regions.boxes_px), max(max_regions - 1, 0))
    whole_image = np.array([[0, 0, regions.width, regions.height]], dtype=np.float32)
    features: tuple[NDArray[Any], ...] = (mean, regions.features[:count])
    boxes_px = [whole_image, regions.boxes_px[:count]]
    if candidates is not None:
        features += (candidates.features,)
        boxes_px.append(candidates.boxes_px)
    num_candidates = 0 if candidates is None else len(candidates.boxes_px)
    return RegionRows(features, np.concatenate(boxes_px), regions.width, regions.height, count, num_candidates)


def to_stated_size(pair: Pair, regions: Regions) -> Regions:
    """Return the regions in the pixels of the annotations, if the image is a resized copy of the one they describe.

    Raises:
        TwelvefoldError: the image has another aspect ratio than the annotations state.
    """
    size = (regions.width, regions.height)
    if pair.stated_size is None or boxes.is_same_size(pair.stated_size, size):
        return regions
    factors = boxes.scale_factors(size, pair.stated_size)
    if factors is None:
        stated = "{} x {}".format(*pair.stated_size)
        raise TwelvefoldError(
            f"image {pair.image}: the annotations state {stated} pixels, the regions are those of an image of "
            f"{regions.width} x {regions.height}; prepare again with these regions, which leaves such images out"
        )
    boxes_px = boxes.scale(regions.boxes_px, factors).astype(np.float32)
    return Regions(boxes_px, regions.features, *pair.stated_size, regions.class_probs)


class RegionSource:
    """Detected regions, and features of the candidate boxes that some tasks give."""

    def __init__(self, detected: RegionStore, candidates: RegionStore | None = None) -> None:
        """``candidates``: features of candidate boxes by the same detector; None if no task gives boxes.

        Raises:
            TwelvefoldError: the two stores differ in the length of their features.
        """
        if candidates is not None and len(candidates) and candidates.feature_size != detected.feature_size:
            raise TwelvefoldError(
                f"features of candidate boxes have {candidates.feature_size} numbers ({candidates.folder}), detected "
                f"ones {detected.feature_size} ({detected.folder}): extract both with the same detector"
            )
        self.detected = detected
        self.candidates = candidates
        self.feature_size = detected.feature_size

    @classmethod
    def open(cls, folder: Path) -> RegionSource:
        """Open the stores that ``extract`` wrote to a folder: ``detected`` and, if tasks give boxes, ``given``."""
        candidates = folder / "given"
        return cls(RegionStore.open(folder / "detected"), RegionStore.open(candidates) if candidates.exists() else None)

    def rows(self, pair: Pair, max_regions: int) -> RegionRows:
        """Return IMG (mean feature, whole image), at most ``max_regions - 1`` detected regions, and every candidate.

        Raises:
            TwelvefoldError: the image or a candidate has no features.
        """
        regions = to_stated_size(pair, self.detected[pair.image])
        candidates = self._candidate_regions(pair, regions) if pair.candidates_px else None
        return assemble_rows(regions, self.detected.mean(pair.image)[None], max_regions, candidates)

    def _candidate_regions(self, pair: Pair, detected: Regions) -> Regions:
        """Return the candidate boxes with their features, which are found by their exact float32 corners."""
        image, candidates_px = pair.image, np.array(pair.candidates_px, dtype=np.float32)
        if self.candidates is None or image not in self.candidates:
            problem = "no store of them" if self.candidates is None else f"no entry in {self.candidates.folder}"
            raise TwelvefoldError(f"image {image}: candidate boxes need features, but there is {problem}; {_ADVICE}")
        stored = self.candidates[image]
        equal = (candidates_px[:, None, :] == stored.boxes_px[None, :, :]).all(axis=2)
        if not (is_stored := equal.any(axis=1)).all():
            box = candidates_px[int(np.argmin(is_stored))].tolist()
            raise TwelvefoldError(f"image {image}: candidate box {box} has no features; {_ADVICE}")
        return Regions(candidates_px, stored.features[equal.argmax(axis=1)], detected.width, detected.height)


_ADVICE = (
    "run `twelvefold extract` again over the same data, so that every task's candidate boxes get features (with "
    "--scale-boxes if `prepare` had it)"
)
