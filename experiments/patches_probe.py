"""Measure what the features of candidate boxes tell about the objects of a drawn world, for two ways of extraction.

    python experiments/patches_probe.py runs/demo/world runs/demo/regions runs/patches/regions

Both folders of regions are of that world. Every candidate box that is the box of an object (IoU > 0.85) is a sample.
A linear classifier of the feature learns the object's category, color, size and pattern on four in five images, and its
accuracy is measured on the others. No split of a task plays a part.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from twelvefold.boxes import iou
from twelvefold.schema import ImageKey
from twelvefold.store.region_store import RegionStore

LABELS = {"category": "kind", "color": "colour", "size": "size", "pattern": "pattern"}
"""Attribute -> key in the world's truth file."""
IOU_THRESHOLD, TEST_EVERY, DECAY, ITERATIONS = 0.85, 5, 1e-4, 80


class Samples:
    """Features by store, label names by attribute, and the number of each sample's image."""

    def __init__(self, num_stores: int) -> None:
        self.features: list[list[NDArray[np.float32]]] = [[] for _ in range(num_stores)]
        self.labels: dict[str, list[str]] = {name: [] for name in LABELS}
        self.images: list[int] = []


def read_samples(world: Path, stores: Sequence[RegionStore]) -> Samples:
    """Read the features at the true boxes of every image that all stores have; copies of an image count once."""
    samples = Samples(len(stores))
    with (world / "truth" / "scenes.jsonl").open() as lines:
        for number, line in enumerate(lines):
            scene = json.loads(line)
            keys = [key for key in map(ImageKey.parse, scene["keys"]) if all(key in store for store in stores)]
            if keys:
                add_image(samples, scene, number, [store[keys[0]] for store in stores])
    return samples


def add_image(samples: Samples, scene: dict[str, Any], number: int, regions: Sequence[Any]) -> None:
    """Add the boxes of an image that are those of objects."""
    if not len(regions[0].boxes_px):
        return
    scale = np.array([regions[0].width / scene["width"], regions[0].height / scene["height"]] * 2)
    overlaps = iou(regions[0].boxes_px, np.array([thing["box_px"] for thing in scene["things"]]) * scale)
    matched = overlaps.max(axis=1) > IOU_THRESHOLD
    for features, each in zip(samples.features, regions, strict=True):
        features.append(each.features[matched].astype(np.float32))
    for index in overlaps.argmax(axis=1)[matched]:
        for name, key in LABELS.items():
            samples.labels[name].append(scene["things"][index][key])
    samples.images += [number] * int(matched.sum())


def probe(features: NDArray[np.float32], names: list[str], is_test: NDArray[np.bool_]) -> float:
    """Return the accuracy in percent of a linear classifier on the test samples."""
    torch.manual_seed(0)
    categories, classes = np.unique(names, return_inverse=True)
    train, mean, std = ~is_test, features[~is_test].mean(axis=0), features[~is_test].std(axis=0) + 1e-6
    x, y = torch.from_numpy((features - mean) / std), torch.from_numpy(classes)
    layer = torch.nn.Linear(x.shape[1], len(categories))
    optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=ITERATIONS, line_search_fn="strong_wolfe")

    def closure() -> float:
        optimizer.zero_grad()
        loss = F.cross_entropy(layer(x[train]), y[train]) + DECAY * layer.weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item()

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        return 100 * float((layer(x[is_test]).argmax(dim=1) == y[is_test]).float().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("world", type=Path)
    parser.add_argument("regions", type=Path, nargs="+", help="folders that `twelvefold extract` wrote")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    stores = [RegionStore.open(folder / "given") for folder in arguments.regions]
    samples = read_samples(arguments.world, stores)
    images = np.array(samples.images)
    is_test = images % TEST_EVERY == 0
    print(f"{len(images):,} boxes of {len(np.unique(images)):,} images, {is_test.sum():,} boxes tested")
    columns = ["regions", "numbers", *LABELS]
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    for store, parts in zip(stores, samples.features, strict=True):
        features = np.concatenate(parts)
        accuracies = [probe(features, labels, is_test) for labels in samples.labels.values()]
        cells = [store.info.get("detector_name", "world"), str(features.shape[1]), *(f"{a:.1f}" for a in accuracies)]
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
