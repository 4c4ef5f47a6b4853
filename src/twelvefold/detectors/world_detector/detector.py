"""The detector as others use it: pictures in, ``Regions`` out, features of given boxes from the same pass.

Paper: section 3, "the set of image regions {v_1, ..., v_T}".
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from twelvefold import boxes as box_geometry
from twelvefold.detectors.interface import CPU, NO_BOXES, checked_boxes
from twelvefold.detectors.world_detector.images import to_rgb, to_tensor, working_size
from twelvefold.detectors.world_detector.network import FEATURE_SIZE, Described, Maps, Network
from twelvefold.images import RGB
from twelvefold.schema import Regions, TwelvefoldError
from twelvefold.store.atomic_files import digest_bytes, write_bytes

SHIPPED = Path(__file__).parent / "weights" / "detector.safetensors"
FORMAT = "twelvefold-detector-1"
MAX_REGIONS = 16
"""Regions kept of a picture. With 3-9 objects, 36 find nothing that 16 do not."""

Arithmetic = Literal["float32", "bfloat16"]


def best_arithmetic() -> Arithmetic:
    """bfloat16 where this processor multiplies in it (1.3 to 1.7 times as fast), else float32."""
    can = torch.cpu.get_capabilities()
    return "bfloat16" if can.get("avx512_bf16") or can.get("amx_bf16") else "float32"


def precision(arithmetic: Arithmetic, device: str = "cpu") -> AbstractContextManager[object]:
    """The context in which a network computes with this arithmetic."""
    return torch.autocast(device, torch.bfloat16) if arithmetic == "bfloat16" else nullcontext()


@dataclass(frozen=True, slots=True)
class Words:
    """What the detector can say of a region, in the order of its outputs."""

    kinds: tuple[str, ...]
    colours: tuple[str, ...]
    sizes: tuple[str, ...]
    patterns: tuple[str, ...]

    def network(self) -> Network:
        """An untrained network that says these words."""
        return Network(
            kinds=len(self.kinds), colours=len(self.colours), sizes=len(self.sizes), patterns=len(self.patterns)
        )


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """Regions of one picture and what is said of each: how sure the detector is that something is there (1 for a
    given box), and the places of its colour, size and pattern in ``Words``; all (N,)."""

    regions: Regions
    scores: NDArray[np.float32]
    colour: NDArray[np.int64]
    size: NDArray[np.int64]
    pattern: NDArray[np.int64]


class Detector:
    """A trained network, ready to look at pictures. It holds no state between calls.

    ``batch``: pictures in a pass, the fastest on a CPU (33 to 54 a second at 8, fewer at 1 and at 32).

    One call is one batch for each working size among its pictures; features depend on the make-up of a batch by about
    1e-6, so a store that must come out the same byte for byte fixes its batches.
    """

    batch = 8

    def __init__(
        self,
        network: Network,
        words: Words,
        *,
        max_regions: int = MAX_REGIONS,
        arithmetic: Arithmetic | None = None,
        digest: str = "",
        device: torch.device = CPU,
    ) -> None:
        if not 1 <= max_regions <= 36:
            raise TwelvefoldError(f"a detector keeps 1 to 36 regions of a picture, got max_regions={max_regions}")
        self.words = words
        self.max_regions = max_regions
        self.arithmetic: Arithmetic = arithmetic or best_arithmetic()
        self.digest = digest
        self.kinds = words.kinds
        self.feature_size = FEATURE_SIZE
        self._network = network.eval().to(memory_format=torch.channels_last)
        self._network.fold()
        self._network.to(device)
        self._device = device

    @classmethod
    def load(
        cls,
        path: Path | None = None,
        *,
        max_regions: int = MAX_REGIONS,
        arithmetic: Arithmetic | None = None,
        device: torch.device = CPU,
    ) -> Detector:
        """A detector from a weight file; None takes the one that comes with the package.

        Raises: TwelvefoldError where the file is missing, damaged or not a detector of ours.
        """
        data, words = read_weights(path or SHIPPED)
        network = words.network()
        state = {name: tensor.float() for name, tensor in load_tensors(data).items()}
        try:
            missing, strange = network.load_state_dict(state, strict=False)
        except RuntimeError as error:  # a tensor of another shape
            raise TwelvefoldError(f"{path} is of another network than this version's: {error}") from error
        missing = [name for name in missing if not name.endswith("num_batches_tracked")]
        if missing or strange:
            raise TwelvefoldError(f"{path} lacks {missing[:3]} and has {strange[:3]} too many, among others")
        digest = digest_bytes(data)
        return cls(network, words, max_regions=max_regions, arithmetic=arithmetic, digest=digest, device=device)

    def working_size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height in which the network sees a picture of this size."""
        return working_size(width, height)

    def detect(self, images: Sequence[RGB | Image.Image]) -> list[Regions]:
        """The regions of each picture, best first, at most ``max_regions``, none where nothing is found."""
        return [found for found, _ in self.detect_with(images, [NO_BOXES] * len(images))]

    def detect_with(
        self, images: Sequence[RGB | Image.Image], given_boxes_px: Sequence[NDArray[np.floating]]
    ) -> list[tuple[Regions, Regions]]:
        """Of each picture: the regions found, and the regions at the given boxes (n, 4), in their order, from one pass.

        Given boxes keep their coordinates; their features are taken inside the picture, from at least one pixel.
        """
        return [(found.regions, given.regions) for found, given in self.look(images, given_boxes_px)]

    @torch.inference_mode()
    def look(
        self, images: Sequence[RGB | Image.Image], given_boxes_px: Sequence[NDArray[np.floating]]
    ) -> list[tuple[Seen, Seen]]:
        """As ``detect_with``, with scores and attributes."""
        pictures = [to_rgb(image) for image in images]
        given = checked_boxes(given_boxes_px, len(pictures))
        answers: list[tuple[Seen, Seen] | None] = [None] * len(pictures)
        by_size: dict[tuple[int, int], list[int]] = {}
        for i, picture in enumerate(pictures):
            by_size.setdefault(working_size(picture.shape[1], picture.shape[0]), []).append(i)
        for size, places in by_size.items():
            seen = self._look_at_one_size([pictures[i] for i in places], [given[i] for i in places], size)
            for i, pair in zip(places, seen, strict=True):
                answers[i] = pair
        return [pair for pair in answers if pair is not None]

    def _look_at_one_size(
        self, pictures: list[RGB], given: list[NDArray[np.float32]], size: tuple[int, int]
    ) -> list[tuple[Seen, Seen]]:
        """One pass over pictures that share a working size."""
        factors = [_factors(picture, size) for picture in pictures]
        with precision(self.arithmetic, self._device.type):
            maps: Maps = self._network.backbone(to_tensor(pictures).to(self._device))
            found, scores = self._network.find(maps, self.max_regions)
            inside = [torch.from_numpy(_inside(b, p) * f) for b, p, f in zip(given, pictures, factors, strict=True)]
            asked = [boxes.to(self._device) for boxes in inside]
            told = self._network.describe(maps, [torch.cat(pair) for pair in zip(found, asked, strict=True)]).cpu()
        answers, start = [], 0
        for picture, boxes, score, mine, factor in zip(pictures, found, scores, given, factors, strict=True):
            middle, end = start + len(boxes), start + len(boxes) + len(mine)
            height, width = picture.shape[:2]
            in_picture = box_geometry.clip(boxes.cpu().numpy() / factor, width, height).astype(np.float32)
            ones = np.ones(len(mine), np.float32)
            answers.append(
                (
                    _seen(told, slice(start, middle), in_picture, score.cpu().numpy(), width, height),
                    _seen(told, slice(middle, end), mine, ones, width, height),
                )
            )
            start = end
        return answers


def _seen(
    told: Described,
    rows: slice,
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    width: int,
    height: int,
) -> Seen:
    """One picture's rows of a batch, as plain arrays of their own."""
    regions = Regions(
        boxes_px=boxes,
        features=told.features[rows].numpy().copy(),
        width=width,
        height=height,
        class_probs=told.kind[rows].softmax(-1).numpy(),
    )
    colour, size, pattern = (x[rows].argmax(-1).numpy() for x in (told.colour, told.size, told.pattern))
    return Seen(regions, scores, colour, size, pattern)


def _factors(picture: RGB, size: tuple[int, int]) -> NDArray[np.float32]:
    """What x1, y1, x2, y2 of the original picture are multiplied with to lie in its working size."""
    x, y = size[0] / picture.shape[1], size[1] / picture.shape[0]
    return np.array([x, y, x, y], np.float32)


def _inside(boxes: NDArray[np.float32], picture: RGB) -> NDArray[np.float32]:
    """Boxes as they are pooled: clipped to the picture, at least one pixel wide and high."""
    height, width = picture.shape[:2]
    clipped = box_geometry.clip(boxes, width, height)
    clipped[:, :2] = np.minimum(clipped[:, :2], np.array([width, height]) - 1.0)
    clipped[:, 2:] = np.maximum(clipped[:, 2:], clipped[:, :2] + 1.0)
    return clipped.astype(np.float32)


def write_weights(path: Path, state: dict[str, Tensor], words: Words) -> None:
    """Leave a weight file in half precision. Counters of the normalisation are not kept: nothing reads them."""
    half = {
        name: tensor.detach().half().contiguous().cpu()
        for name, tensor in state.items()
        if not name.endswith("num_batches_tracked")
    }
    about = {
        "format": FORMAT,
        **asdict(words),
    }  # under one key: the order of several is random, and so would be the bytes
    write_bytes(path, save_tensors(half, {"twelvefold": json.dumps(about)}))


def read_weights(path: Path) -> tuple[bytes, Words]:
    """The bytes of a weight file and the words it knows.

    Raises: TwelvefoldError where the file is missing, damaged or not a detector of ours.
    """
    advice = "; give a file that `twelvefold detector train` wrote, or leave it out to use the package's own"
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise TwelvefoldError(f"can't read the detector's weights {path}: {error.strerror}{advice}") from error
    try:
        length = struct.unpack("<Q", data[:8])[0]  # the safetensors format: header length, header, numbers
        header = json.loads(data[8 : 8 + length])
        load_tensors(data)
        about = json.loads(header.get("__metadata__", {}).get("twelvefold", "{}"))
    except (struct.error, ValueError, AttributeError, SafetensorError) as error:
        raise TwelvefoldError(f"{path} is damaged or no safetensors file: {error}{advice}") from error
    if about.get("format") != FORMAT:
        raise TwelvefoldError(f"{path} has format {about.get('format')!r}, expected {FORMAT!r}{advice}")
    return data, Words(*(tuple(about[field.name]) for field in fields(Words)))
