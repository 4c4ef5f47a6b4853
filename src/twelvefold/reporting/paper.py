"""The paper's scores, shown as a reference: they are for other data and another model.

Paper: Table 2, row 4 ("All-Tasks", one model of 270M parameters, trained on clean splits of the real data).
"""

from __future__ import annotations

from typing import NamedTuple

SOURCE = (
    "Lu, Goswami, Rohrbach, Parikh, Lee: 12-in-1: Multi-Task Vision and Language Representation Learning, "
    "CVPR 2020, Table 2, row 4 (All-Tasks)"
)


class PaperScore(NamedTuple):
    """A score of the paper in percent, and the split of the real data that it is for."""

    score: float
    split: str


PAPER_SCORES: dict[str, PaperScore] = {
    "vqav2": PaperScore(72.57, "test-dev"),
    "gqa": PaperScore(60.12, "test-dev"),
    "vgqa": PaperScore(36.36, "val"),
    "coco": PaperScore(63.70, "test-1K"),
    "flickr30k": PaperScore(63.52, "test-1K"),
    "refcoco": PaperScore(80.58, "test"),
    "refcoco+": PaperScore(73.25, "test"),
    "refcocog": PaperScore(75.96, "test"),
    "visual7w": PaperScore(82.75, "test"),
    "guesswhat": PaperScore(65.04, "test"),
    "nlvr2": PaperScore(78.44, "testP"),
    "snli_ve": PaperScore(76.78, "test"),
}
PAPER_AVERAGE = 69.08

METRIC_TITLES = {
    "vqa_accuracy": "VQA accuracy",
    "accuracy": "accuracy",
    "recall_at_1": "R@1",
    "recall_at_5": "R@5",
    "recall_at_10": "R@10",
    "iou_at_0.5": "IoU ≥ 0.5",
    "iou_above_0.5_original": "IoU > 0.5, vilbert-multi-task's rule",
}


def metric_title(metric: str) -> str:
    """Return the name of a metric for a page."""
    return METRIC_TITLES.get(metric, metric.replace("_", " "))
