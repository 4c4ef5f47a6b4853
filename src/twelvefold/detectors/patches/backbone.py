"""Image backbones of timm by name, with weights from a file, from the hub, or none.

timm is an extra of the package (``twelvefold[patches]``). Nothing is downloaded unless the weights are ``hub``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xxhash
from PIL import Image
from torch import Tensor, nn

from twelvefold.config.extract import HUB, PATCHES, RANDOM, WORLD, BackboneChoice
from twelvefold.detectors.interface import load_tensors
from twelvefold.detectors.patches.world_backbone import MEAN, SIZE, STD, WorldBackbone
from twelvefold.images import RGB
from twelvefold.model import tensor_files
from twelvefold.schema import TwelvefoldError, did_you_mean

RANDOM_SEED = 0
"""Seed of untrained weights."""


@dataclass(frozen=True, slots=True, eq=False)
class ImageBackbone:
    """A network of timm whose feature map is used, and how its images are prepared.

    index: of the feature map among those that ``forward_intermediates`` returns. stride: of its cells, in pixels of the
    input. multiple: of which the input's sides are multiples. channels: length of a cell's feature. size: the input has
    about ``size`` x ``size`` pixels. keeps_aspect: whether it may have another shape than a square. mean, std: (3,) of
    RGB in 0..1. resample: Pillow's name.
    """

    network: Any
    index: int
    stride: int
    multiple: int
    channels: int
    size: int
    keeps_aspect: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resample: str

    def input_size(self, width: int, height: int) -> tuple[int, int]:
        """Return width and height, multiples of ``multiple``, to which an image of this size is resized.

        The aspect ratio is kept up to that rounding, the area is about that of the backbone's training images. A
        backbone that accepts only squares gets the whole image as a square.
        """
        size, unit = self.size, self.multiple
        if not self.keeps_aspect:
            return size, size
        scale = size / math.sqrt(width * height)
        longest = size * size // unit  # of an image that is one unit high
        columns, rows = (min(max(1, round(side * scale / unit)), longest // unit) for side in (width, height))
        return columns * unit, rows * unit

    def to_input(self, images: Sequence[RGB], size: tuple[int, int]) -> Tensor:
        """Resize images to ``size`` (width, height) and normalize them: (B, 3, H, W) float32, channels last."""
        resample = Image.Resampling[self.resample.upper()]
        resized = [
            image
            if image.shape[1::-1] == size
            else np.asarray(Image.fromarray(image).resize(size, resample, reducing_gap=2.0))
            for image in images
        ]
        batch = torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2).float() / 255.0  # (B, 3, H, W)
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (self.mean, self.std))
        return ((batch - mean) / std).contiguous(memory_format=torch.channels_last)

    def feature_maps(self, batch: Tensor) -> Tensor:
        """Return the feature maps of a batch: (B, rows, columns, D) float32."""
        [maps] = self.network.forward_intermediates(
            batch, indices=[self.index], norm=True, stop_early=True, output_fmt="NCHW", intermediates_only=True
        )
        return maps.permute(0, 2, 3, 1).float()  # type: ignore[no-any-return]  # (B, rows, columns, D)

    def settings(self) -> list[object]:
        """Return what features depend on besides the weights, for digests."""
        return [self.index, self.stride, self.size, self.keeps_aspect, list(self.mean), list(self.std), self.resample]


def load_backbone(choice: BackboneChoice, weights: str) -> ImageBackbone:
    """Build a backbone and load its weights: a file with timm's tensor names, ``hub`` or ``random``.

    For the backbone of the package's own detector: a weight file of the detector, or empty for the package's.

    A classifier in the file is ignored. Batch norm uses its running averages.

    Raises:
        TwelvefoldError: timm is not installed or has no such backbone, its feature maps cannot be used, or the weights
            are missing, do not fit, or cannot be downloaded.
    """
    if choice.name == WORLD:
        return _load_world_backbone(choice, weights)
    timm = _import_timm()
    if not timm.is_model(choice.name):
        raise TwelvefoldError(
            f"timm {timm.__version__} has no backbone {choice.name!r}{did_you_mean(choice.name, timm.list_models())}"
        )
    network, keeps_aspect = _create(timm, choice, pretrained=weights == HUB)
    config: Any = network.pretrained_cfg
    if weights not in (HUB, RANDOM):
        tensors = _without_classifier(tensor_files.read_weights(Path(weights)).tensors, config.get("classifier"))
        load_tensors(network, tensors, f"{weights} does not hold weights of timm's {choice.name}")
    index, stride, channels = _choose_map(network, choice)
    return ImageBackbone(
        network=network.eval().requires_grad_(False),
        index=index,
        stride=stride,
        multiple=stride,
        channels=channels,
        size=choice.size or config["input_size"][-1],
        keeps_aspect=keeps_aspect,
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        resample=config["interpolation"],
    )


def _load_world_backbone(choice: BackboneChoice, weights: str) -> ImageBackbone:
    if weights in (HUB, RANDOM):
        raise TwelvefoldError(
            f"{PATCHES}{WORLD} has the package's weights, or those of a file that `twelvefold detector train` wrote; "
            f"got {weights!r}"
        )
    network = WorldBackbone.load(Path(weights) if weights else None)
    index, stride, channels = _choose_map(network, choice)
    return ImageBackbone(
        network=network.eval().requires_grad_(False),
        index=index,
        stride=stride,
        multiple=network.input_multiple,
        channels=channels,
        size=choice.size or SIZE,
        keeps_aspect=True,
        mean=(MEAN,) * 3,
        std=(STD,) * 3,
        resample="bilinear",
    )


def _import_timm() -> Any:
    try:
        import timm
    except ImportError as error:
        raise TwelvefoldError("the detectors patches:NAME need timm: pip install 'twelvefold[patches]'") from error
    return timm


def _create(timm: Any, choice: BackboneChoice, *, pretrained: bool) -> tuple[nn.Module, bool]:
    """Return the network, and whether it accepts images that are not square.

    Vision transformers do if timm interpolates their position embeddings. Networks of a fixed input size are built for
    the requested one.
    """
    options: dict[str, object] = {}
    try:
        fixed = timm.get_pretrained_cfg(choice.name).fixed_input_size
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(RANDOM_SEED)
            if fixed:
                options = {} if choice.size is None else {"img_size": choice.size}
                try:
                    network = timm.create_model(
                        choice.name, pretrained=pretrained, num_classes=0, dynamic_img_size=True, **options
                    )
                    return network, True
                except TypeError:  # it has no such option
                    torch.manual_seed(RANDOM_SEED)
            return timm.create_model(choice.name, pretrained=pretrained, num_classes=0, **options), not fixed
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        action = "download the weights of" if pretrained else "build"
        advice = "; without a network use --weights FILE" if pretrained else ""
        raise TwelvefoldError(f"timm can't {action} {choice.name}: {error}{advice}") from error


def _without_classifier(tensors: Mapping[str, Tensor], classifier: object) -> dict[str, Tensor]:
    """Return the tensors without those of the classifier, which timm names in the network's configuration."""
    names = (classifier,) if isinstance(classifier, str) else tuple(classifier or ())  # type: ignore[arg-type]
    heads = tuple(f"{name}." for name in names)
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(heads)}


def _choose_map(network: Any, choice: BackboneChoice) -> tuple[int, int, int]:
    """Return index, stride and channels of the last feature map, or of the last one with the chosen stride.

    Raises:
        TwelvefoldError: the network has no such map.
    """
    if not hasattr(network, "forward_intermediates") or not hasattr(network, "feature_info"):
        raise TwelvefoldError(f"timm does not give the feature maps of {choice.name}; choose another backbone")
    info = network.feature_info
    maps = info.info if hasattr(info, "info") else info
    strides = [each["reduction"] for each in maps]
    stride = strides[-1] if choice.stride is None else choice.stride
    if stride not in strides:
        known = ", ".join(map(str, sorted(set(strides))))
        raise TwelvefoldError(f"{choice.name} has no feature map of stride {stride}; there are {known}")
    index = len(strides) - 1 - strides[::-1].index(stride)
    return index, stride, maps[index]["num_chs"]


def digest_tensors(network: nn.Module) -> str:
    """Return the xxh3_128 digest of a network's tensors with their names, without batch norm's step counters.

    It is the same for a file and for the hub.
    """
    digest = xxhash.xxh3_128()
    for name, tensor in sorted(network.state_dict().items()):
        if not name.endswith("num_batches_tracked"):
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
            digest.update(np.ascontiguousarray(tensor.detach().cpu().numpy()).data)
    return digest.hexdigest()
