"""How the detector learns: losses, schedule, checkpoints. It asks for batches and knows no source of pictures.

Differs: the paper takes a detector that was trained elsewhere. What made a narrow one learn kinds at all, each cheap:
three jittered copies of every true box among the proposals; background and kinds averaged apart, so that background
can't drown the kinds; a helper that names the kind at every cell of the map, thrown away after training; the second
look's losses on boxes with something in them only.
"""

from __future__ import annotations

import io
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel

from twelvefold.detectors.world_detector.detector import Words, best_arithmetic, precision, write_weights
from twelvefold.detectors.world_detector.network import MAP_CHANNELS, Maps, Network
from twelvefold.progress import progress_bar
from twelvefold.schema import TwelvefoldError
from twelvefold.store.atomic_files import write_bytes, write_text

JITTERED_COPIES = 3
JITTER = 0.07
"""Standard deviation of a jittered box's corners, as a share of its side."""
WEIGHTS = {
    "proposal": 1.0,
    "proposal_box": 1.5,
    "coarse_kind": 1.0,
    "background": 0.5,
    "box": 2.0,
    "kind": 1.0,
    "colour": 0.6,
    "size": 0.3,
    "pattern": 0.8,
    "helper": 0.5,
}
"""Shares of the losses: those that a prototype learnt with, colour and pattern raised."""
SMOOTHING = 0.03


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast to learn, in pictures, never in seconds: a busy machine must not change what is learnt."""

    pictures: int
    batch: int = 8
    lr: float = 3e-3
    warm_up_steps: int = 150
    weight_decay: float = 0.02
    clip: float = 5.0
    average: float = 0.995
    """Decay of the moving average of the weights, which is what is kept."""
    checkpoint_seconds: float = 120.0

    @property
    def steps(self) -> int:
        return max(1, self.pictures // self.batch)

    @property
    def fall(self) -> int:
        """The step at which the learning rate begins to fall: half way."""
        return self.steps // 2

    def lr_at(self, step: int) -> float:
        """Linear warm-up, level until half way, then half a cosine down to 1 %."""
        fallen = min(1.0, max(0.0, (step - self.fall) / (self.steps - self.fall)))
        shape = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * fallen))
        return self.lr * min(1.0, (step + 1) / self.warm_up_steps) * shape


@dataclass(slots=True)
class Lesson:
    """A batch: pictures (B, 3, H, W) as ``pictures.to_tensor`` leaves them, and what is in each.

    Every target has boxes (n, 4) float32, and kind, colour, size, pattern (n,) int64, in the order of ``Words``.
    ``place`` tells the source of lessons how to go on after this one.
    """

    pictures: Tensor
    targets: list[dict[str, Tensor]]
    place: tuple[int, int]


Lessons = Callable[[tuple[int, int]], Iterator[Lesson]]
"""Endless lessons from a place on; (0, 0) is the beginning."""


class Helper(nn.Module):
    """Names kind and colour at every cell of the stride-8 map that lies in the middle of a thing. Only for training."""

    def __init__(self, words: Words) -> None:
        super().__init__()
        self.kind = nn.Conv2d(MAP_CHANNELS, len(words.kinds), 1)
        self.colour = nn.Conv2d(MAP_CHANNELS, len(words.colours), 1)

    def forward(self, maps: Maps, targets: list[dict[str, Tensor]]) -> Tensor:
        """Mean cross-entropy over the cells that lie in the middle half of a thing; a thing in front wins a cell."""
        which = torch.full((len(targets), *maps.coarse.shape[-2:]), -1, dtype=torch.long)
        kinds = torch.cat([t["kind"] for t in targets])
        colours = torch.cat([t["colour"] for t in targets])
        row = 0
        for picture, target in enumerate(targets):
            for x1, y1, x2, y2 in target["boxes"].tolist():
                left, right = (int((x1 + (x2 - x1) * share) / 8) for share in (0.25, 0.75))
                top, bottom = (int((y1 + (y2 - y1) * share) / 8) for share in (0.25, 0.75))
                which[picture, top : bottom + 1, left : right + 1] = row
                row += 1
        picture_at, y, x = (which >= 0).nonzero(as_tuple=True)
        cells = maps.coarse[picture_at, :, y, x]
        named = which[picture_at, y, x]
        kind = F.linear(cells, self.kind.weight.flatten(1), self.kind.bias)
        colour = F.linear(cells, self.colour.weight.flatten(1), self.colour.bias)
        loss = F.cross_entropy(kind.float(), kinds[named]) + 0.4 * F.cross_entropy(colour.float(), colours[named])
        return loss if len(cells) else maps.coarse.sum() * 0.0


def losses(network: Network, helper: Helper, lesson: Lesson) -> dict[str, Tensor]:
    """Every loss by name, unweighted."""
    maps = network.backbone(lesson.pictures)
    targets = [{**t, "labels": t["kind"] + 1} for t in lesson.targets]
    proposals, first = network.propose(maps, targets)
    proposals = [torch.cat([p, *jittered(t["boxes"], maps.size)]) for p, t in zip(proposals, targets, strict=True)]
    boxes, matched, labels, changes = network.heads.select_training_samples(proposals, targets)
    seen = network.heads.look(maps, boxes)
    logits, change = network.heads.judge(seen)
    label = torch.cat(labels)
    real = label > 0
    told = network.heads.describe(maps, [b[k > 0] for b, k in zip(boxes, labels, strict=True)], seen[real])

    def true(name: str) -> Tensor:
        return torch.cat([t[name][m[k > 0]] for t, m, k in zip(targets, matched, labels, strict=True)])

    nothing = torch.zeros(int((~real).sum()), dtype=torch.long)
    found = {
        "proposal": first["loss_objectness"],
        "proposal_box": first["loss_rpn_box_reg"],
        "coarse_kind": _mean_entropy(logits[real], label[real], SMOOTHING),
        "background": _mean_entropy(logits[~real], nothing, 0.0),
        "box": F.smooth_l1_loss(change[real], torch.cat(changes)[real], beta=1 / 9, reduction="sum")
        / max(1, len(label)),
        "helper": helper(maps, targets),
    }
    for name, logit in (("kind", told.kind), ("colour", told.colour), ("size", told.size), ("pattern", told.pattern)):
        found[name] = _mean_entropy(logit, true(name), SMOOTHING)
    return found


def jittered(boxes: Tensor, size: tuple[int, int]) -> list[Tensor]:
    """Copies of true boxes with their corners moved a little, inside the picture of ``size`` (height, width)."""
    sides = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    limit = torch.tensor([size[1], size[0], size[1], size[0]], dtype=torch.float32)
    moved = [boxes + torch.randn_like(boxes) * sides * JITTER for _ in range(JITTERED_COPIES)]
    return [torch.minimum(m.clamp(min=0.0), limit) for m in moved]


def _mean_entropy(logits: Tensor, label: Tensor, smoothing: float) -> Tensor:
    """Mean cross-entropy; zero, with a gradient of zero, of nothing."""
    if len(label) == 0:
        return logits.sum() * 0.0
    return F.cross_entropy(logits, label, label_smoothing=smoothing)


def _average(decay: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    """The rule of the moving average: shorter at first, or the untrained weights would stay in it for long."""

    def rule(average: Tensor, now: Tensor, taken: Tensor | int) -> Tensor:
        keep = min(decay, (1.0 + float(taken)) / (10.0 + float(taken)))
        return average + (now - average) * (1.0 - keep)

    return rule


class Student:
    """A network in training with everything that a checkpoint must hold."""

    def __init__(self, words: Words, schedule: Schedule, seed: int) -> None:
        torch.manual_seed(seed)
        self.words, self.schedule, self.seed = words, schedule, seed
        self.network = words.network().to(memory_format=torch.channels_last)
        self.helper = Helper(words)
        self.average = AveragedModel(self.network, avg_fn=_average(schedule.average), use_buffers=True)
        parameters = [*self.network.parameters(), *self.helper.parameters()]
        decayed = [p for p in parameters if p.ndim > 1]
        plain = [p for p in parameters if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": schedule.weight_decay}, {"params": plain, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(groups, lr=schedule.lr, betas=(0.9, 0.98))
        self.step = 0
        self.place = (0, 0)
        self.arithmetic = best_arithmetic()

    def learn(self, lesson: Lesson) -> dict[str, float]:
        """One step; the losses by name, and their weighted sum as ``total``."""
        self.network.train()
        for group in self.optimiser.param_groups:
            group["lr"] = self.schedule.lr_at(self.step)
        with precision(self.arithmetic):
            parts = losses(self.network, self.helper, lesson)
        total = torch.stack([WEIGHTS[name] * loss for name, loss in parts.items()]).sum()
        if not torch.isfinite(total):
            raise TwelvefoldError(
                f"the detector's loss became {total.item()} at step {self.step}; lower the learning rate"
            )
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        parameters = [p for group in self.optimiser.param_groups for p in group["params"]]
        nn.utils.clip_grad_norm_(parameters, self.schedule.clip)
        self.optimiser.step()
        self.average.update_parameters(self.network)
        self.step += 1
        self.place = lesson.place
        return {**{name: float(loss.detach()) for name, loss in parts.items()}, "total": float(total.detach())}

    def save(self, folder: Path) -> None:
        """A checkpoint to resume from, and the averaged weights as a weight file."""
        buffer = io.BytesIO()
        torch.save(self._state(), buffer)
        write_bytes(folder / "checkpoint.pt", buffer.getvalue())
        write_weights(folder / "detector.safetensors", self.average.module.state_dict(), self.words)

    def restore(self, folder: Path) -> bool:
        """Go on from the checkpoint in ``folder``; False where there is none.

        Raises: TwelvefoldError where the checkpoint is of another seed or schedule; the length may change before the
        learning rate falls.
        """
        path = folder / "checkpoint.pt"
        if not path.exists():
            return False
        state = torch.load(path, weights_only=True)
        if state["made_with"] != self._made_with():
            raise TwelvefoldError(
                f"{path} was made with {state['made_with']}, now asked for {self._made_with()}; "
                "use the same values to go on, or another folder to begin anew"
            )
        before = replace(self.schedule, pictures=state["pictures"])
        latest = min(before.fall, self.schedule.fall)
        if before.steps != self.schedule.steps and state["step"] > latest:
            raise TwelvefoldError(
                f"{path} is at step {state['step']} of a run over {before.pictures} pictures, now asked for "
                f"{self.schedule.pictures}: until step {latest} that would have been the same run, now the learning "
                "rate has begun to fall; keep the length, or begin anew in another folder"
            )
        for name in ("network", "helper", "average", "optimiser"):
            getattr(self, name).load_state_dict(state[name])
        self.step, self.place = state["step"], tuple(state["place"])
        torch.set_rng_state(state["random"])
        return True

    def _made_with(self) -> dict[str, Any]:
        """What must stay as it was for a run to go on; its length may change until the learning rate falls."""
        plan = asdict(self.schedule)
        del plan["checkpoint_seconds"], plan["pictures"]
        return {"seed": self.seed, **plan}

    def _state(self) -> dict[str, Any]:
        parts = {name: getattr(self, name).state_dict() for name in ("network", "helper", "average", "optimiser")}
        own = {"step": self.step, "place": self.place, "random": torch.get_rng_state()}
        own["pictures"] = self.schedule.pictures
        return {**parts, **own, "made_with": self._made_with()}


def fit(student: Student, lessons: Lessons, out: Path) -> None:
    """Train until the schedule ends, going on from a checkpoint in ``out`` where there is one; log every 50 steps."""
    student.restore(out)
    log = out / "log.jsonl"
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() and student.step else []
    sums: dict[str, float] = {}
    saved = began = time.monotonic()
    with progress_bar(description="pictures learnt", total=student.schedule.steps * student.schedule.batch) as bar:
        bar.advance(student.step * student.schedule.batch)
        for lesson in lessons(student.place):
            if student.step >= student.schedule.steps:
                break
            for name, value in student.learn(lesson).items():
                sums[name] = sums.get(name, 0.0) + value / 50
            bar.advance(len(lesson.pictures))
            if student.step % 50 == 0:
                means = {name: round(value, 4) for name, value in sums.items()}
                at = {"step": student.step, "pictures": student.step * student.schedule.batch}
                lines.append(json.dumps({**at, "seconds": round(time.monotonic() - began, 1), **means}))
                write_text(log, "\n".join(lines) + "\n")
                sums = {}
            if time.monotonic() - saved > student.schedule.checkpoint_seconds:
                student.save(out)
                saved = time.monotonic()
    student.save(out)
