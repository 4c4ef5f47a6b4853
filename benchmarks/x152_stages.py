"""Time the stages of the paper's detector on a CPU for one image, with random weights.

    python benchmarks/x152_stages.py [IMAGE] [--threads 2]

Without an image, 640 x 480 pixels of noise are used. Random weights give nearly uniform class probabilities, which is
the slower case for region selection. Seed 0.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

import numpy as np
import torch

from twelvefold.detectors.x152.images import preprocess, resize_scale, resized_size
from twelvefold.detectors.x152.network import X152Network, pool_regions
from twelvefold.detectors.x152.per_class_nms import per_class_nms
from twelvefold.detectors.x152.proposals import propose
from twelvefold.images import open_image


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("image", nargs="?", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    start = time.perf_counter()

    def report(stage: str) -> None:
        nonlocal start
        print(f"{stage:32} {time.perf_counter() - start:8.2f} s", flush=True)
        start = time.perf_counter()

    network = X152Network().eval()
    report("network built")
    network.fuse_batch_norm()
    report("batch norm fused")
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    image = open_image(args.image) if args.image else noise
    height, width = image.shape[:2]
    tensor = preprocess(image)
    report(f"preprocessing, {tensor.shape[3]} x {tensor.shape[2]}")
    body = network.backbone["body"](tensor)
    report("body")
    maps = network.backbone["fpn"](body)
    report("feature pyramid")
    boxes, _ = propose(network.rpn["head"](maps), network.anchors, *resized_size(width, height))
    report(f"proposals, {len(boxes):,}")
    pooled = pool_regions(maps, boxes)
    report("pooling")
    features, logits = network.roi_heads["box"](pooled)
    report("fc6, fc7, class scores")
    rows, _ = per_class_nms(boxes / resize_scale(width, height), logits.softmax(-1), max_regions=100)
    report(f"selection of {len(rows)}")
    if not torch.isfinite(features).all():
        raise SystemExit("features are not finite")
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GB at most")


if __name__ == "__main__":
    main()
