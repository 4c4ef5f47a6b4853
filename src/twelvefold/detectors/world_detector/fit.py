"""Train the detector: losses, schedule, checkpoints. The batches come from the caller.

Differs: the paper uses a detector that was trained elsewhere. A narrow network learned the categories only with these
measures, each cheap: three jittered copies of every true box among the proposals; separate averages for background and
categories, so that background does not dominate; an auxiliary head that predicts the category at every cell of the map,
discarded after training; second-stage losses only on boxes that contain an object.
"""

from __future__ import annotations

import io
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel

from twelvefold.detectors.interface import CPU
from twelvefold.detectors.world_detector.detector import (
    ComputeDtype,
    LabelSpace,
    autocast_context,
    fastest_cpu_dtype,
    write_weights,
)
from twelvefold.detectors.world_detector.network import MAP_CHANNELS, FeatureMaps, WorldNetwork
from twelvefold.progress import progress_bar
from twelvefold.schema import TwelvefoldError
from twelvefold.store.atomic_files import write_bytes, write_text

JITTERED_COPIES = 3
JITTER = 0.07
"""Standard deviation of a jittered box's corners, relative to its sides."""
LOSS_WEIGHTS = {
    "proposal": 1.0,
    "proposal_box": 1.5,
    "coarse_category": 1.0,
    "background": 0.5,
    "box": 2.0,
    "category": 1.0,
    "color": 0.6,
    "size": 0.3,
    "pattern": 0.8,
    "auxiliary": 0.5,
}
"""Weights of the losses: those of a prototype, with color and pattern raised."""
LABEL_SMOOTHING = 0.03
LOG_STEPS = 50


@dataclass(frozen=True, slots=True)
class DetectorSchedule:
    """Length and learning rate of a training run, in images, so that a slow machine does not change the result."""

    num_images: int
    batch_size: int = 8
    lr: float = 3e-3
    warmup_steps: int = 150
    weight_decay: float = 0.02
    max_grad_norm: float = 5.0
    ema_decay: float = 0.995
    """Decay of the moving average of the weights; the averaged weights are the result."""
    checkpoint_seconds: float = 120.0

    @property
    def steps(self) -> int:
        return max(1, self.num_images // self.batch_size)

    @property
    def decay_start(self) -> int:
        """The step at which the learning rate begins to decrease: half of the run."""
        return self.steps // 2

    def lr_at(self, step: int) -> float:
        """Return the learning rate: linear warm-up, constant for half of the run, then cosine decay to 1 %."""
        progress = min(1.0, max(0.0, (step - self.decay_start) / (self.steps - self.decay_start)))
        factor = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress))
        return self.lr * min(1.0, (step + 1) / self.warmup_steps) * factor


@dataclass(slots=True)
class DetectorBatch:
    """Images (B, 3, H, W) as returned by ``images.to_tensor``, and a target for each.

    Targets have boxes (n, 4) float32, and label indices category, color, size, pattern (n,) int64. ``position``: where
    the stream of batches continues after this one.
    """

    images: Tensor
    targets: list[dict[str, Tensor]]
    position: tuple[int, int]

    def to(self, device: torch.device) -> DetectorBatch:
        """Return the batch with its tensors on a device."""
        targets = [{name: tensor.to(device) for name, tensor in target.items()} for target in self.targets]
        return DetectorBatch(self.images.to(device), targets, self.position)


BatchStream = Callable[[tuple[int, int]], Iterator[DetectorBatch]]
"""Returns endless batches from a position on; (0, 0) is the start."""


class AuxiliaryHead(nn.Module):
    """Predicts category and color at each cell of the stride-8 map in the middle of an object; used in training only.

    Module names are keys in checkpoints, hence ``kind`` and ``colour``.
    """

    def __init__(self, labels: LabelSpace) -> None:
        super().__init__()
        self.kind = nn.Conv2d(MAP_CHANNELS, len(labels.categories), 1)
        self.colour = nn.Conv2d(MAP_CHANNELS, len(labels.colors), 1)

    def forward(self, maps: FeatureMaps, targets: list[dict[str, Tensor]]) -> Tensor:
        """Return the mean cross-entropy over cells in the middle half of objects; later objects cover earlier ones."""
        object_at = torch.full((len(targets), *maps.coarse.shape[-2:]), -1, dtype=torch.long)  # (B, H / 8, W / 8)
        categories = torch.cat([t["category"] for t in targets])
        colors = torch.cat([t["color"] for t in targets])
        row = 0
        for image, target in enumerate(targets):
            for x1, y1, x2, y2 in target["boxes"].tolist():
                left, right = (int((x1 + (x2 - x1) * share) / 8) for share in (0.25, 0.75))
                top, bottom = (int((y1 + (y2 - y1) * share) / 8) for share in (0.25, 0.75))
                object_at[image, top : bottom + 1, left : right + 1] = row
                row += 1
        image_index, y, x = (object_at >= 0).nonzero(as_tuple=True)
        rows = object_at[image_index, y, x].to(maps.coarse.device)
        cells = maps.coarse[image_index, :, y, x]  # (cells, 64)
        category = F.linear(cells, self.kind.weight.flatten(1), self.kind.bias)
        color = F.linear(cells, self.colour.weight.flatten(1), self.colour.bias)
        loss = F.cross_entropy(category.float(), categories[rows]) + 0.4 * F.cross_entropy(color.float(), colors[rows])
        return loss if len(cells) else maps.coarse.sum() * 0.0


def compute_losses(network: WorldNetwork, auxiliary_head: AuxiliaryHead, batch: DetectorBatch) -> dict[str, Tensor]:
    """Return every loss by name, unweighted."""
    maps = network.backbone(batch.images)
    targets = [{**t, "labels": t["category"] + 1} for t in batch.targets]
    proposals, rpn_losses = network.propose(maps, targets)
    proposals = [torch.cat([p, *jitter_boxes(t["boxes"], maps.size)]) for p, t in zip(proposals, targets, strict=True)]
    boxes, matched, labels, deltas = network.heads.select_training_samples(proposals, targets)
    map_features = network.heads.pool_map(maps, boxes)
    logits, predicted_deltas = network.heads.refine(map_features)
    label = torch.cat(labels)
    is_object = label > 0
    object_boxes = [b[k > 0] for b, k in zip(boxes, labels, strict=True)]
    outputs = network.heads.describe(maps, object_boxes, map_features[is_object])

    def true(name: str) -> Tensor:
        return torch.cat([t[name][m[k > 0]] for t, m, k in zip(targets, matched, labels, strict=True)])

    background = torch.zeros(int((~is_object).sum()), dtype=torch.long, device=label.device)
    losses = {
        "proposal": rpn_losses["loss_objectness"],
        "proposal_box": rpn_losses["loss_rpn_box_reg"],
        "coarse_category": _mean_cross_entropy(logits[is_object], label[is_object], LABEL_SMOOTHING),
        "background": _mean_cross_entropy(logits[~is_object], background, 0.0),
        "box": F.smooth_l1_loss(predicted_deltas[is_object], torch.cat(deltas)[is_object], beta=1 / 9, reduction="sum")
        / max(1, len(label)),
        "auxiliary": auxiliary_head(maps, targets),
    }
    for name, attribute_logits in outputs.logits.items():
        losses[name] = _mean_cross_entropy(attribute_logits, true(name), LABEL_SMOOTHING)
    return losses


def jitter_boxes(boxes: Tensor, size: tuple[int, int]) -> list[Tensor]:
    """Return copies of boxes with slightly moved corners, clipped to an image of ``size`` (height, width)."""
    sides = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    limit = boxes.new_tensor([size[1], size[0], size[1], size[0]])
    moved = [boxes + torch.randn_like(boxes) * sides * JITTER for _ in range(JITTERED_COPIES)]
    return [torch.minimum(m.clamp(min=0.0), limit) for m in moved]


def _mean_cross_entropy(logits: Tensor, label: Tensor, smoothing: float) -> Tensor:
    """Return the mean cross-entropy; for no rows, zero with a zero gradient."""
    if len(label) == 0:
        return logits.sum() * 0.0
    return F.cross_entropy(logits, label, label_smoothing=smoothing)


def _moving_average(decay: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    """Return the update rule of the moving average; early steps decay faster, to forget the initial weights."""

    def update(average: Tensor, current: Tensor, num_averaged: Tensor | int) -> Tensor:
        keep = min(decay, (1.0 + float(num_averaged)) / (10.0 + float(num_averaged)))
        return average + (current - average) * (1.0 - keep)

    return update


class DetectorTrainState:
    """A network in training, with everything that a checkpoint must hold."""

    def __init__(self, labels: LabelSpace, schedule: DetectorSchedule, seed: int, device: torch.device = CPU) -> None:
        torch.manual_seed(seed)
        self.labels, self.schedule, self.seed, self.device = labels, schedule, seed, device
        self.network = labels.build_network().to(device).to(memory_format=torch.channels_last)
        self.auxiliary_head = AuxiliaryHead(labels).to(device)
        self.average = AveragedModel(self.network, avg_fn=_moving_average(schedule.ema_decay), use_buffers=True)
        parameters = [*self.network.parameters(), *self.auxiliary_head.parameters()]
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": schedule.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=schedule.lr, betas=(0.9, 0.98))
        self.step = 0
        self.position = (0, 0)
        self.dtype: ComputeDtype = fastest_cpu_dtype() if device.type == "cpu" else "float32"

    def train_step(self, batch: DetectorBatch) -> dict[str, float]:
        """Take one step; return the losses by name, and their weighted sum as ``total``.

        Raises:
            TwelvefoldError: the loss is not finite.
        """
        self.network.train()
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.lr_at(self.step)
        batch = batch.to(self.device)
        with autocast_context(self.dtype, self.device.type):
            losses = compute_losses(self.network, self.auxiliary_head, batch)
        total = torch.stack([LOSS_WEIGHTS[name] * loss for name, loss in losses.items()]).sum()
        if not torch.isfinite(total):
            raise TwelvefoldError(
                f"the detector's loss became {total.item()} at step {self.step}; lower the learning rate"
            )
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        nn.utils.clip_grad_norm_(parameters, self.schedule.max_grad_norm)
        self.optimizer.step()
        self.average.update_parameters(self.network)
        self.step += 1
        self.position = batch.position
        return {**{name: float(loss.detach()) for name, loss in losses.items()}, "total": float(total.detach())}

    def save(self, folder: Path) -> None:
        """Write a checkpoint to resume from, and the averaged weights as a weight file."""
        state = {key: part.state_dict() for key, part in self._parts().items()}
        state |= {"step": self.step, "place": self.position, "random": torch.get_rng_state()}
        if self.device.type == "cuda":
            state["cuda_random"] = torch.cuda.get_rng_state(self.device)
        state |= {"pictures": self.schedule.num_images, "made_with": self._settings()}
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_bytes(folder / "checkpoint.pt", buffer.getvalue())
        write_weights(folder / "detector.safetensors", self.average.module.state_dict(), self.labels)

    def restore(self, folder: Path) -> bool:
        """Load the checkpoint in ``folder``; return False if there is none.

        Raises:
            TwelvefoldError: the checkpoint has another seed or schedule. The length may change before the learning
                rate decreases.
        """
        path = folder / "checkpoint.pt"
        if not path.exists():
            return False
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state["made_with"] != self._settings():
            raise TwelvefoldError(
                f"{path} was made with {state['made_with']}, but this call asks for {self._settings()}; "
                "use the same values to continue, or another folder to start over"
            )
        before = replace(self.schedule, num_images=state["pictures"])
        latest = min(before.decay_start, self.schedule.decay_start)
        if before.steps != self.schedule.steps and state["step"] > latest:
            raise TwelvefoldError(
                f"{path} is at step {state['step']} of a run over {before.num_images} images, but this call asks for "
                f"{self.schedule.num_images}. The length can be changed up to step {latest}; after it the learning "
                "rate has begun to decrease. Keep the length, or start over in another folder"
            )
        for key, part in self._parts().items():
            part.load_state_dict(state[key])
        self.step, self.position = state["step"], tuple(state["place"])
        torch.set_rng_state(state["random"])
        if self.device.type == "cuda" and "cuda_random" in state:
            torch.cuda.set_rng_state(state["cuda_random"], self.device)
        return True

    def _parts(self) -> dict[str, Any]:
        """Return what has a state dict, by its key in a checkpoint."""
        return {
            "network": self.network,
            "helper": self.auxiliary_head,
            "average": self.average,
            "optimiser": self.optimizer,
        }

    def _settings(self) -> dict[str, Any]:
        """Return what must not change when a run continues, by the keys of a checkpoint."""
        schedule = self.schedule
        return {
            "seed": self.seed,
            "batch": schedule.batch_size,
            "lr": schedule.lr,
            "warm_up_steps": schedule.warmup_steps,
            "weight_decay": schedule.weight_decay,
            "clip": schedule.max_grad_norm,
            "average": schedule.ema_decay,
        }


def fit(state: DetectorTrainState, batches: BatchStream, out: Path) -> None:
    """Train to the end of the schedule, from the checkpoint in ``out`` if there is one; log every 50 steps."""
    state.restore(out)
    schedule, log = state.schedule, out / "log.jsonl"
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() and state.step else []
    means: dict[str, float] = {}
    last_save = start = time.monotonic()
    with progress_bar(description="images trained on", total=schedule.steps * schedule.batch_size) as bar:
        bar.advance(state.step * schedule.batch_size)
        for batch in batches(state.position):
            if state.step >= schedule.steps:
                break
            for name, value in state.train_step(batch).items():
                means[name] = means.get(name, 0.0) + value / LOG_STEPS
            bar.advance(len(batch.images))
            if state.step % LOG_STEPS == 0:
                counters = {"step": state.step, "images": state.step * schedule.batch_size}
                rounded = {name: round(value, 4) for name, value in means.items()}
                lines.append(json.dumps({**counters, "seconds": round(time.monotonic() - start, 1), **rounded}))
                write_text(log, "\n".join(lines) + "\n")
                means = {}
            if time.monotonic() - last_save > schedule.checkpoint_seconds:
                state.save(out)
                last_save = time.monotonic()
    state.save(out)
