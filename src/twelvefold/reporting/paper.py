"""The paper's scores, shown as a reference: they are for other data and another model.

Paper: Table 2, row 4 ("All-Tasks", one model of 270M parameters, trained on clean splits of the real data).
"""

from __future__ import annotations

from typing import NamedTuple

from twelvefold.datasets import is_built_in, load_dataset

SOURCE = (
    "Lu, Goswami, Rohrbach, Parikh, Lee: 12-in-1: Multi-Task Vision and Language Representation Learning, "
    "CVPR 2020, Table 2, row 4 (All-Tasks)"
)


class PaperScore(NamedTuple):
    """A score of the paper in percent, and the split of the real data that it is for.

    ``table``: where it is from, if not from :data:`SOURCE`.
    """

    score: float
    split: str
    table: str = ""


PAPER_AVERAGE = 69.08


def paper_score(task: str) -> PaperScore | None:
    """Return the paper's score of a task; None if it has none. That of a task besides the twelve names its table."""
    score = vars(load_dataset(task)).get("PAPER_SCORE") if is_built_in(task) else None
    return PaperScore(*score) if score else None


METRIC_TITLES = {
    "vqa_accuracy": "VQA accuracy",
    "accuracy": "accuracy",
    "recall_at_1": "R@1",
    "recall_at_5": "R@5",
    "recall_at_10": "R@10",
    "iou_at_0.5": "IoU ≥ 0.5",
    "iou_above_0.5_first_box": "IoU > 0.5, first box",
    "any_box_recall_at_1": "any box (IoU ≥ 0.5)",
    "any_box_recall_at_5": "any box, R@5",
    "any_box_recall_at_10": "any box, R@10",
    "merged_box_recall_at_1": "merged box (IoU ≥ 0.5)",
    "merged_box_recall_at_5": "merged box, R@5",
    "merged_box_recall_at_10": "merged box, R@10",
    "iou_above_0.5_original": "IoU > 0.5, vilbert-multi-task's rule",
}


def metric_title(metric: str) -> str:
    """Return the name of a metric for a page."""
    return METRIC_TITLES.get(metric, metric.replace("_", " "))
