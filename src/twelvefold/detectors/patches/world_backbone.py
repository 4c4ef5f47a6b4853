"""The backbone of the package's own detector, for patches of drawn images: its weights come with the package.

The detector's training taught every cell of its stride-8 map the category and the color of the object in whose middle
it is (:mod:`twelvefold.detectors.world_detector.fit`), so the map says what is where without a second stage.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from twelvefold.detectors.interface import load_tensors
from twelvefold.detectors.world_detector.detector import SHIPPED_WEIGHTS, read_weights
from twelvefold.detectors.world_detector.network import MAP_CHANNELS, STRIDE, NormalizedLayer, WorldNetwork

MEAN, STD = 0.5, 64 / 255
"""Of pixels in 0..1: the detector's normalization."""
SIZE = 256
"""Drawn images have 64,000 pixels, and so keep their size."""
MAP_STRIDE = 8
"""Of the map whose cells are the patches, in pixels of the input."""
FEATURE_MAPS = [{"num_chs": MAP_CHANNELS, "reduction": MAP_STRIDE}]
"""As timm lists the feature maps of a network."""


class WorldBackbone(nn.Module):
    """The detector's backbone with the interface of timm's networks, as far as patches use it."""

    def __init__(self, network: WorldNetwork) -> None:
        super().__init__()
        self.backbone = network.backbone
        self.feature_info = FEATURE_MAPS
        self.input_multiple = STRIDE

    @classmethod
    def load(cls, path: Path | None = None) -> WorldBackbone:
        """Load the backbone from a weight file of the detector; None means the one that is part of the package.

        Raises:
            TwelvefoldError: the file is missing, damaged, or not a weight file of the detector.
        """
        tensors, labels = read_weights(path or SHIPPED_WEIGHTS)
        network = labels.build_network()
        state = {name: tensor.float() for name, tensor in tensors.items()}
        load_tensors(network, state, f"{path or SHIPPED_WEIGHTS} is not a weight file of this version's network")
        for module in network.eval().modules():
            if isinstance(module, NormalizedLayer):
                module.fuse_batch_norm()
        return cls(network)

    def forward_intermediates(self, images: Tensor, **_: object) -> list[Tensor]:
        """Return the stride-8 map of images (B, 3, H, W), whose sides are multiples of 32: (B, 64, H / 8, W / 8)."""
        return [self.backbone.coarse_map(images)[1]]
