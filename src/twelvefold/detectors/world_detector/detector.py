"""The package's own detector: images in, ``Regions`` out, with features of given boxes from the same forward pass.

Paper: section 3.1, "image region features".
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from twelvefold import boxes as box_geometry
from twelvefold.boxes import NO_BOXES, validate_boxes
from twelvefold.detectors.interface import CPU, RegionPair, clip_for_pooling, group_by_input_size, load_tensors
from twelvefold.detectors.world_detector.images import input_size, to_tensor
from twelvefold.detectors.world_detector.network import FEATURE_SIZE, RegionOutputs, WorldNetwork
from twelvefold.images import RGB, to_rgb_array
from twelvefold.model import tensor_files
from twelvefold.parsing.json_text import JsonError, decode_json
from twelvefold.schema import Regions, TwelvefoldError
from twelvefold.store.atomic_files import digest_file

SHIPPED_WEIGHTS = Path(__file__).parent / "weights" / "detector.safetensors"
FORMAT = "twelvefold-detector-1"
METADATA = "twelvefold"
"""Key of the labels in a weight file's metadata."""
LABEL_KEYS = ("kinds", "colours", "sizes", "patterns")
"""Keys of the fields of ``LabelSpace`` in a weight file."""
MAX_REGIONS = 16
"""Regions kept per image. With 3-9 objects per image, 36 regions do not find more objects than 16."""

ComputeDtype = Literal["float32", "bfloat16"]


def fastest_cpu_dtype() -> ComputeDtype:
    """Return bfloat16 if this CPU has instructions for it (1.3 to 1.7 times as fast), else float32."""
    capabilities = torch.cpu.get_capabilities()
    return "bfloat16" if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") else "float32"


def autocast_context(dtype: ComputeDtype, device: str = "cpu") -> AbstractContextManager[object]:
    """Return the context in which a network computes in ``dtype``."""
    return torch.autocast(device, torch.bfloat16) if dtype == "bfloat16" else nullcontext()


class LabelSpace(NamedTuple):
    """Names of the detector's outputs, in their order."""

    categories: tuple[str, ...]
    colors: tuple[str, ...]
    sizes: tuple[str, ...]
    patterns: tuple[str, ...]

    def build_network(self) -> WorldNetwork:
        """Return an untrained network with these outputs."""
        return WorldNetwork(*map(len, self))


@dataclass(frozen=True, slots=True, eq=False)
class RegionsWithAttributes:
    """Regions of one image with scores and attributes, all (N,).

    scores: objectness, 1 for a given box. labels: by attribute, indices into the ``LabelSpace``.
    """

    regions: Regions
    scores: NDArray[np.float32]
    labels: dict[str, NDArray[np.int64]]


class WorldDetector:
    """A trained network, ready to detect. Calls do not change its state.

    ``batch_size``: the fastest on a CPU (33 to 54 images per second at 8, fewer at 1 and at 32).

    A call runs one batch for each input size among its images. Features depend on the composition of a batch by about
    1e-6, so a store that must be reproducible byte for byte fixes its batches.
    """

    batch_size = 8

    def __init__(
        self,
        network: WorldNetwork,
        labels: LabelSpace,
        max_regions: int,
        dtype: ComputeDtype,
        digest: str,
        device: torch.device,
    ) -> None:
        """Raises: TwelvefoldError if ``max_regions`` is out of range."""
        if not 1 <= max_regions <= 36:
            raise TwelvefoldError(f"expected 1 to 36 regions per image, got max_regions={max_regions}")
        self.labels = labels
        self.max_regions = max_regions
        self.dtype = dtype
        self.digest = digest
        self.categories = labels.categories
        self.feature_size = FEATURE_SIZE
        self._network = network.eval().to(memory_format=torch.channels_last)
        self._network.fuse_batch_norm()
        self._network.to(device)
        self._device = device

    @classmethod
    def load(
        cls,
        path: Path | None = None,
        *,
        max_regions: int = MAX_REGIONS,
        dtype: ComputeDtype | None = None,
        device: torch.device = CPU,
    ) -> WorldDetector:
        """Load a detector from a weight file; None means the one that is part of the package.

        ``dtype``: None means the fastest on this CPU.

        Raises:
            TwelvefoldError: the file is missing, damaged, or not a weight file of this network.
        """
        path = path or SHIPPED_WEIGHTS
        tensors, labels = read_weights(path)
        network = labels.build_network()
        state = {name: tensor.float() for name, tensor in tensors.items()}
        load_tensors(network, state, f"{path} is not a weight file of this version's network")
        return cls(network, labels, max_regions, dtype or fastest_cpu_dtype(), digest_file(path), device)

    def input_size(self, width: int, height: int) -> tuple[int, int]:
        """Return width and height to which an image of this size is resized."""
        return input_size(width, height)

    def detect(self, images: Sequence[RGB | Image.Image]) -> list[Regions]:
        """Return the regions of each image, best first: 0 to ``max_regions``."""
        return [detected for detected, _ in self.extract_regions(images, [NO_BOXES] * len(images))]

    def extract_regions(
        self, images: Sequence[RGB | Image.Image], given_boxes_px: Sequence[NDArray[np.floating]]
    ) -> list[RegionPair]:
        """Return the detected regions, best first, and the regions at the given boxes (n, 4) of each image.

        Given boxes keep their order and coordinates; features are computed from the part inside the image, which is
        at least one pixel wide and high.
        """
        outputs = self.detect_with_attributes(images, given_boxes_px)
        return [(detected.regions, at_boxes.regions) for detected, at_boxes in outputs]

    @torch.inference_mode()
    def detect_with_attributes(
        self, images: Sequence[RGB | Image.Image], given_boxes_px: Sequence[NDArray[np.floating]]
    ) -> list[tuple[RegionsWithAttributes, RegionsWithAttributes]]:
        """Like ``extract_regions``, with scores and attributes."""
        arrays = [to_rgb_array(image) for image in images]
        given_boxes = validate_boxes(given_boxes_px, len(arrays))
        outputs: dict[int, tuple[RegionsWithAttributes, RegionsWithAttributes]] = {}
        for size, indices in group_by_input_size(self, arrays).items():
            batch = self._detect_batch([arrays[i] for i in indices], [given_boxes[i] for i in indices], size)
            outputs |= zip(indices, batch, strict=True)
        return [outputs[i] for i in range(len(arrays))]

    def _detect_batch(
        self, images: list[RGB], given_boxes: list[NDArray[np.float32]], size: tuple[int, int]
    ) -> list[tuple[RegionsWithAttributes, RegionsWithAttributes]]:
        """Run one forward pass over images that share an input size."""
        factors = [_box_factors(image, size) for image in images]
        with autocast_context(self.dtype, self._device.type):
            maps = self._network.backbone(to_tensor(images).to(self._device))
            detected, scores = self._network.detect(maps, self.max_regions)
            scaled_boxes = [
                torch.from_numpy(clip_for_pooling(boxes, image) * factor).to(self._device)
                for boxes, image, factor in zip(given_boxes, images, factors, strict=True)
            ]
            boxes_per_image = [torch.cat(pair) for pair in zip(detected, scaled_boxes, strict=True)]
            outputs = self._network.describe(maps, boxes_per_image)
        results, start = [], 0
        for image, boxes, score, own, factor in zip(images, detected, scores, given_boxes, factors, strict=True):
            middle, end = start + len(boxes), start + len(boxes) + len(own)
            boxes_px = box_geometry.clip(boxes.cpu().numpy() / factor, *image.shape[1::-1]).astype(np.float32)
            detected_rows = _rows(outputs, slice(start, middle), boxes_px, score.cpu().numpy(), image)
            results.append(
                (detected_rows, _rows(outputs, slice(middle, end), own, np.ones(len(own), np.float32), image))
            )
            start = end
        return results


def _rows(
    outputs: RegionOutputs, rows: slice, boxes: NDArray[np.float32], scores: NDArray[np.float32], image: RGB
) -> RegionsWithAttributes:
    """Copy some rows of a batch's outputs, which belong to one image."""
    height, width = image.shape[:2]
    logits = {name: values[rows].cpu() for name, values in outputs.logits.items()}
    probabilities = logits["category"].softmax(-1).numpy()
    regions = Regions(boxes, outputs.features[rows].cpu().numpy().copy(), width, height, probabilities)
    return RegionsWithAttributes(regions, scores, {name: x.argmax(-1).numpy() for name, x in logits.items()})


def _box_factors(image: RGB, size: tuple[int, int]) -> NDArray[np.float32]:
    """Return the factors (4,) that scale boxes of the original image to its input size."""
    x, y = size[0] / image.shape[1], size[1] / image.shape[0]
    return np.array([x, y, x, y], np.float32)


def write_weights(path: Path, state: dict[str, Tensor], labels: LabelSpace) -> None:
    """Write a weight file in half precision, without batch norm's step counters, which inference does not use."""
    half = {name: tensor.half().cpu() for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    metadata = {"format": FORMAT, **dict(zip(LABEL_KEYS, labels, strict=True))}
    # safetensors writes several metadata keys in random order: a single key keeps the file's bytes reproducible.
    tensor_files.write(path, half, {METADATA: json.dumps(metadata)})


_Metadata = dict[str, Any]


def read_weights(path: Path) -> tuple[dict[str, Tensor], LabelSpace]:
    """Return the tensors of a weight file and the names of its outputs.

    Raises:
        TwelvefoldError: the file is missing, damaged, or not a weight file of this detector.
    """
    advice = "; use a file written by `twelvefold detector train`, or leave it out to use the package's own"
    try:
        file = tensor_files.read_weights(path)
    except TwelvefoldError as error:
        raise TwelvefoldError(f"{error}{advice}") from error
    try:
        metadata = decode_json(file.metadata.get(METADATA, "{}").encode(), _Metadata)
    except JsonError as error:
        raise TwelvefoldError(f"{path}: the names of its outputs are damaged: {error}{advice}") from error
    if metadata.get("format") != FORMAT or not all(isinstance(metadata.get(key), list) for key in LABEL_KEYS):
        raise TwelvefoldError(f"{path} has format {metadata.get('format')!r}, expected {FORMAT!r}{advice}")
    return file.tensors, LabelSpace(*(tuple(metadata[key]) for key in LABEL_KEYS))
