"""What the paper reports of its one model: a reference beside our figures, of other data and another model.

Paper: Table 2, row 4 ("All-Tasks", one model of 270M parameters, trained on clean splits of the real data).
"""

from __future__ import annotations

from typing import NamedTuple

from twelvefold.schema import FamilyName

SOURCE = (
    "Lu, Goswami, Rohrbach, Parikh, Lee: 12-in-1: Multi-Task Vision and Language Representation Learning, "
    "CVPR 2020, Table 2, row 4 (All-Tasks)"
)


class Reported(NamedTuple):
    """A figure of the paper in percent, and the split of the real data that it was found on."""

    score: float
    split: str


ALL_TASKS: dict[str, Reported] = {
    "vqav2": Reported(72.57, "test-dev"),
    "gqa": Reported(60.12, "test-dev"),
    "vgqa": Reported(36.36, "val"),
    "coco": Reported(63.70, "test-1K"),
    "flickr30k": Reported(63.52, "test-1K"),
    "refcoco": Reported(80.58, "test"),
    "refcoco+": Reported(73.25, "test"),
    "refcocog": Reported(75.96, "test"),
    "visual7w": Reported(82.75, "test"),
    "guesswhat": Reported(65.04, "test"),
    "nlvr2": Reported(78.44, "testP"),
    "snli_ve": Reported(76.78, "test"),
}
AVERAGE = 69.08

GROUPS: dict[FamilyName, tuple[str, str]] = {
    "answers": ("G1", "Answering questions"),
    "retrieval": ("G2", "Finding the picture of a caption"),
    "grounding": ("G3", "Pointing at what is meant"),
    "verification": ("G4", "Telling true from false"),
}
"""The four groups of section 2.1, in its order, and what each asks for."""

METRICS = {
    "vqa_accuracy": "VQA accuracy",
    "accuracy": "accuracy",
    "recall_at_1": "R@1",
    "recall_at_5": "R@5",
    "recall_at_10": "R@10",
    "iou_at_0.5": "IoU ≥ 0.5",
    "iou_above_0.5_original": "IoU > 0.5, original rule",
}


def called(metric: str) -> str:
    """How a person calls a metric."""
    return METRICS.get(metric, metric.replace("_", " "))
