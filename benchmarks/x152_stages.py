"""How long the paper's detector takes for one photograph on a CPU, stage by stage, with random weights.

    python benchmarks/x152_stages.py [PHOTOGRAPH] [--threads 2]

Without a photograph a noise of 640 x 480 is seen. Random weights spread class probabilities evenly, which is the
slower case for selection. Seed 0.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

import numpy as np
import torch

from twelvefold.detectors.x152.images import prepared, scale_of, size_of
from twelvefold.detectors.x152.network import X152Network, pool
from twelvefold.detectors.x152.per_class_nms import select
from twelvefold.detectors.x152.proposals import propose
from twelvefold.images import open_image


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photograph", nargs="?", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    torch.manual_seed(0)
    began = time.perf_counter()

    def told(stage: str) -> None:
        nonlocal began
        print(f"{stage:32} {time.perf_counter() - began:8.2f} s", flush=True)
        began = time.perf_counter()

    network = X152Network().eval()
    told("network made")
    network.fold()
    told("normalisation folded")
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    picture = open_image(asked.photograph) if asked.photograph else noise
    height, width = picture.shape[:2]
    tensor = prepared(picture)
    told(f"prepared, {tensor.shape[3]} x {tensor.shape[2]}")
    body = network.backbone["body"](tensor)
    told("body")
    maps = network.backbone["fpn"](body)
    told("pyramid")
    boxes, _ = propose(network.rpn["head"](maps), network.anchors, *size_of(width, height))
    told(f"proposals, {len(boxes):,}")
    pooled = pool(maps, boxes)
    told("pooling")
    features, logits = network.roi_heads["box"](pooled)
    told("fc6, fc7, classes")
    rows, _ = select(boxes / scale_of(width, height), logits.softmax(-1), most=100)
    told(f"selection of {len(rows)}")
    if not torch.isfinite(features).all():
        raise SystemExit("features are not finite")
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GB at most")


if __name__ == "__main__":
    main()
